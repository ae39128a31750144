"""What the hazard stage says about a frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum

import numpy as np

from densehybrid_ros.hazards.regions import Region


class Level(IntEnum):
    """How grave; the values are those of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


class State(str, Enum):
    """Where a track is in its life."""

    CANDIDATE = "candidate"
    """Seen, but not yet in enough frames."""
    ACTIVE = "active"
    """Raised, and not yet missed in enough frames."""
    LOST = "lost"
    """Was raised, and has been cleared since; its id is remembered for a while."""

    def __str__(self) -> str:
        return self.value


class Source(str, Enum):
    """What a distance was measured by."""

    DISPARITY = "disparity"
    GROUND_PLANE = "ground_plane"
    NONE = "none"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Location:
    """Where a region stands, in the camera's optical frame (x right, y down, z forward).

    Attributes:
        position: (x, y, z) in metres of the point where it meets the ground, midway between its sides; None: unknown.
        distance: Metres along the optical axis, ``position[2]``; None: unknown.
        lateral: Metres to the right of the optical axis, ``position[0]``; None: unknown.
        width: Metres across; None: unknown.
        distance_std: Standard deviation of the distance in metres; None: unknown.
        source: What the distance was measured by.
    """

    position: tuple[float, float, float] | None = None
    distance: float | None = None
    lateral: float | None = None
    width: float | None = None
    distance_std: float | None = None
    source: Source = Source.NONE


NOWHERE = Location()


@dataclass(frozen=True)
class Hazard:
    """A tracked anomalous region.

    Attributes:
        id: Its number, from 1; no other hazard gets it until the tracks are reset.
        state: Where its track is in its life.
        region: Its pixels; the last seen, moved to where they are expected, while ``missed`` is above zero.
        probability: Calibrated probability (0..1) that a pixel of its mean score is anomalous.
        location: Where it stands; predicted while ``missed`` is above zero.
        time_to_reach: Seconds to reach it at the ego speed; None where distance or speed is unknown or zero.
        level: How grave it is by distance and time; a candidate's and a lost one's is OK.
        age: Frames since it was first seen, that one included.
        missed: Frames in a row, up to this one, in which it was not seen.
        first_stamp: Seconds; stamp of the frame in which it was first seen.
    """

    id: int
    state: State
    region: Region
    probability: float
    location: Location
    time_to_reach: float | None
    level: Level
    age: int
    missed: int
    first_stamp: float

    @property
    def position(self) -> tuple[float, float, float] | None:
        """(x, y, z) in metres in the camera's optical frame, where it meets the ground; None: unknown."""
        return self.location.position

    @property
    def distance(self) -> float | None:
        """Metres along the optical axis; None: unknown."""
        return self.location.distance

    @property
    def lateral(self) -> float | None:
        """Metres to the right of the optical axis; None: unknown."""
        return self.location.lateral

    @property
    def width(self) -> float | None:
        """Metres across; None: unknown."""
        return self.location.width

    @property
    def distance_std(self) -> float | None:
        """Standard deviation of the distance in metres; None: unknown."""
        return self.location.distance_std

    @property
    def source(self) -> Source:
        """What the distance was measured by; a string as well ("disparity", "ground_plane", "none")."""
        return self.location.source


@dataclass(frozen=True)
class HazardFrame:
    """What the stage says about one frame.

    Attributes:
        stamp: Seconds.
        hazards: The active ones: the nearest first, then those of unknown distance, the largest first.
        candidates: Those not raised yet, in the same order.
        lost: Those cleared in this very frame.
        level: The gravest level of ``hazards``; OK without any.
        summary: One line for people.
        problems: What was wrong with the input, one line each; empty where nothing was.
        regions_left_out: Regions beyond ``max_hazards`` that were not judged.
        drivable: bool [h, w], the drivable surface at reduced size, for pictures; None where it was not asked for.
    """

    stamp: float
    hazards: tuple[Hazard, ...]
    candidates: tuple[Hazard, ...]
    lost: tuple[Hazard, ...]
    level: Level
    summary: str
    problems: tuple[str, ...]
    regions_left_out: int
    drivable: np.ndarray | None = field(default=None, compare=False, repr=False)
