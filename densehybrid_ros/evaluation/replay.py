# SPDX-License-Identifier: Apache-2.0
"""Replays recordings: drives them through the perception, and gathers figures by pixel, obstacle, alert and time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from densehybrid_ros.bags.recording import LeaveOut, RecordedFrame, Recording
from densehybrid_ros.bags.topics import BagTopics
from densehybrid_ros.datasets.evaluation_set import ANOMALY, IGNORE, EvaluationFrame
from densehybrid_ros.datasets.pictures import write_picture
from densehybrid_ros.errors import ComputationError, InputError
from densehybrid_ros.evaluation.dense_scores import HYBRID, ScoredFrame
from densehybrid_ros.evaluation.distances import DistanceBins, distance_map
from densehybrid_ros.evaluation.gallery import Gallery
from densehybrid_ros.evaluation.hazard_figures import Braking, HazardAccumulator
from densehybrid_ros.evaluation.obstacles import FrameTruth, ObstacleAccumulator
from densehybrid_ros.evaluation.pixel_accumulator import PixelAccumulator
from densehybrid_ros.evaluation.results import EvaluationResult
from densehybrid_ros.perception.alert import Alert
from densehybrid_ros.perception.images import is_deep
from densehybrid_ros.perception.inputs import Inputs
from densehybrid_ros.perception.overlay import frame_overlay
from densehybrid_ros.perception.perception import Frame, Perceived, Perception
from densehybrid_ros.perception.settings import Settings

_MEASURED = "measured disparity"
_GROUND = "ground plane of camera_info and mount"
_LOOKED_AT = 50  # frames in which a frame on the road is looked for


class Answer(NamedTuple):
    """A frame of a recording with what was made of it."""

    recorded: RecordedFrame  # the frame
    known: Frame  # the same with what is known at it
    semantic: np.ndarray  # uint8 [H, W], train ids
    score: np.ndarray  # float32 [H, W] in nats
    found: np.ndarray  # bool [H, W], where the score exceeds the threshold
    alert: Alert  # the alert
    latency: float  # how long it took in milliseconds
    overlay: Callable[[], np.ndarray]  # draws the picture for people, uint8 RGB [H, W, 3]


def known_frames(recording: Recording, settings: Settings) -> Iterator[tuple[RecordedFrame, Frame]]:
    """Yields the frames of a recording, each with what is known at it."""
    inputs = Inputs()
    for recorded in recording:
        for raw in recorded.before:
            inputs.store(raw.kind, raw.message, raw.time * 1e-9)
        message, now = recorded.picture.message, recorded.picture.time * 1e-9
        yield recorded, inputs.frame(recorded.image, message.header, settings, now, is_deep(message))


def with_base_frame(recording: Recording, settings: Settings) -> Settings:
    """Fills ``base_frame`` in, where nothing says how the camera is mounted and the recording has transforms.

    The guess is that of ``TransformTree.base_of``, from the first frames.
    """
    if settings.base_frame or settings.camera_height > 0:
        return settings
    inputs, base = Inputs(), ""
    for recorded in islice(recording, _LOOKED_AT):
        for raw in recorded.before:
            inputs.store(raw.kind, raw.message, 0.0)
        base = inputs.base_frame(recorded.picture.message.header.frame_id) or base
        if base.endswith(("base_footprint", "base_link")) or not inputs.transforms:
            break
    return replace(settings, base_frame=base)


def perceived_frames(
    recording: Recording, perception: Perception, leave_out: LeaveOut, limit: int | None = None
) -> Iterator[tuple[RecordedFrame, Perceived, float]]:
    """Drives a recording, or its first frames, through the perception; what can't be perceived is left out.

    Yields:
        The frame, what was made of it, and how long that took in milliseconds.
    """
    perception.reset()
    topic = f"{recording.path}: {recording.topics.image}"
    for recorded, known in islice(known_frames(recording, perception.settings), limit):
        began = time.monotonic()
        try:
            perceived = perception(known)
        except (ComputationError, InputError) as error:
            leave_out(f"{topic} at {recorded.stamp} ns: {error}", 1)
            continue
        yield recorded, perceived, 1e3 * (time.monotonic() - began)


def perceived_answers(
    recording: Recording, perception: Perception, leave_out: LeaveOut, limit: int | None = None
) -> Iterator[Answer]:
    """Drives a recording, or its first frames, through the perception; what can't be perceived is left out."""
    opacity = perception.settings.overlay_opacity
    for recorded, perceived, latency in perceived_frames(recording, perception, leave_out, limit):
        masks = perceived.masks
        found = masks.open_set == len(perceived.classes)
        overlay = cache(partial(frame_overlay, perceived, opacity, recorded.name))
        made = masks.semantic, masks.anomaly_score, found, perceived.alert, latency, overlay
        yield Answer(recorded, perceived.frame, *made)


