# SPDX-License-Identifier: Apache-2.0
"""Alerts judged against labelled obstacles: found or missed by distance, false alarms, in time to stop or not."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from densehybrid_ros.datasets.evaluation_set import ANOMALY
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.obstacles import Box, FrameTruth, Sighting, by_obstacle
from densehybrid_ros.hazards.hazard import State
from densehybrid_ros.perception.alert import Alert

MATCH = 0.1
"""Intersection over union of boxes from which on an alerted region belongs to a labelled obstacle."""
JUDGED = 0.5
"""Share of the lowest quarter of a region's box, where it stands, that must be labelled for an alert beside all
obstacles to count as false."""
DEFAULT_SPEEDS = (20.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0)
"""Speeds of the table in km/h."""

_NUMBER = re.compile(r"-?\d+(\.\d+)?")


@dataclass(frozen=True)
class Braking:
    """How the vehicle brakes."""

    speeds: tuple[float, ...] = DEFAULT_SPEEDS  # speeds to judge in km/h, rising
    reaction_time: float = 1.0  # seconds from the alert until the brakes hold
    deceleration: float = 6.0  # in m/s^2

    def __post_init__(self) -> None:
        if not self.speeds or not all(0 < speed < math.inf for speed in self.speeds):
            raise InputError("--speeds: give speeds in km/h above 0, such as 30,50,80")
        if not (0 <= self.reaction_time < math.inf and 0 < self.deceleration < math.inf):
            raise InputError("--reaction-time must be at least 0 s, --deceleration above 0 m/s^2")

    def distance(self, speed: float) -> float:
        """Returns the metres until the vehicle stands, from ``speed`` km/h: d = v t + v^2 / (2 a)."""
        metres_a_second = speed / 3.6
        return metres_a_second * self.reaction_time + metres_a_second**2 / (2 * self.deceleration)


@dataclass(frozen=True)
class HazardBin:
    """Obstacles that came through a distance bin, and how many of them were alerted while in it."""

    low: float
    high: float
    obstacles: int
    found: int


@dataclass(frozen=True)
class SpeedRow:
    """Whether the alerts came in time at one speed."""

    speed: float  # in km/h
    stopping_distance: float  # in metres, reaction included
    obstacles: int  # obstacles that were in sight from farther away than that; of the others it can't be said
    in_time: int  # those of them whose first alert came at that distance or farther away
    # metres left before the worst of those obstacles, negative where the vehicle hits it; of one that was never
    # alerted minus the stopping distance. None without obstacles
    worst_margin: float | None


@dataclass(frozen=True)
class Moment:
    """What was alerted in one frame."""

    drive: str  # name of the drive; empty where there is one
    seconds: float  # since the drive's first frame
    hazards: int  # active hazards
    nearest: float | None  # distance of the nearest in metres; None where none is known


@dataclass(frozen=True)
class HazardFigures:
    """What the alerts of drives were worth."""

    raised: int  # hazards that were raised, all drives together
    false_alarms: int | None  # those that never lay on an obstacle. Without labels: None
    minutes: float  # length of the drives in minutes
    kilometres: float | None  # the same in kilometres; None where no speed is known
    bins: tuple[HazardBin, ...]  # obstacles by distance
    # obstacle (of several drives "DRIVE/ID") -> distance in metres at its first alert; None: never
    first_alert: dict[str, float | None]
    speeds: tuple[SpeedRow, ...]  # by speed
    # median of |alerted distance - true distance| in metres; None where nothing could be compared
    distance_error: float | None
    # share of the alerted distances that are within twice their stated deviation of the truth
    within_two_sigma: float | None
    problems: dict[str, int]  # problem that the alerts named -> frames; problems that differ in numbers alone are one
    timeline: tuple[Moment, ...] = ()  # what was alerted, frame after frame
    sightings: int | None = None  # labelled obstacles, counted in every frame; None without labels
    alerted: int | None = None  # those of them that an active hazard lay on
    true_alarms: int | None = None  # hazards that lay on an obstacle. Without labels: None
    obstacles_found: int = 0  # obstacles with an id that were alerted at least once

    @property
    def precision(self) -> float | None:
        """Share of the judged hazards that lay on an obstacle, 0..1; None without one."""
        return _ratio(self.true_alarms, (self.true_alarms or 0) + (self.false_alarms or 0))

    @property
    def recall(self) -> float | None:
        """Share of the sightings of obstacles that are alerted, 0..1; None without a sighting."""
        return _ratio(self.alerted, self.sightings)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall, 0..1; None without obstacles."""
        if self.recall is None:
            return None
        precision = self.precision or 0.0
        return 2 * precision * self.recall / (precision + self.recall) if precision and self.recall else 0.0

    @property
    def alerted_frames(self) -> int:
        """Frames with an active hazard."""
        return sum(moment.hazards > 0 for moment in self.timeline)

    @property
    def false_alarms_per_minute(self) -> float | None:
        """False alarms a minute of driving; None where they or the time are not known."""
        return _ratio(self.false_alarms, self.minutes)

    @property
    def false_alarms_per_kilometre(self) -> float | None:
        """False alarms a kilometre; None where they or the way are not known."""
        return _ratio(self.false_alarms, self.kilometres)


