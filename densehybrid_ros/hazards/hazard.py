# SPDX-License-Identifier: Apache-2.0
"""What the hazard stage says about a frame: regions, where they stand, how grave they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum

import numpy as np

from densehybrid_ros.hazards.settings import HazardSettings

_STANDING = 0.1  # m/s below which nothing is ever reached


class Level(IntEnum):
    """How grave; the values are those of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


class _Name(str, Enum):
    """A name that is written as its value."""

    def __str__(self) -> str:
        return str(self.value)


class State(_Name):
    """Where a track is in its life."""

    CANDIDATE = "candidate"  # Seen, but not yet in enough frames
    ACTIVE = "active"  # Raised, and not yet missed in enough frames
    LOST = "lost"  # Was raised, and has been cleared since; its id is remembered for a while


class Source(_Name):
    """What a distance was measured by."""

    DISPARITY = "disparity"
    GROUND_PLANE = "ground_plane"
    NONE = "none"


@dataclass(slots=True)
class Region:
    """One connected region of unknown pixels."""

    area: int  # Number of pixels
    left: int  # First column of the bounding box
    top: int  # First row of the bounding box
    width: int  # Columns of the bounding box
    height: int  # Rows of the bounding box
    centroid: tuple[float, float]  # Mean (column, row) of its pixels
    peak_score: float  # Largest anomaly score in it, in nats
    mean_score: float = math.nan  # Mean anomaly score of its pixels, in nats


@dataclass(frozen=True, slots=True)
class Location:
    """Where a region stands, in the camera's optical frame (x right, y down, z forward)."""

    # (x, y, z) in metres of the point where it meets the ground, midway between its sides; None: unknown
    position: tuple[float, float, float] | None = None
    distance: float | None = None  # Metres along the optical axis, ``position[2]``; None: unknown
    lateral: float | None = None  # Metres to the right of the optical axis, ``position[0]``; None: unknown
    width: float | None = None  # Metres across; None: unknown
    distance_std: float | None = None  # Standard deviation of the distance in metres; None: unknown
    source: Source = Source.NONE  # What the distance was measured by


NOWHERE = Location()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hazard(Location):
    """A tracked anomalous region, and where it stands; predicted while ``missed`` is above zero."""

    id: int  # Its number, from 1; no other hazard gets it until the tracks are reset
    state: State  # Where its track is in its life
    region: Region  # Its pixels; the last seen, moved to where they are expected, while ``missed`` is above zero
    probability: float  # Calibrated probability (0..1) that a pixel of its mean score is anomalous
    time_to_reach: float | None  # Seconds to reach it at the ego speed; None where distance or speed is unknown or zero
    level: Level  # How grave it is by distance and time; a candidate's and a lost one's is OK
    age: int  # Frames since it was first seen, that one included
    missed: int  # Frames in a row, up to this one, in which it was not seen
    first_stamp: float  # Seconds; stamp of the frame in which it was first seen


@dataclass(frozen=True)
class HazardFrame:
    """What the stage says about one frame."""

    stamp: float  # Seconds
    hazards: tuple[Hazard, ...]  # The active ones: the nearest first, then those of unknown distance, the largest first
    candidates: tuple[Hazard, ...]  # Those not raised yet, in the same order
    lost: tuple[Hazard, ...]  # Those cleared in this very frame
    level: Level  # The gravest level of ``hazards``; OK without any
    summary: str  # One line for people
    problems: tuple[str, ...]  # What was wrong with the input, one line each; empty where nothing was
    regions_left_out: int  # Regions beyond ``max_hazards`` that were not judged
    # bool [h, w], the ground at reduced size, for pictures; None where it was not asked for
    drivable: np.ndarray | None = field(default=None, compare=False, repr=False)
    is_settled: bool = True  # Whether enough frames in a row are known for a hazard to be raised


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
