# SPDX-License-Identifier: Apache-2.0
"""The pages that commands leave: one look, one way to draw charts, each page a file without any network."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(template: str, **values: Any) -> str:
    """Fills a template of this folder, such as ``"demo.html"``, which extends ``base.html``.

    Text among the values is escaped; ``{{ drawing | safe }}`` is not. ``{{ value | data | safe }}`` writes a value as
    JSON for a script, bytes in it in base64, and ``{{ content | base64 }}`` bytes alone.
    """
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    loader = PackageLoader("densehybrid_ros.pages", ".")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"data": _as_data, "base64": _as_base64}
    return environment


def _as_data(value: Any) -> str:
    """Writes a value as JSON that a script element can hold: "</" would end the element."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False, default=_as_base64).replace("</", "<\\/")


def _as_base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
