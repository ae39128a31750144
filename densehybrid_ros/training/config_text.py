"""A run's configuration as YAML, every key with what it means."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

import yaml

_ENTRY = re.compile(r"^(\w+): (.*)$")


def config_text(config: Any, indent: str = "") -> str:
    """Returns the whole configuration, defaults too, with the lines of the dataclasses' docstrings as comments.

    Reading it gives the same configuration.
    """
    meanings, lines = _meanings(type(config)), []
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        lines += [f"{indent}# {line}" for line in meanings.get(item.name, [])]
        if dataclasses.is_dataclass(value):
            lines += [f"{indent}{item.name}:", config_text(value, indent + "  ").rstrip("\n")]
            continue
        plain = list(value) if isinstance(value, tuple) else value
        written = yaml.safe_dump(plain, default_flow_style=True, width=10**6, sort_keys=False, allow_unicode=True)
        lines.append(f"{indent}{item.name}: {written.removesuffix('...' + chr(10)).strip()}")
    return "\n".join(lines) + "\n"


def _meanings(kind: type) -> dict[str, list[str]]:
    """Reads ``Attributes`` of a dataclass and of what it inherits from: name -> lines."""
    found: dict[str, list[str]] = {}
    for each in reversed(kind.__mro__):
        _, _, attributes = (inspect.getdoc(each) or "").partition("Attributes:\n")
        name = ""
        for line in inspect.cleandoc(attributes).splitlines():
            if match := _ENTRY.match(line):
                name = match[1]
                found[name] = [match[2]]
            elif name and line.strip():
                found[name].append(line.strip())
    return found
