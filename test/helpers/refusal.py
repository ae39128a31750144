# SPDX-License-Identifier: Apache-2.0
"""What bad input is answered with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from densehybrid_ros.errors import InputError


def refusal(call: Callable[..., Any], *given: Any, **options: Any) -> str:
    """Returns the one line with which a call refuses what it is given."""
    with pytest.raises(InputError) as error:
        call(*given, **options)
    assert "\n" not in str(error.value)
    return str(error.value)
