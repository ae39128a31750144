# SPDX-License-Identifier: Apache-2.0
"""Rehearses the hazard stage on the rendered road, where the truth is exact, with a detector of drawn errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from densehybrid_ros.confidence import Confidence
from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.datasets.rendered_road import RenderedFrame
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.hazards.chain import HazardChain
from densehybrid_ros.hazards.hazard import Hazard, HazardFrame, Source, State
from densehybrid_ros.hazards.settings import HazardSettings

_INLIER, _PIXEL_NOISE = -12.0, 0.5  # nats: score of the road, and its noise from pixel to pixel
_OBSTACLE, _FALSE, _SPREAD = 3.0, 0.0, 3.0  # nats: mean score of obstacles and false regions, and its deviation
_FALSE_SIZE = (0.15, 0.5)  # metres across
_DISPARITY_NOISE, _INVALID = 0.5, 0.2  # pixels from pixel to pixel, and share of pixels without disparity
_CONFIDENCE = Confidence(0.0, 2.0)
_APART = 3  # pixels between the boxes of two obstacles that are told apart for certain
_SAME_BOX = 0.3  # intersection over union of a hazard's box and an obstacle's


@dataclass(frozen=True)
class Obstacle:
    """An obstacle as one frame shows it.

    Attributes:
        id: Its number, constant through a drive.
        box: Left, top, width and height in pixels.
        pixels: How many show it.
        depth: Median of their depths in metres.
        clear: Whether no other obstacle's box comes near its own: nothing hides it, and no mask grows together with it.
    """

    id: int
    box: tuple[int, int, int, int]
    pixels: int
    depth: float
    clear: bool = True


@dataclass(frozen=True)
class ImitatedFrame:
    """What the hazard stage gets to see, and the truth.

    Attributes:
        stamp: Seconds.
        semantic: uint8 [H, W] train ids.
        score: float32 [H, W] in nats.
        disparity: float32 [H, W] in pixels, 0 where invalid.
        obstacles: What is really there.
        image: uint8 [H, W, 3] RGB.
    """

    stamp: float
    semantic: np.ndarray
    score: np.ndarray
    disparity: np.ndarray
    obstacles: tuple[Obstacle, ...]
    image: np.ndarray


class ImitatedDetector:
    """Draws the errors of a detector and of a stereo camera over the exact truth of rendered frames.

    Every obstacle of every frame gets a score of its own, N(3, 3) nats, and every false region N(0, 3): a threshold
    trades missed obstacles for false alarms. False regions lie on the road, new ones in every frame.

    Args:
        seed: The same seed gives the same errors.
        false_regions: Mean number of false regions a frame.
        obstacle_score: Mean score of an obstacle in nats.
        spread: Standard deviation of the scores of obstacles and false regions in nats.
        disparity_error: Standard deviation of an obstacle's disparity in pixels, the same for all its pixels.
    """

    def __init__(
        self,
        seed: int = 0,
        false_regions: float = 1.0,
        obstacle_score: float = _OBSTACLE,
        spread: float = _SPREAD,
        disparity_error: float = 0.25,
    ) -> None:
        self._random = np.random.default_rng(seed)
        self._false_regions = false_regions
        self._obstacle_score, self._spread = obstacle_score, spread
        self._disparity_error = disparity_error

    def look(self, frame: RenderedFrame) -> ImitatedFrame:
        """Returns what the detector makes of a frame."""
        random = self._random
        score = random.standard_normal(frame.semantic.shape, dtype=np.float32) * np.float32(_PIXEL_NOISE)
        level = np.full(score.shape, _INLIER, dtype=np.float32)
        disparity = frame.disparity + random.standard_normal(score.shape, dtype=np.float32) * _DISPARITY_NOISE
        for mask in self._false_masks(frame):
            level[mask] = random.normal(_FALSE, self._spread)
        obstacles = true_obstacles(frame)
        for obstacle in obstacles:
            mask = frame.instances == obstacle.id
            level[mask] = random.normal(self._obstacle_score, self._spread)
            disparity[mask] += random.normal(0, self._disparity_error)
        disparity[random.random(score.shape, dtype=np.float32) < _INVALID] = 0
        return ImitatedFrame(frame.stamp, frame.semantic, score + level, disparity, obstacles, frame.image)

    def _false_masks(self, frame: RenderedFrame) -> Iterable[np.ndarray]:
        rows, columns = np.nonzero(frame.semantic == 0)
        for _ in range(self._random.poisson(self._false_regions)):
            place = self._random.integers(len(rows))
            row, column = int(rows[place]), int(columns[place])
            size = self._random.uniform(*_FALSE_SIZE) * frame.camera.fx / float(frame.depth[row, column])
            disc = np.zeros(frame.semantic.shape, dtype=np.uint8)
            cv2.circle(disc, (column, row), max(1, round(size / 2)), 1, -1)
            yield disc > 0


def true_obstacles(frame: RenderedFrame) -> tuple[Obstacle, ...]:
    """Measures the unknown objects of a rendered frame."""
    found = []
    for number in np.unique(frame.instances)[1:].tolist():
        mask = frame.instances == number
        left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
        depth = float(np.median(frame.depth[mask]))
        found.append(Obstacle(number, (left, top, width, height), int(mask.sum()), depth))
    return tuple(replace(own, clear=not any(_near(own, other) for other in found if other is not own)) for own in found)


def _near(first: Obstacle, second: Obstacle) -> bool:
    left, top, width, height = first.box
    return overlap((left - _APART, top - _APART, width + 2 * _APART, height + 2 * _APART), second.box) > 0


@dataclass
class RehearsalFigures:
    """What came out of a rehearsal.

    Attributes:
        frames: Frames.
        sightings: Clear obstacles in frames, of at least ``min_hazard_area`` pixels.
        found: Those of them that an active hazard covers.
        false_alarms: Active hazards in frames that have never touched an obstacle, however small.
        id_switches: How often the id of a clear obstacle's hazard changed.
        latencies: For each hazard on a clear obstacle, frames from its first detection to its alert.
        errors: (error of the distance in metres, its stated standard deviation) of every hazard seen, by source.
    """

    frames: int = 0
    sightings: int = 0
    found: int = 0
    false_alarms: int = 0
    id_switches: int = 0
    latencies: list[int] = field(default_factory=list)
    errors: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    @property
    def recall(self) -> float:
        """Share of the sightings that are found, 0..1; nan without any."""
        return self.found / self.sightings if self.sightings else float("nan")

    @property
    def false_alarms_per_frame(self) -> float:
        """Mean number of false alarms; nan without a frame."""
        return self.false_alarms / self.frames if self.frames else float("nan")

    def coverage(self, source: Source, sigmas: float) -> float:
        """Share of the distances within so many stated standard deviations of the truth; nan without any."""
        errors = np.array(self.errors.get(source.value, []))
        return float(np.mean(np.abs(errors[:, 0]) <= sigmas * errors[:, 1])) if len(errors) else float("nan")


class Rehearsal:
    """Runs the stage over imitated frames and compares what it says with the truth.

    Args:
        settings: Of the stage.
        camera: Camera that the stage is told, as a vehicle knows it: without its momentary nodding.
        threshold: Of the score in nats.
        use_disparity: Whether the stage gets the disparity.
        ego_speed: Metres a second; None: not told.
    """

    def __init__(
        self,
        settings: HazardSettings,
        camera: Camera,
        threshold: float = 0.0,
        use_disparity: bool = True,
        ego_speed: float | None = None,
    ) -> None:
        self.figures = RehearsalFigures()
        self._settings, self._camera, self._threshold = settings, camera, threshold
        self._use_disparity, self._ego_speed = use_disparity, ego_speed
        self._chain = HazardChain(CITYSCAPES_CLASSES, _CONFIDENCE)
        self._ids: dict[int, int] = {}
        self._fresh: set[int] = set()
        self._true: set[int] = set()

    def add(self, frame: ImitatedFrame) -> HazardFrame:
        """Takes in a frame and returns what the stage says about it."""
        answer = self._chain.update(
            frame.stamp,
            frame.semantic,
            frame.score,
            frame.score > self._threshold,
            self._threshold,
            self._settings,
            self._camera,
            frame.disparity if self._use_disparity else None,
            self._ego_speed,
        )
        covered = match_boxes(frame.obstacles, answer.hazards)
        self.figures.frames += 1
        self._true |= {
            hazard.id
            for hazard in (*answer.hazards, *answer.candidates)
            if any(overlap(_box(hazard), obstacle.box) > 0 for obstacle in frame.obstacles)
        }
        self.figures.false_alarms += sum(hazard.id not in self._true for hazard in answer.hazards)
        for obstacle in frame.obstacles:
            if obstacle.clear and obstacle.pixels >= self._settings.min_hazard_area:
                self.figures.sightings += 1
                self.figures.found += obstacle.id in covered
        everything = match_boxes(frame.obstacles, (*answer.hazards, *answer.candidates))
        for obstacle in frame.obstacles:
            if obstacle.clear and obstacle.id in everything:
                self._follow(obstacle, everything[obstacle.id])
            else:
                self._fresh.discard(self._ids.pop(obstacle.id, 0))
        return answer

    def _follow(self, obstacle: Obstacle, hazard: Hazard) -> None:
        number, figures = obstacle.id, self.figures
        figures.id_switches += self._ids.get(number, hazard.id) != hazard.id
        self._ids[number] = hazard.id
        if hazard.age == 1:
            self._fresh.add(hazard.id)
        if hazard.state is State.ACTIVE and hazard.id in self._fresh:
            self._fresh.remove(hazard.id)
            figures.latencies.append(hazard.age - 1)
        if hazard.missed == 0 and hazard.distance is not None and hazard.distance_std is not None:
            errors = figures.errors.setdefault(hazard.source.value, [])
            errors.append((hazard.distance - obstacle.depth, hazard.distance_std))


def match_boxes(obstacles: Sequence[Obstacle], hazards: Sequence[Hazard]) -> dict[int, Hazard]:
    """Finds for each obstacle the hazard whose box overlaps its own best, by at least 0.3 (intersection over union)."""
    matches = {}
    for obstacle in obstacles:
        best = max(hazards, key=lambda hazard: overlap(_box(hazard), obstacle.box), default=None)
        if best is not None and overlap(_box(best), obstacle.box) >= _SAME_BOX:
            matches[obstacle.id] = best
    return matches


def overlap(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> float:
    """Intersection over union of two boxes (left, top, width, height)."""
    across = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    down = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    common = max(across, 0) * max(down, 0)
    return common / (first[2] * first[3] + second[2] * second[3] - common)


def _box(hazard: Hazard) -> tuple[int, int, int, int]:
    region = hazard.region
    return region.left, region.top, region.width, region.height


def without_tracker(settings: HazardSettings) -> HazardSettings:
    """Returns the settings with which every region of a frame is raised at once and cleared at once."""
    return replace(settings, trigger_count=1, trigger_window=1, release_count=1, max_gap=0)


def false_alarms_at(recall: float, figures: Sequence[RehearsalFigures]) -> float:
    """Returns the fewest false alarms a frame among the rehearsals, at several thresholds, that reach a recall.

    nan where none does.
    """
    return min((item.false_alarms_per_frame for item in figures if item.recall >= recall), default=float("nan"))