def _ratio(part: int | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


class _Alerted(NamedTuple):
    """An active hazard as an alert tells of it; distances in metres, nan where unknown."""

    id: int
    box: Box
    distance: float
    distance_std: float
    missed: int

    @classmethod
    def of(cls, values: Mapping[str, str]) -> _Alerted:
        left, top, width, height = (int(values[f"box_{side}"]) for side in ("left", "top", "width", "height"))
        distance, deviation = float(values["distance_m"]), float(values["distance_std_m"])
        return cls(int(values["id"]), (left, top, width, height), distance, deviation, int(values["missed_frames"]))


class HazardAccumulator:
    """Judges the alerts of drives, by distance bins of rising ``edges`` in metres and by speed."""

    def __init__(self, edges: Sequence[float], braking: Braking) -> None:
        self._edges, self._braking = tuple(edges), braking
        self._drive, self._times = "", list[float]()
        self._true: dict[tuple[str, int], bool] = {}  # hazard -> whether it ever lay on an obstacle
        self._unjudged: set[tuple[str, int]] = set()
        self._sightings: list[Sighting] = []
        self._errors: list[tuple[float, float]] = []
        self._seconds, self._metres = 0.0, 0.0
        self._speed_known, self._labelled = True, False
        self._problems: dict[str, tuple[int, str]] = {}
        self._timeline: list[Moment] = []

    def begin(self, drive: str) -> None:
        """Turns to the next drive."""
        self._drive, self._times = drive, []

    def update(self, time: float, alert: Alert, speed: float | None = None, truth: FrameTruth | None = None) -> None:
        """Takes in a frame of a time in seconds, by a clock that does not jump.

        The vehicle's speed is in m/s, None: unknown. Without ``truth``, what is labelled, nothing is judged.
        """
        self._advance(time, speed)
        told = alert.summary.values.get("problems", alert.summary.message)
        for problem in told.split("; ") if told != "none" else ():
            count, first = self._problems.get(kind := _NUMBER.sub("#", problem), (0, problem))
            self._problems[kind] = (count + 1, first)
        active = [item.values for item in alert.hazards if item.values["state"] == State.ACTIVE.value]
        hazards = [_Alerted.of(values) for values in active]
        near = [hazard.distance for hazard in hazards if not math.isnan(hazard.distance)]
        passed = time - self._times[0]
        self._timeline.append(Moment(self._drive, passed, len(hazards), min(near, default=None)))
        seen = [hazard for hazard in hazards if not hazard.missed]
        for hazard in seen:
            self._true.setdefault((self._drive, hazard.id), False)
        if truth is not None:
            self._labelled = True
            self._judge(seen, truth)

    def _advance(self, time: float, speed: float | None) -> None:
        """Adds the time and the way since the frame before; a gap counts as the usual time between two frames."""
        if self._times and time > self._times[-1]:
            steps = [later - earlier for earlier, later in pairwise(self._times[-20:])]
            usual = float(np.median(steps)) if steps else time - self._times[-1]
            step = min(time - self._times[-1], 10 * usual)
            self._seconds += step
            self._metres += step * (speed or 0.0)
        self._speed_known &= speed is not None
        self._times.append(time)

    def _judge(self, hazards: Sequence[_Alerted], truth: FrameTruth) -> None:
        obstacles = truth.obstacles
        matched: dict[int, _Alerted] = {}
        for hazard in hazards:
            box = left, top, width, height = hazard.box
            best = max(range(len(obstacles)), key=lambda index: box_overlap(box, obstacles[index].box), default=-1)
            if best >= 0 and box_overlap(box, obstacles[best].box) >= MATCH:
                self._true[self._drive, hazard.id] = True
                matched.setdefault(best, hazard)
            elif not self._true[self._drive, hazard.id]:
                foot = slice(top + height - max(1, height // 4), top + height)
                if float(np.mean(truth.labels[foot, left : left + width] <= ANOMALY)) < JUDGED:
                    self._unjudged.add((self._drive, hazard.id))
        for index, item in enumerate(obstacles):
            told = matched.get(index)
            self._sightings.append(Sighting(self._drive, item.id, len(self._times), item.distance, told is not None))
            if told is not None and math.isfinite(told.distance - item.distance) and told.distance_std > 0:
                self._errors.append((abs(told.distance - item.distance), told.distance_std))

    def compute(self) -> HazardFigures:
        """Returns the figures of all drives so far."""
        false = [key for key, true in self._true.items() if not true and key not in self._unjudged]
        obstacles = by_obstacle(self._sightings)
        bins = []
        for low, high in pairwise(self._edges):
            inside = [[item.found for item in own if low <= item.distance < high] for own in obstacles.values()]
            bins.append(HazardBin(low, high, sum(map(bool, inside)), sum(map(any, inside))))
        first = {name: next((item.distance for item in own if item.found), math.nan) for name, own in obstacles.items()}
        errors = np.array(sorted(self._errors)) if self._errors else None
        labelled = self._labelled
        return HazardFigures(
            raised=len(self._true),
            false_alarms=len(false) if labelled else None,
            minutes=self._seconds / 60,
            kilometres=self._metres / 1000 if self._speed_known and self._metres else None,
            bins=tuple(bins),
            first_alert={name: None if math.isnan(distance) else distance for name, distance in first.items()},
            speeds=tuple(self._speed_row(speed, obstacles, first) for speed in self._braking.speeds),
            distance_error=None if errors is None else float(np.median(errors[:, 0])),
            within_two_sigma=None if errors is None else float(np.mean(errors[:, 0] <= 2 * errors[:, 1])),
            problems={text: count for count, text in sorted(self._problems.values(), key=lambda item: item[1])},
            timeline=tuple(sorted(self._timeline, key=lambda item: (item.drive, item.seconds))),
            sightings=len(self._sightings) if labelled else None,
            alerted=sum(item.found for item in self._sightings) if labelled else None,
            true_alarms=sum(self._true.values()) if labelled else None,
            obstacles_found=sum(any(item.found for item in own) for own in obstacles.values()),
        )

    def _speed_row(self, speed: float, obstacles: dict[str, list[Sighting]], first: dict[str, float]) -> SpeedRow:
        needed = self._braking.distance(speed)
        in_sight = [name for name, own in obstacles.items() if any(needed <= item.distance < math.inf for item in own)]
        margins = [(0.0 if math.isnan(first[name]) else first[name]) - needed for name in in_sight]
        return SpeedRow(speed, needed, len(margins), sum(margin >= 0 for margin in margins), min(margins, default=None))


def box_overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes (left, top, width, height), 0..1."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)