class Replay:
    """Gathers the figures of drives.

    Args:
        threshold: Of the hybrid score, for detections and overlays.
        edges: Of distance bins in metres.
        braking: For what the alerts are worth by speed.
        several: Whether more than one bag is replayed; figures and folders then have the drives' names.
        overlays: Folder for a picture of every frame, or None.

    Attributes:
        frames: Frames that were answered.
        left_out: Why frames could not be evaluated -> how many those are.
    """

    def __init__(
        self, threshold: float, edges: Sequence[float], braking: Braking, several: bool, overlays: Path | None
    ) -> None:
        self._several, self._path, self._drive = several, Path(), ""
        self._pixels, self._bins = PixelAccumulator(), DistanceBins([HYBRID], edges)
        self._obstacles, self._hazards = ObstacleAccumulator(threshold, edges), HazardAccumulator(edges, braking)
        self._gallery, self._overlays = Gallery(HYBRID, threshold), overlays
        self._latencies: list[float] = []
        self._sources, self._label_values = set[str](), set[int]()
        self._labelled = self._alerts = 0
        self.frames = 0
        self.left_out: dict[str, int] = {}

    def begin(self, bag: Path) -> None:
        """Turns to the next bag."""
        self._path, self._drive = bag, bag.name if self._several else ""
        self._hazards.begin(self._drive)

    def leave_out(self, reason: str, frames: int) -> None:
        """Counts frames of the bag that can't be evaluated, ``reason`` naming file, topic and value.

        A recording may be read more than once, and tells the same each time.
        """
        self.left_out.setdefault(reason, frames)

    def add(self, answer: Answer, topics: BagTopics) -> None:
        """Takes in a frame; one without labels gives overlay, latency and alert alone.

        Raises:
            InputError: A label is none of 0, 1 and 255; the frame then counts for nothing.
        """
        recorded, found = answer.recorded, answer.found
        check_labels(recorded, f"{self._path}: {topics.labels}")
        if recorded.labels is not None:
            self._label_values |= set(np.unique(recorded.labels).tolist())
        if self._overlays is not None:
            write_picture(self._overlays / self._drive / f"{recorded.name}.jpg", answer.overlay())
        self.frames += 1
        self._latencies.append(answer.latency)
        self._alerts += bool(found.any())
        truth, distance = frame_truth(answer)
        self._hazards.update(recorded.picture.time * 1e-9, answer.alert, answer.known.ego_speed, truth)
        name = f"{self._path.name}/{recorded.name}"
        if truth is None:
            self._gallery.add_unlabelled(name, self.frames, recorded.image, found)
            return
        self._labelled += 1
        labels, scores = torch.from_numpy(np.array(truth.labels)), torch.from_numpy(np.array(answer.score))
        self._pixels.update(scores, labels, name)
        if distance is not None:
            self._sources.add(_MEASURED if _has_disparity(answer.known) else _GROUND)
            self._bins.update({HYBRID: scores}, labels, torch.from_numpy(distance), name)
        self._obstacles.update(recorded.number, answer.score, truth, self._drive)
        shown = EvaluationFrame(name, np.ascontiguousarray(recorded.image), anomaly=truth.labels)
        self._gallery.add(ScoredFrame(self.frames, shown, {HYBRID: scores}, labels))

    def result(self, name: str, model: str) -> EvaluationResult:
        """Returns the pixel figures of the drives, overall and by distance."""
        result = EvaluationResult(name, model, frames=self.frames, unlabelled=self.frames - self._labelled)
        result.left_out, result.frames_left_out = [*self.left_out], sum(self.left_out.values())
        if self._labelled and ANOMALY in self._label_values:
            result.pixel = {HYBRID: self._pixels.compute()}
            result.curves = {HYBRID: self._pixels.curve()}
            result.inlier_q95 = {HYBRID: self._pixels.inlier_quantile(0.95)}
            result.obstacles = self._obstacles.compute()
        result.gallery = self._gallery
        result.hazards = self._hazards.compute()
        result.remarks = self._summary()
        if self._sources:
            result.edges = self._bins.edges
            result.distances = self._bins.compute()
            result.without_distance = self._bins.unknown
            result.distance_source = "; of other frames: ".join(sorted(self._sources, reverse=True))
        return result

    def figures(self, result: EvaluationResult) -> dict[str, object]:
        """Returns everything for JSON."""
        more = {"alerted_frames": self._alerts, "threshold": self._obstacles.threshold}
        return result.to_dict() | more | {"latency_ms": self._median_latency()}

    def _summary(self) -> list[str]:
        """Says in a few lines what is not in the tables."""
        lines = [
            f"unknown: {self._alerts} of {self.frames} frames have a pixel above {self._obstacles.threshold:.3f}",
            f"latency: {self._median_latency():.1f} ms a frame (median)",
        ]
        if not self._labelled:
            lines.append("no labels: overlays, latencies and alerts only")
        elif ANOMALY not in self._label_values:
            values = ", ".join(map(str, sorted(self._label_values)))
            meaning = f"values found: {values}; 1 is anomaly, 255 is ignored"
            lines.append(f"no pixel is labelled as an anomaly ({meaning}): no figures by pixel and obstacle")
        elif not self._sources:
            lines.append("neither disparity nor a mount can be used: no figures by distance")
        return lines

    def _median_latency(self) -> float:
        return float(np.nanmedian(self._latencies))


