# SPDX-License-Identifier: Apache-2.0
"""The hazard stage: anomalous pixels in, alert out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np

from densehybrid_ros.confidence import REGION_FEATURES, Confidence, RegionClassifier
from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.datasets.taxonomy import SemanticClass
from densehybrid_ros.hazards.hazard import (
    Hazard,
    HazardFrame,
    Level,
    Location,
    State,
    frame_level,
    hazard_level,
    summary_text,
    time_to_reach,
)
from densehybrid_ros.hazards.location import Locator
from densehybrid_ros.hazards.polygon import polygon_mask
from densehybrid_ros.hazards.region_classifier import region_features
from densehybrid_ros.hazards.region_points import region_points
from densehybrid_ros.hazards.regions import MaskedRegion, find_clusters, largest_regions
from densehybrid_ros.hazards.road import GROUND_CLASSES, Ground, drivable_ids, find_ground, hazard_mask, reaching
from densehybrid_ros.hazards.settings import HazardSettings
from densehybrid_ros.hazards.tracks import Detection, Track, Tracker


@dataclass(frozen=True)
class Candidates:
    """The regions of one frame before they are judged.

    Attributes:
        regions: Regions on the road, the largest first; what lies flat in it is no longer among them.
        unknown: bool [H, W], the pixels that they were found in.
        locator: What locates them.
        problems: What was wrong with the input.
        left_out: Regions beyond ``max_hazards``.
        surface: As in ``Detected``.
        ground: As in ``Detected``.
    """

    regions: list[MaskedRegion]
    unknown: np.ndarray
    locator: Locator
    problems: tuple[str, ...]
    left_out: int
    surface: np.ndarray | None
    ground: Ground | None

    def features(
        self, score: np.ndarray, semantic: np.ndarray, classes: Sequence[SemanticClass], floor: float
    ) -> np.ndarray:
        """Returns the features of the regions, see ``region_features``."""
        if not self.regions:
            return np.zeros((0, len(REGION_FEATURES)))
        points = region_points(self.regions, self.unknown)
        return region_features(self.regions, points, score, semantic, classes, floor, self.locator.horizon)


@dataclass(frozen=True)
class Detected:
    """What is found in one frame, before it is tracked; no setting of the tracks counts up to here.

    Attributes:
        detections: Regions that may be hazards.
        regions: The same with their pixels.
        shape: (height, width) of the frame.
        camera: The camera as far as it can be used; None: unknown.
        problems: What was wrong with the input.
        left_out: Regions beyond ``max_hazards``.
        surface: bool [h, w], the ground at reduced size; None where it was not asked for.
        ground: The ground, for the same frame at another threshold; None where it was not asked for.
    """

    detections: tuple[Detection, ...]
    regions: tuple[MaskedRegion, ...]
    shape: tuple[int, int]
    camera: Camera | None
    problems: tuple[str, ...]
    left_out: int
    surface: np.ndarray | None
    ground: Ground | None


class HazardChain:
    """Turns the masks of frame after frame into tracked hazards and an alert.

    Args:
        classes: Class table of the model, in the order of the train ids.
        confidence: Calibration of the anomaly score, as the model's card has it.
        classifier: What judges regions, as the card has it; None: the calibrated mean score is a region's probability,
            and no region is dropped for it.
    """

    def __init__(
        self, classes: Sequence[SemanticClass], confidence: Confidence, classifier: RegionClassifier | None = None
    ) -> None:
        self._classes = tuple(classes)
        self._confidence = confidence
        self._classifier = classifier
        self._tracker = Tracker()

    def reset(self) -> None:
        """Forgets all tracks. Ids go on counting."""
        self._tracker.reset()

    def update(
        self,
        stamp: float,
        semantic: np.ndarray,
        anomaly_score: np.ndarray,
        unknown: np.ndarray,
        threshold: float,
        settings: HazardSettings,
        camera: Camera | None = None,
        disparity: np.ndarray | None = None,
        ego_speed: float | None = None,
    ) -> HazardFrame:
        """Takes in a frame. Bad camera, disparity, stamp or speed is named in ``problems`` and not used.

        Args:
            stamp: Seconds.
            semantic: uint8 [H, W] train ids.
            anomaly_score: float32 [H, W] in nats.
            unknown: bool [H, W], True where the score exceeds the threshold.
            threshold: In nats.
            settings: Thresholds; they may change from frame to frame.
            camera: Camera of this image, rectified. A baseline or mounting height of zero or NaN says it is not known.
            disparity: float32 [H, W] in pixels of this image, NaN or not above zero where invalid.
            ego_speed: Metres a second, forwards; None: unknown.

        Raises:
            ValueError: Masks and score differ in shape, so they do not come from one frame; or ``unknown`` is not bool.
        """
        found = self.detect(semantic, anomaly_score, unknown, threshold, settings, camera, disparity)
        return self.track(stamp, found, settings, ego_speed)

    def detect(
        self,
        semantic: np.ndarray,
        anomaly_score: np.ndarray,
        unknown: np.ndarray,
        threshold: float,
        settings: HazardSettings,
        camera: Camera | None = None,
        disparity: np.ndarray | None = None,
        ground: Ground | None = None,
    ) -> Detected:
        """Finds the regions of a frame that may be hazards, with the arguments of ``update``; tracks stay as they are.

        ``ground`` is that of the same frame at another threshold; None finds it.

        Raises:
            ValueError: As ``update``.
        """
        found = self.candidates(semantic, anomaly_score, unknown, threshold, settings, camera, disparity, ground)
        locator, described = found.locator, [region.describe(anomaly_score) for region in found.regions]
        if self._classifier is None:
            sure = self._confidence.probability(np.array([region.mean_score for region in described]))
            least = 0.0
        else:
            features = found.features(anomaly_score, semantic, self._classes, self._classifier.floor)
            sure, least = self._classifier.probability(features), settings.hazard_probability
        places = locator.locate_all(found.regions)
        detections = [Detection(*item) for item in zip(described, places, sure.tolist(), strict=True)]
        kept = [
            item.probability >= least and _in_corridor(item.location, settings.corridor_half_width)
            for item in detections
        ]
        return Detected(
            tuple(compress(detections, kept)),
            tuple(compress(found.regions, kept)),
            unknown.shape[:2],
            locator.camera,
            (*found.problems, *locator.problems),
            found.left_out,
            found.surface,
            found.ground,
        )

    def candidates(
        self,
        semantic: np.ndarray,
        anomaly_score: np.ndarray,
        unknown: np.ndarray,
        threshold: float,
        settings: HazardSettings,
        camera: Camera | None = None,
        disparity: np.ndarray | None = None,
        ground: Ground | None = None,
    ) -> Candidates:
        """Finds the regions of a frame before they are judged, with the arguments of ``detect``.

        Raises:
            ValueError: As ``update``.
        """
        if not semantic.shape == anomaly_score.shape == unknown.shape:
            raise ValueError(f"semantic {semantic.shape}, score {anomaly_score.shape}, unknown {unknown.shape}: differ")
        if unknown.dtype != np.bool_:
            raise ValueError(f"unknown is {unknown.dtype}: give bool")
        shape = unknown.shape[0], unknown.shape[1]
        problems: list[str] = []
        locator = Locator(shape, settings, camera, disparity)
        inside = polygon_mask(settings.roi, *shape)
        if inside is not None:
            unknown = unknown & inside
        if settings.ego_mask is not None:
            other, problem = settings.ego_mask.others(*shape)
            unknown = unknown if other is None else unknown & other
            problems += [problem] if problem else []
        if settings.on_road_only:
            ground = ground or find_ground(semantic, self._classes, settings.drivable_classes, locator.horizon)
            problems += [ground.problem] if ground.problem else []
            if settings.road_prior > 0:
                unknown = hazard_mask(unknown, anomaly_score, threshold, ground, settings.road_prior)
        clusters = find_clusters(unknown, settings.min_hazard_area)
        wanted = np.arange(len(clusters.pixels)) > 0 if ground is None else reaching(clusters, ground)
        numbers = np.flatnonzero(wanted)
        regions, left_out = largest_regions(clusters, numbers, unknown, settings.min_hazard_area, settings.max_hazards)
        if regions and locator.tells_heights:
            points = region_points(regions, unknown)
            ids = drivable_ids(self._classes, (*settings.drivable_classes, *GROUND_CLASSES))
            regions = list(compress(regions, ~locator.flat(points, np.isin(points.of(semantic), ids))))
        surface = None if ground is None else ground.surface | wanted[clusters.labels]
        return Candidates(regions, unknown, locator, tuple(problems), left_out, surface, ground)

    def track(
        self, stamp: float, found: Detected, settings: HazardSettings, ego_speed: float | None = None
    ) -> HazardFrame:
        """Follows what ``detect`` found; the chains of several settings of the tracks may share it."""
        problems = list(found.problems)
        if ego_speed is not None and not math.isfinite(ego_speed):
            problems.insert(0, f"the ego speed is {ego_speed}: not used")
            ego_speed = None
        restarted = self._tracker.update(stamp, found.detections, settings, found.shape, found.camera, ego_speed)
        problems += [restarted] if restarted else []
        return self._frame(stamp, settings, ego_speed, problems, found.left_out, found.surface)

    def _frame(
        self,
        stamp: float,
        settings: HazardSettings,
        ego_speed: float | None,
        problems: list[str],
        left_out: int,
        surface: np.ndarray | None,
    ) -> HazardFrame:
        tracks = self._tracker.tracks
        active = _in_order(_hazard(t, settings, ego_speed) for t in tracks if t.state is State.ACTIVE)
        candidates = _in_order(_hazard(t, settings, ego_speed) for t in tracks if t.state is State.CANDIDATE)
        cleared = [t for t in tracks if t.state is State.LOST and t.missed == settings.release_count]
        lost = _in_order(_hazard(t, settings, ego_speed) for t in cleared)
        return HazardFrame(
            stamp=stamp,
            hazards=active,
            candidates=candidates,
            lost=lost,
            level=frame_level(active),
            summary=summary_text(active),
            problems=tuple(dict.fromkeys(problems)),
            regions_left_out=left_out,
            is_settled=self._tracker.frames >= settings.trigger_count,
            drivable=surface,
        )


def _hazard(track: Track, settings: HazardSettings, ego_speed: float | None) -> Hazard:
    region, location, probability = track.detection.region, track.detection.location, track.detection.probability
    seconds = time_to_reach(location.distance, ego_speed)
    raised = track.state is State.ACTIVE
    return Hazard(
        id=track.id,
        state=track.state,
        region=region,
        probability=probability,
        location=location,
        time_to_reach=seconds,
        level=hazard_level(location.distance, seconds, settings) if raised else Level.OK,
        age=track.age,
        missed=track.missed,
        first_stamp=track.first_stamp,
    )


def _in_order(hazards: Iterable[Hazard]) -> tuple[Hazard, ...]:
    return tuple(
        sorted(hazards, key=lambda item: (math.inf if item.distance is None else item.distance, -item.region.area))
    )


def _in_corridor(location: Location, half_width: float) -> bool:
    """Whether any part of a region lies in the corridor; one of unknown position always does."""
    if half_width <= 0 or location.lateral is None or location.width is None:
        return True
    return abs(location.lateral) - 0.5 * location.width <= half_width
