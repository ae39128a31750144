# SPDX-License-Identifier: Apache-2.0
"""The hazard stage: anomalous pixels in, alert out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import compress

import numpy as np

from densehybrid_ros.confidence import REGION_FEATURES, Confidence, RegionClassifier
from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.datasets.taxonomy import SemanticClass
from densehybrid_ros.hazards.ego_mask import polygon_mask
from densehybrid_ros.hazards.hazard import (
    Hazard,
    HazardFrame,
    Level,
    Location,
    State,
    hazard_level,
    summary_text,
    time_to_reach,
)
from densehybrid_ros.hazards.location import Locator
from densehybrid_ros.hazards.region_points import region_features, region_points
from densehybrid_ros.hazards.regions import MaskedRegion, find_clusters, largest_regions
from densehybrid_ros.hazards.road import GROUND_CLASSES, Ground, class_table, find_ground, hazard_mask, reaching
from densehybrid_ros.hazards.settings import HazardSettings
from densehybrid_ros.hazards.tracks import Detection, Track, Tracker


@dataclass(frozen=True)
class Candidates:
    """The regions of one frame that may be hazards; no setting of the tracks counts up to here."""

    regions: list[MaskedRegion]  # regions on the road, the largest first; what lies flat in it is not among them
    unknown: np.ndarray  # bool [H, W], the pixels that they were found in
    locator: Locator  # what locates them
    problems: tuple[str, ...]  # what was wrong with the input
    left_out: int  # regions beyond max_hazards
    surface: np.ndarray | None  # bool [h, w], the ground at reduced size; None where it was not asked for
    ground: Ground | None  # the ground, for the same frame at another threshold; None where it was not asked for
    detections: tuple[Detection, ...] = ()  # the regions described, located and judged

    def features(
        self, score: np.ndarray, semantic: np.ndarray, classes: Sequence[SemanticClass], floor: float
    ) -> np.ndarray:
        """Returns the features of the regions, see ``region_features``."""
        if not self.regions:
            return np.zeros((0, len(REGION_FEATURES)))
        points = region_points(self.regions, self.unknown)
        return region_features(self.regions, points, score, semantic, classes, floor, self.locator.horizon)


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
    ) -> Candidates:
        """Judges the regions of a frame, with the arguments and errors of ``update``; tracks stay as they are.

        ``ground`` is that of the same frame at another threshold; None finds it.
        """
        if not semantic.shape == anomaly_score.shape == unknown.shape:
            raise ValueError(f"semantic {semantic.shape}, score {anomaly_score.shape}, unknown {unknown.shape}: differ")
        if unknown.dtype != np.bool_:
            raise ValueError(f"unknown is {unknown.dtype}: give bool")
        shape = unknown.shape[0], unknown.shape[1]
        problems: list[str | None] = []
        locator = Locator(shape, settings, camera, disparity)
        masks = [polygon_mask(settings.roi, *shape)]
        if settings.ego_mask is not None:
            other, problem = settings.ego_mask.others(*shape)
            masks.append(other)
            problems.append(problem)
        for mask in masks:
            unknown = unknown if mask is None else unknown & mask
        if settings.on_road_only:
            ground = ground or find_ground(semantic, self._classes, settings.drivable_classes, locator.horizon)
            problems.append(ground.problem)
            if settings.road_prior > 0:
                unknown = hazard_mask(unknown, anomaly_score, threshold, ground, settings.road_prior)
        clusters = find_clusters(unknown, settings.min_hazard_area)
        wanted = np.arange(len(clusters.pixels)) > 0 if ground is None else reaching(clusters, ground)
        numbers = np.flatnonzero(wanted)
        regions, left_out = largest_regions(clusters, numbers, unknown, settings.min_hazard_area, settings.max_hazards)
        if regions and locator.tells_heights:
            points = region_points(regions, unknown)
            ground_classes = class_table(self._classes, (*settings.drivable_classes, *GROUND_CLASSES)).view(bool)
            regions = list(compress(regions, ~locator.flat(points, ground_classes[points.of(semantic)])))
        surface = None if ground is None else ground.surface | wanted.take(clusters.labels)
        named = tuple(problem for problem in problems if problem)
        found = Candidates(regions, unknown, locator, named, left_out, surface, ground)
        return self._judged(found, semantic, anomaly_score, settings)

    def _judged(
        self, found: Candidates, semantic: np.ndarray, anomaly_score: np.ndarray, settings: HazardSettings
    ) -> Candidates:
        """Describes and locates regions, and keeps those that are likely enough and in the corridor."""
        described = [region.describe(anomaly_score) for region in found.regions]
        if self._classifier is None:
            sure = self._confidence.probability(np.array([region.mean_score for region in described]))
            least = 0.0
        else:
            features = found.features(anomaly_score, semantic, self._classes, self._classifier.floor)
            sure, least = self._classifier.probability(features), settings.hazard_probability
        places = found.locator.locate(found.regions)
        detections = [Detection(*item) for item in zip(described, places, sure.tolist(), strict=True)]
        half_width = settings.corridor_half_width
        kept = [item.probability >= least and _in_corridor(item.location, half_width) for item in detections]
        return replace(
            found,
            regions=list(compress(found.regions, kept)),
            detections=tuple(compress(detections, kept)),
            problems=(*found.problems, *found.locator.problems),
        )

    def track(
        self, stamp: float, found: Candidates, settings: HazardSettings, ego_speed: float | None = None
    ) -> HazardFrame:
        """Follows what ``detect`` found; the chains of several settings of the tracks may share it."""
        problems = list(found.problems)
        if ego_speed is not None and not math.isfinite(ego_speed):
            problems.insert(0, f"the ego speed is {ego_speed}: not used")
            ego_speed = None
        shape, camera = (found.unknown.shape[0], found.unknown.shape[1]), found.locator.camera
        restarted = self._tracker.update(stamp, found.detections, settings, shape, camera, ego_speed)
        problems += [restarted] if restarted else []
        tracks, by_state = self._tracker.tracks, dict[State, tuple[Hazard, ...]]()
        for state in State:
            hazards = [_hazard(track, settings, ego_speed) for track in tracks if track.state is state]
            by_state[state] = tuple(sorted(hazards, key=_order))
        active = by_state[State.ACTIVE]
        return HazardFrame(
            stamp=stamp,
            hazards=active,
            candidates=by_state[State.CANDIDATE],
            lost=tuple(item for item in by_state[State.LOST] if item.missed == settings.release_count),
            level=max((hazard.level for hazard in active), default=Level.OK),
            summary=summary_text(active),
            problems=tuple(dict.fromkeys(problems)),
            regions_left_out=found.left_out,
            is_settled=self._tracker.frames >= settings.trigger_count,
            drivable=found.surface,
        )


def _hazard(track: Track, settings: HazardSettings, ego_speed: float | None) -> Hazard:
    place = track.detection.location
    seconds = time_to_reach(place.distance, ego_speed)
    is_raised = track.state is State.ACTIVE
    return Hazard(
        **{item.name: getattr(place, item.name) for item in fields(place)},
        id=track.id,
        state=track.state,
        region=track.detection.region,
        probability=track.detection.probability,
        time_to_reach=seconds,
        level=hazard_level(place.distance, seconds, settings) if is_raised else Level.OK,
        age=track.age,
        missed=track.missed,
        first_stamp=track.first_stamp,
    )


def _order(hazard: Hazard) -> tuple[float, int]:
    """The nearest first, then those of unknown distance, the largest first."""
    return math.inf if hazard.distance is None else hazard.distance, -hazard.region.area


def _in_corridor(location: Location, half_width: float) -> bool:
    """Whether any part of a region lies in the corridor; one of unknown position always does."""
    if half_width <= 0 or location.lateral is None or location.width is None:
        return True
    return abs(location.lateral) - 0.5 * location.width <= half_width
