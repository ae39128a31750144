"""The hazard stage: anomalous pixels in, alert out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from densehybrid_ros.confidence import Confidence
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
from densehybrid_ros.hazards.regions import (
    GROUND_CLASSES,
    drivable_ids,
    drivable_surface,
    find_clusters,
    largest_regions,
)
from densehybrid_ros.hazards.settings import HazardSettings
from densehybrid_ros.hazards.tracks import Detection, Track, Tracker


@dataclass(frozen=True)
class Detected:
    """What is found in one frame, before it is tracked; no setting of the tracks counts up to here.

    Attributes:
        detections: Regions that may be hazards.
        shape: (height, width) of the frame.
        camera: The camera as far as it can be used; None: unknown.
        problems: What was wrong with the input.
        left_out: Regions beyond ``max_hazards``.
        surface: bool [h, w], the drivable surface at reduced size; None where it was not asked for.
    """

    detections: tuple[Detection, ...]
    shape: tuple[int, int]
    camera: Camera | None
    problems: tuple[str, ...]
    left_out: int
    surface: np.ndarray | None


class HazardChain:
    """Turns the masks of frame after frame into tracked hazards and an alert.

    Args:
        classes: Class table of the model, in the order of the train ids.
        confidence: Calibration of the anomaly score, as the model's card has it.
    """

    def __init__(self, classes: Sequence[SemanticClass], confidence: Confidence) -> None:
        self._classes = tuple(classes)
        self._confidence = confidence
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
            settings: Thresholds; they may change from frame to frame.
            camera: Camera of this image, rectified. A baseline or mounting height of zero or NaN says it is not known.
            disparity: float32 [H, W] in pixels of this image, NaN or not above zero where invalid.
            ego_speed: Metres a second, forwards; None: unknown.

        Raises:
            ValueError: Masks and score differ in shape, so they do not come from one frame; or ``unknown`` is not bool.
        """
        found = self.detect(semantic, anomaly_score, unknown, settings, camera, disparity)
        return self.track(stamp, found, settings, ego_speed)

    def detect(
        self,
        semantic: np.ndarray,
        anomaly_score: np.ndarray,
        unknown: np.ndarray,
        settings: HazardSettings,
        camera: Camera | None = None,
        disparity: np.ndarray | None = None,
    ) -> Detected:
        """Finds the regions of a frame that may be hazards, with the arguments of ``update``; tracks stay as they are.

        Raises:
            ValueError: As ``update``.
        """
        if not semantic.shape == anomaly_score.shape == unknown.shape:
            raise ValueError(f"semantic {semantic.shape}, score {anomaly_score.shape}, unknown {unknown.shape}: differ")
        if unknown.dtype != np.bool_:
            raise ValueError(f"unknown is {unknown.dtype}: give bool")
        shape = (int(unknown.shape[0]), int(unknown.shape[1]))
        problems: list[str] = []
        locator = Locator(shape, settings, camera, disparity)
        inside = polygon_mask(settings.roi, *shape)
        if inside is not None:
            unknown = unknown & inside
        if settings.ego_mask is not None:
            other, problem = settings.ego_mask.others(*shape)
            unknown = unknown if other is None else unknown & other
            problems += [problem] if problem else []
        clusters = find_clusters(unknown, settings.min_hazard_area)
        wanted = np.arange(len(clusters.pixels)) > 0
        surface = None
        if settings.on_road_only:
            ids = drivable_ids(self._classes, settings.drivable_classes)
            ground = drivable_ids(self._classes, (*settings.drivable_classes, *GROUND_CLASSES))
            drivable = drivable_surface(semantic, ids, ground, clusters, locator.horizon)
            surface = drivable.surface
            wanted &= drivable.reached
            if drivable.problem:
                problems.append(drivable.problem)
        numbers = np.flatnonzero(wanted)
        regions, left_out = largest_regions(clusters, numbers, unknown, settings.min_hazard_area, settings.max_hazards)
        described = [region.describe(anomaly_score) for region in regions]
        sure = self._confidence.probability(np.array([region.mean_score for region in described])).tolist()
        places = locator.locate_all(regions)
        detections = [Detection(*item) for item in zip(described, places, sure, strict=True)]
        kept = tuple(item for item in detections if _in_corridor(item.location, settings.corridor_half_width))
        return Detected(kept, shape, locator.camera, (*problems, *locator.problems), left_out, surface)

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
