"""How grave a hazard is, and whether the vehicle could stop before it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from densehybrid_ros.hazards.hazard import Hazard, Level
from densehybrid_ros.hazards.settings import HazardSettings

_STANDING = 0.1  # m/s below which nothing is ever reached


def time_to_reach(distance: float | None, speed: float | None) -> float | None:
    """Returns the seconds to cover ``distance`` metres at ``speed`` m/s; the hazard is taken to stand still.

    None where one of them is unknown, or the vehicle stands or drives backwards.
    """
    if distance is None or speed is None or speed < _STANDING:
        return None
    return max(distance, 0.0) / speed


def hazard_level(distance: float | None, seconds: float | None, settings: HazardSettings) -> Level:
    """Judges an active hazard by its distance in metres and the time to reach it in seconds.

    ERROR within ``error_distance`` or ``error_time``; WARN within ``warn_distance`` or ``warn_time``, and where the
    distance is unknown; else OK.
    """
    if distance is None:
        return Level.WARN
    reach = math.inf if seconds is None else seconds
    if distance <= settings.error_distance or reach <= settings.error_time:
        return Level.ERROR
    if distance <= settings.warn_distance or reach <= settings.warn_time:
        return Level.WARN
    return Level.OK


def frame_level(hazards: Sequence[Hazard]) -> Level:
    """Returns the gravest level of the hazards; OK without any."""
    return max((hazard.level for hazard in hazards), default=Level.OK)


def summary_text(hazards: Sequence[Hazard]) -> str:
    """Sums up the active hazards, the nearest first, in one line."""
    if not hazards:
        return "no hazard"
    count = f"{len(hazards)} hazard" + ("s" if len(hazards) > 1 else "")
    nearest = hazards[0]
    if nearest.distance is None:
        return f"{count}, distance unknown"
    text = f"{count}, nearest {nearest.distance:.1f} m ahead"
    return text if nearest.time_to_reach is None else f"{text}, reached in {nearest.time_to_reach:.1f} s"


def stopping_distance(speed: float, reaction_time: float = 1.0, deceleration: float = 6.0) -> float:
    """Returns the metres until the vehicle stands: d = v t + v^2 / (2 a).

    Args:
        speed: v in m/s, at least 0.
        reaction_time: t in seconds, at least 0.
        deceleration: a in m/s^2, above 0.

    Raises:
        ValueError: An argument is out of range.
    """
    if not (speed >= 0 and reaction_time >= 0 and deceleration > 0):
        raise ValueError(f"speed {speed}, reaction time {reaction_time}, deceleration {deceleration}: out of range")
    return speed * reaction_time + speed**2 / (2 * deceleration)


def stopping_margin(distance: float, speed: float, reaction_time: float = 1.0, deceleration: float = 6.0) -> float:
    """Returns the metres left between the standing vehicle and a hazard first seen at ``distance`` metres.

    Negative where the vehicle can't stop in time.

    Raises:
        ValueError: An argument is out of range.
    """
    return distance - stopping_distance(speed, reaction_time, deceleration)
