# SPDX-License-Identifier: Apache-2.0
"""Detection by obstacle along a drive: recall by distance, false alarms, and from where on detection lasts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from densehybrid_ros.evaluation.components import ANOMALY
from densehybrid_ros.evaluation.distances import check_edges, obstacle_ids, obstacle_pixels

COVER = 0.5
"""Share of an obstacle's pixels that must exceed the threshold for it to count as detected."""
SMALLEST_OBSTACLE = 50
"""Pixels below which an obstacle is not judged."""
SMALLEST_REGION = 50
"""Pixels that a false region needs to count as an alarm."""


@dataclass(frozen=True)
class Sighting:
    """An obstacle in one frame.

    Attributes:
        obstacle: Its id along the drive; 0 where ids are not known from frame to frame.
        frame: Number of the frame.
        distance: Metres along the optical axis; nan where unknown.
        detected: Whether enough of its pixels exceed the threshold.
        drive: Name of the drive, where there are several; ids are an obstacle's own within its drive.
    """

    obstacle: int
    frame: int
    distance: float
    detected: bool
    drive: str = ""


@dataclass(frozen=True)
class BinRecall:
    """Sightings in one distance bin and how many of them are detections."""

    low: float
    high: float
    seen: int
    detected: int


@dataclass(frozen=True)
class ObstacleFigures:
    """Figures of a drive at one threshold.

    Attributes:
        threshold: On the anomaly score.
        frames: Frames judged.
        seen: Sightings of obstacles.
        detected: Sightings that are detections.
        false_alarms: False regions in all frames.
        bins: Recall by distance.
        lasting: Obstacle (of several drives "DRIVE/ID") -> distance in metres from which on it is detected in every
            later frame; None if it never is, or at a distance that is not known. Only obstacles with ids.
    """

    threshold: float
    frames: int
    seen: int
    detected: int
    false_alarms: int
    bins: tuple[BinRecall, ...]
    lasting: dict[int | str, float | None]

    @property
    def recall(self) -> float:
        """Share of the sightings that are detections, 0..1; nan without a sighting."""
        return self.detected / self.seen if self.seen else math.nan

    @property
    def false_alarms_per_frame(self) -> float:
        """Mean number of false regions; nan without a frame."""
        return self.false_alarms / self.frames if self.frames else math.nan


class ObstacleAccumulator:
    """Judges the frames of a drive.

    Args:
        threshold: Pixels whose score exceeds it count as anomalous.
        edges: Rising edges of distance bins in metres.
    """

    def __init__(self, threshold: float, edges: Sequence[float]) -> None:
        self.threshold = threshold
        self._edges = check_edges(edges)
        self.sightings: list[Sighting] = []
        self.frames = 0
        self.false_alarms = 0

    def update(
        self,
        frame: int,
        score: np.ndarray,
        labels: np.ndarray,
        instances: np.ndarray | None = None,
        distance: np.ndarray | None = None,
        drive: str = "",
    ) -> None:
        """Takes in a frame.

        Args:
            frame: Its number along the drive.
            score: float32 [H, W].
            labels: uint8 [H, W], 0 inlier, 1 anomaly, else not judged.
            instances: uint16 [H, W], ids that an obstacle keeps along the drive; None where there are none.
            distance: float32 [H, W] in metres, nan where unknown; None where nothing is known.
            drive: Name of the drive, where there are several.
        """
        found = score > self.threshold
        self.frames += 1
        self.false_alarms += int((false_region_areas(found, labels) >= SMALLEST_REGION).sum())
        ids = obstacle_ids(labels, instances)
        for rows, columns in obstacle_pixels(ids):
            if len(rows) < SMALLEST_OBSTACLE:
                continue
            known = np.zeros(0) if distance is None else distance[rows, columns]
            known = known[np.isfinite(known)]
            where = float(np.median(known)) if len(known) else math.nan
            number = 0 if instances is None else int(ids[rows[0], columns[0]])
            detected = bool(found[rows, columns].mean() >= COVER)
            self.sightings.append(Sighting(number, frame, where, detected, drive))

    def merge(self, other: ObstacleAccumulator) -> None:
        """Adds another shard's frames."""
        self.sightings += other.sightings
        self.frames += other.frames
        self.false_alarms += other.false_alarms

    def compute(self) -> ObstacleFigures:
        """Returns the figures."""
        bins = []
        for low, high in pairwise(self._edges):
            inside = [item for item in self.sightings if low <= item.distance < high]
            bins.append(BinRecall(low, high, len(inside), sum(item.detected for item in inside)))
        return ObstacleFigures(
            threshold=self.threshold,
            frames=self.frames,
            seen=len(self.sightings),
            detected=sum(item.detected for item in self.sightings),
            false_alarms=self.false_alarms,
            bins=tuple(bins),
            lasting=lasting_detections(self.sightings),
        )


def false_region_areas(found: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Pixels of each 8-connected found region, int32 [n], of judged pixels that touches no obstacle.

    Args:
        found: bool [H, W].
        labels: uint8 [H, W], 0 inlier, 1 anomaly, else not judged.
    """
    judged = found & (labels <= ANOMALY)
    _, numbered, statistics, _ = cv2.connectedComponentsWithStats(judged.astype(np.uint8), connectivity=8)
    false = np.ones(len(statistics), dtype=bool)
    false[np.unique(numbered[labels == ANOMALY])] = False
    false[0] = False
    areas: np.ndarray = statistics[false, cv2.CC_STAT_AREA]
    return areas


def lasting_detections(sightings: Sequence[Sighting]) -> dict[int | str, float | None]:
    """Distance at which each obstacle is first detected and stays so until it is out of sight.

    Args:
        sightings: In any order; those without an id are left out.

    Returns:
        Obstacle, or "DRIVE/ID" where the drive has a name -> metres; None where its last sighting is no detection or
        the distance is not known.
    """
    found: dict[int | str, float | None] = {}
    tracks: dict[tuple[str, int], list[Sighting]] = {}
    for item in sightings:
        if item.obstacle:
            tracks.setdefault((item.drive, item.obstacle), []).append(item)
    for (drive, number), track in sorted(tracks.items(), key=lambda entry: entry[0]):
        own = sorted(track, key=lambda item: -item.frame)
        first: float | None = None
        for item in own:  # from the last sighting backwards
            if not item.detected:
                break
            first = item.distance
        found[f"{drive}/{number}" if drive else number] = None if first is None or math.isnan(first) else first
    return found
