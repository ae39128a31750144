# SPDX-License-Identifier: Apache-2.0
"""How grave a hazard is."""

from __future__ import annotations

import pytest

from densehybrid_ros.hazards.hazard import Level, hazard_level, time_to_reach
from densehybrid_ros.hazards.settings import HazardSettings

SETTINGS = HazardSettings(warn_distance=50.0, error_distance=15.0, warn_time=4.0, error_time=2.0)


def test_levels_are_those_of_diagnostic_status() -> None:
    diagnostic_msgs = pytest.importorskip("diagnostic_msgs.msg")
    for level in Level:
        assert getattr(diagnostic_msgs.DiagnosticStatus, level.name) == bytes([level])


@pytest.mark.parametrize(
    ("distance", "speed", "level"),
    [
        (60.0, None, Level.OK),
        (50.0, None, Level.WARN),
        (15.0, None, Level.ERROR),
        (15.1, None, Level.WARN),
        (60.0, 10.0, Level.OK),  # 6 s
        (60.0, 15.0, Level.WARN),  # 4 s
        (60.0, 30.0, Level.ERROR),  # 2 s
        (60.0, 0.0, Level.OK),
        (60.0, -30.0, Level.OK),
        (5.0, 0.0, Level.ERROR),
        (None, 10.0, Level.WARN),
        (None, None, Level.WARN),
    ],
)
def test_level_by_distance_and_time(distance: float | None, speed: float | None, level: Level) -> None:
    assert hazard_level(distance, time_to_reach(distance, speed), SETTINGS) is level


def test_time_to_reach() -> None:
    assert time_to_reach(30.0, 15.0) == 2.0
    assert time_to_reach(30.0, 0.05) is None
