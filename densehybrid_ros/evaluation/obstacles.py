# SPDX-License-Identifier: Apache-2.0
"""What is labelled along a drive, and detection by obstacle: recall by distance, and from where on detection lasts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise, takewhile
from typing import NamedTuple

import cv2
import numpy as np

from densehybrid_ros.datasets.evaluation_set import ANOMALY
from densehybrid_ros.evaluation.distances import obstacle_ids, obstacle_pixels

COVER = 0.5
"""Share of an obstacle's pixels that must exceed the threshold for it to count as detected."""
SMALLEST_OBSTACLE = 50
"""Pixels below which an obstacle is not judged."""
SMALLEST_REGION = 50
"""Pixels that a false region needs to count as an alarm."""

Box = tuple[int, int, int, int]
"""Left, top, width and height in pixels."""


class LabelledObstacle(NamedTuple):
    """An obstacle of a frame: its id (None: unknown), box, distance in metres (nan: unknown), and (rows, columns)."""

    id: int | None
    box: Box
    distance: float
    pixels: tuple[np.ndarray, np.ndarray]


class FrameTruth(NamedTuple):
    """What is labelled in a frame."""

    labels: np.ndarray  # uint8 [H, W], 0 inlier, 1 anomaly, else not judged
    obstacles: tuple[LabelledObstacle, ...]  # the obstacles

    @classmethod
    def of(
        cls, labels: np.ndarray, instances: np.ndarray | None = None, distance: np.ndarray | None = None
    ) -> FrameTruth:
        """Finds the obstacles of a frame.

        Args:
            labels: uint8 [H, W], 0 inlier, 1 anomaly, else not judged.
            instances: uint16 [H, W], ids that an obstacle keeps along the drive; None where there are none.
            distance: float32 [H, W], true distances in metres as ``distances.distance_map`` gives them.
        """
        ids = obstacle_ids(labels, instances)
        found = []
        for rows, columns in obstacle_pixels(ids):
            left, top = int(columns.min()), int(rows.min())
            box = (left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top)
            number = None if instances is None else int(ids[rows[0], columns[0]])
            where = math.nan if distance is None else float(distance[rows[0], columns[0]])
            found.append(LabelledObstacle(number, box, where, (rows, columns)))
        return cls(labels, tuple(found))


class Sighting(NamedTuple):
    """An obstacle in one frame."""

    drive: str  # name of the drive; empty where there is one
    obstacle: int | None  # its id along the drive; None where ids are not known from frame to frame
    frame: int  # number of the frame
    distance: float  # metres along the optical axis; nan where unknown
    found: bool  # whether it is detected, or alerted


def by_obstacle(sightings: Iterable[Sighting]) -> dict[str, list[Sighting]]:
    """Obstacle (of several drives "DRIVE/ID") -> its sightings, frame after frame; those without an id are left out."""
    known = sorted(item for item in sightings if item.obstacle is not None)
    return {
        f"{drive}/{number}" if drive else str(number): list(own)
        for (drive, number), own in groupby(known, key=lambda item: item[:2])
    }


@dataclass(frozen=True)
class BinRecall:
    """Sightings in one distance bin and how many of them are detections."""

    low: float
    high: float
    seen: int
    detected: int


@dataclass(frozen=True)
class ObstacleFigures:
    """Figures of a drive at one threshold."""

    threshold: float  # on the anomaly score
    frames: int  # frames judged
    seen: int  # sightings of obstacles
    detected: int  # sightings that are detections
    false_alarms: int  # false regions in all frames
    bins: tuple[BinRecall, ...]  # recall by distance
    # obstacle (see by_obstacle) -> distance in metres from which on it is detected in every later frame; None if
    # it never is, or at a distance that is not known
    lasting: dict[str, float | None]

    @property
    def recall(self) -> float:
        """Share of the sightings that are detections, 0..1; nan without a sighting."""
        return self.detected / self.seen if self.seen else math.nan

    @property
    def false_alarms_per_frame(self) -> float:
        """Mean number of false regions; nan without a frame."""
        return self.false_alarms / self.frames if self.frames else math.nan


class ObstacleAccumulator:
    """Judges a drive's frames: scores above the threshold are anomalous; distance bins have rising edges in metres."""

    def __init__(self, threshold: float, edges: Sequence[float]) -> None:
        self.threshold, self._edges = threshold, tuple(edges)
        self._sightings: list[Sighting] = []
        self._frames = self._false_alarms = 0

    def update(self, frame: int, score: np.ndarray, truth: FrameTruth, drive: str = "") -> None:
        """Takes in a frame by its number along the drive, with its score, float32 [H, W], and what is labelled."""
        found = score > self.threshold
        self._frames += 1
        self._false_alarms += _false_regions(found, truth.labels)
        for item in truth.obstacles:
            if len(item.pixels[0]) >= SMALLEST_OBSTACLE:
                detected = bool(found[item.pixels].mean() >= COVER)
                self._sightings.append(Sighting(drive, item.id, frame, item.distance, detected))

    def compute(self) -> ObstacleFigures:
        """Returns the figures."""
        bins = []
        for low, high in pairwise(self._edges):
            inside = [item.found for item in self._sightings if low <= item.distance < high]
            bins.append(BinRecall(low, high, len(inside), sum(inside)))
        detected = sum(item.found for item in self._sightings)
        lasting = {name: _lasting(own) for name, own in by_obstacle(self._sightings).items()}
        seen = len(self._sightings)
        return ObstacleFigures(self.threshold, self._frames, seen, detected, self._false_alarms, tuple(bins), lasting)


def _false_regions(found: np.ndarray, labels: np.ndarray) -> int:
    """Number of large 8-connected regions found, bool [H, W], of judged pixels that touch no obstacle."""
    judged = found & (labels <= ANOMALY)
    _, numbered, statistics, _ = cv2.connectedComponentsWithStats(judged.astype(np.uint8), connectivity=8)
    false = statistics[:, cv2.CC_STAT_AREA] >= SMALLEST_REGION
    false[np.unique(numbered[labels == ANOMALY])] = False
    return int(np.count_nonzero(false[1:]))


def _lasting(sightings: Sequence[Sighting]) -> float | None:
    """Distance from which on an obstacle is detected until it is out of sight."""
    last = list(takewhile(lambda item: item.found, reversed(sightings)))
    return last[-1].distance if last and not math.isnan(last[-1].distance) else None
