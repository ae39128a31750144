# SPDX-License-Identifier: Apache-2.0
"""Thresholds that make no sense are refused in one line that names them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from densehybrid_ros.errors import InputError
from densehybrid_ros.hazards.settings import HazardSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_hazard_area", 0),
        ("max_hazards", 0),
        ("trigger_count", 6),
        ("release_count", 0),
        ("max_gap", -1),
        ("warn_distance", float("nan")),
        ("error_time", -1.0),
        ("roi", (0.0, 0.0, 1.0, 1.0)),
    ],
)
def test_nonsense_is_named(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=name) as caught:
        replace(HazardSettings(), **{name: value})
    assert "\n" not in str(caught.value)