def check_labels(recorded: RecordedFrame, topic: str) -> None:
    """Checks the labels of a frame.

    Raises:
        InputError: One is none of 0, 1 and 255; the line begins with ``topic`` and names the frame.
    """
    labels = recorded.labels
    if labels is not None and (wrong := labels[(labels > ANOMALY) & (labels != IGNORE)]).size:
        meaning = "anomaly labels are 0 (inlier), 1 (anomaly) and 255 (ignore)"
        raise InputError(f"{topic} at {recorded.stamp} ns: label value {wrong[0]} is not in the protocol; {meaning}")


def _has_disparity(known: Frame) -> bool:
    return known.disparity is not None and bool(known.disparity.pixels.any())


def frame_truth(answer: Answer) -> tuple[FrameTruth | None, np.ndarray | None]:
    """Returns what is labelled in a frame, and the true distances, float32 [H, W]; None for what is not known.

    Distances are those of ``distance_map``, from disparity, else from the ground plane.
    """
    labels, instances = answer.recorded.labels, answer.recorded.instances
    if labels is None or not np.any(labels <= ANOMALY):
        return None, None
    camera, disparity = answer.known.placed_camera, answer.known.disparity
    pixels = disparity.pixels if disparity is not None and _has_disparity(answer.known) else None
    distance = None
    if camera is not None and (pixels is not None or camera.mount_height > 0):
        distance = distance_map(labels, camera, pixels, instances)
    return FrameTruth.of(labels, instances, distance), distance
