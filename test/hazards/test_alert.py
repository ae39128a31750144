"""How grave a hazard is, and stopping."""

from __future__ import annotations

import pytest

from densehybrid_ros.hazards.alert import hazard_level, stopping_distance, stopping_margin, time_to_reach
from densehybrid_ros.hazards.hazard import Level
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


def test_stopping_distance_is_that_of_the_driving_school() -> None:
    # 50 km/h, 1 s of reaction, 7.5 m/s^2: 13.9 m + 12.9 m
    assert stopping_distance(50 / 3.6, 1.0, 7.5) == pytest.approx(13.889 + 12.860, abs=0.01)
    assert stopping_distance(0.0) == 0.0
    assert stopping_margin(30.0, 50 / 3.6, 1.0, 7.5) == pytest.approx(30 - 26.749, abs=0.01)
    assert stopping_margin(20.0, 50 / 3.6, 1.0, 7.5) < 0


@pytest.mark.parametrize(
    ("speed", "reaction", "deceleration"), [(-1, 1, 6), (1, -1, 6), (1, 1, 0), (float("nan"), 1, 6)]
)
def test_stopping_distance_refuses_nonsense(speed: float, reaction: float, deceleration: float) -> None:
    with pytest.raises(ValueError, match="out of range"):
        stopping_distance(speed, reaction, deceleration)
