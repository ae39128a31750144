"""The figures of drives: pixels by distance, obstacles, alerts and latencies, one bag after another."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from densehybrid_ros.bags.frames import BagFrame
from densehybrid_ros.datasets.evaluation_set import ANOMALY, IGNORE, EvaluationFrame
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.dense_scores import ScoredFrame
from densehybrid_ros.evaluation.distances import DistanceBins, distance_map
from densehybrid_ros.evaluation.gallery import Gallery, paint_unknown
from densehybrid_ros.evaluation.hazard_figures import HazardAccumulator
from densehybrid_ros.evaluation.obstacles import ObstacleAccumulator
from densehybrid_ros.evaluation.pixel_accumulator import PixelAccumulator
from densehybrid_ros.evaluation.results import EvaluationResult

SCORE = "hybrid"
"""The score that is replayed."""

_MEASURED = "measured disparity"
_GROUND = "ground plane of camera_info and mounting height, as the bag holds no disparity"
_FRAMES_A_BAG = 1_000_000  # numbers of frames are spread so that they do not depend on what other processes read


class Answer(NamedTuple):
    """A frame of the bag with what the model says of it.

    Attributes:
        frame: The frame.
        semantic: uint8 [H, W], train ids.
        score: float32 [H, W] in nats.
        latency: How long it took in milliseconds.
    """

    frame: BagFrame
    semantic: np.ndarray
    score: np.ndarray
    latency: float


class LeftOutFrames(NamedTuple):
    """Frames that could not be evaluated: the bag's number, how many came before, the reason, how many they are."""

    bag: int
    order: int
    reason: str
    frames: int


class Replay:
    """Gathers the figures of drives; the replays of several processes merge.

    Args:
        threshold: Of the hybrid score, for detections and overlays.
        edges: Distance bins in metres.
        bags: The bags that all processes together replay.
        hazards: Judges the alerts.
        overlays: Folder for a picture of every frame, or None; of several bags each gets a folder in it.

    Attributes:
        frames: Frames that were answered.
        labelled: Those of them that have a labelled pixel.
        alerts: Those of them that have a pixel above the threshold.
        left_out: What could not be evaluated.
    """

    def __init__(
        self,
        threshold: float,
        edges: tuple[float, ...],
        bags: list[Path],
        hazards: HazardAccumulator,
        overlays: Path | None = None,
    ) -> None:
        self._pixels = PixelAccumulator()
        self._bins = DistanceBins([SCORE], edges)
        self._obstacles = ObstacleAccumulator(threshold, edges)
        self._hazards = hazards
        self._gallery = Gallery(SCORE, threshold)
        self._bags, self._bag = bags, 0
        self._overlays = overlays
        self._latencies: list[float] = []
        self._sources: set[str] = set()
        self.frames = self.labelled = self.alerts = 0
        self.left_out: list[LeftOutFrames] = []

    def begin(self, bag: int) -> None:
        """Turns to the next bag: its number in ``bags``."""
        self._bag = bag
        self._hazards.begin(self._drive_name())

    def _drive_name(self) -> str:
        """Name of the drive in the figures of several; empty where there is one."""
        return self._bags[self._bag].name if len(self._bags) > 1 else ""

    def leave_out(self, reason: str, frames: int) -> None:
        """Counts frames of the bag that can't be evaluated, ``reason`` naming file, topic and value."""
        self.left_out.append(LeftOutFrames(self._bag, len(self.left_out), reason, frames))

    def add(self, number: int, answer: Answer, name: str) -> None:
        """Takes in a frame; one without labels gives overlay, latency and alert alone.

        Args:
            number: Number of the frame in its bag.
            answer: The frame and its score.
            name: What to call it in messages: bag, topic and stamp.

        Raises:
            InputError: A score is NaN, or a label is none of 0, 1 and 255; the frame then counts for nothing.
        """
        frame, score = answer.frame, answer.score
        if bool(np.isnan(score).any()):
            raise InputError(f"{name}: {int(np.isnan(score).sum())} pixels have the score NaN; check the model")
        if frame.labels is not None:
            _check_labels(frame.labels, name)
        found = score > self._obstacles.threshold
        if self._overlays is not None:
            self._write_overlay(self._overlays, number, frame.image, found)
        self.frames += 1
        self._latencies.append(answer.latency)
        self.alerts += bool(found.any())
        labels = frame.labels
        if labels is not None and not np.any(labels <= ANOMALY):
            labels = None
        distance = None if labels is None else self._distance(frame, labels)
        self._hazards.update(
            frame.stamp * 1e-9,
            answer.semantic,
            score,
            found,
            frame.camera,
            frame.disparity,
            frame.speed,
            labels,
            frame.instances,
            distance,
        )
        if labels is not None:
            self._add_labelled(number, frame, labels, score, distance)
        else:
            self._gallery.add_unlabelled(self._frame_name(frame), self._index(number), frame.image, found)

    def _add_labelled(
        self, number: int, frame: BagFrame, labels: np.ndarray, score: np.ndarray, distance: np.ndarray | None
    ) -> None:
        self.labelled += 1
        name = self._frame_name(frame)
        truth, scores = torch.from_numpy(np.array(labels)), torch.from_numpy(np.array(score))
        self._pixels.update(scores, truth, name)
        if distance is not None:
            self._bins.update({SCORE: scores}, truth, torch.from_numpy(distance), name)
        self._obstacles.update(number, score, labels, frame.instances, distance, self._drive_name())
        shown = EvaluationFrame(name, np.ascontiguousarray(frame.image), anomaly=labels)
        self._gallery.add(ScoredFrame(self._index(number), shown, {SCORE: scores}, truth))

    def _index(self, number: int) -> int:
        """Place of a frame of this bag among those of all bags."""
        return self._bag * _FRAMES_A_BAG + number

    def _frame_name(self, frame: BagFrame) -> str:
        return f"{self._bags[self._bag].name}/frame {frame.stamp}"

    def _distance(self, frame: BagFrame, labels: np.ndarray) -> np.ndarray | None:
        """Distances from disparity, else from the ground plane, else None."""
        camera = frame.camera
        disparity = frame.disparity if camera is not None and camera.baseline > 0 else None
        if camera is None or (disparity is None and camera.mount_height <= 0):
            return None
        self._sources.add(_GROUND if disparity is None else _MEASURED)
        return distance_map(labels, camera, disparity, frame.instances)

    def _write_overlay(self, folder: Path, number: int, image: np.ndarray, found: np.ndarray) -> None:
        folder = folder / self._drive_name()
        folder.mkdir(parents=True, exist_ok=True)
        blended = paint_unknown(image, found)
        path = folder / f"{number:06d}.jpg"
        if not cv2.imwrite(str(path), np.ascontiguousarray(blended[:, :, ::-1])):
            raise InputError(f"{path}: can't be written; name another folder with --overlays")

    def merge(self, other: Replay) -> None:
        """Adds the bags that another process has replayed."""
        self._pixels.merge(other._pixels)
        self._bins.merge(other._bins)
        self._obstacles.merge(other._obstacles)
        self._hazards.merge(other._hazards)
        self._gallery.merge(other._gallery)
        self._latencies += other._latencies
        self._sources |= other._sources
        self.frames += other.frames
        self.labelled += other.labelled
        self.alerts += other.alerts
        self.left_out = sorted([*self.left_out, *other.left_out])

    def result(self, name: str, model: str) -> EvaluationResult:
        """Returns the pixel figures of the drives, overall and by distance."""
        result = EvaluationResult(name, model, frames=self.frames, unlabelled=self.frames - self.labelled)
        result.left_out = [item.reason for item in self.left_out]
        result.frames_left_out = sum(item.frames for item in self.left_out)
        if self.labelled:
            result.pixel = {SCORE: self._pixels.compute()}
            result.curves = {SCORE: self._pixels.curve()}
            result.inlier_q95 = {SCORE: self._pixels.inlier_quantile(0.95)}
            result.obstacles = self._obstacles.compute()
        result.gallery = self._gallery
        result.hazards = self._hazards.compute()
        result.remarks = self.summary().splitlines()
        if self._sources:
            result.edges = self._bins.edges
            result.distances = self._bins.compute()
            result.without_distance = self._bins.unknown
            result.distance_source = "; of other bags: ".join(sorted(self._sources, reverse=True))
        return result

    def figures(self, result: EvaluationResult) -> dict[str, object]:
        """Returns everything for JSON."""
        content = result.to_dict()
        content["alerted_frames"] = self.alerts
        content["latency_ms"] = self._median_latency()
        return content

    def summary(self) -> str:
        """Says in a few lines what is not in the tables."""
        lines = [
            f"unknown: {self.alerts} of {self.frames} frames have a pixel above {self._obstacles.threshold:.3f}",
            f"latency: {self._median_latency():.1f} ms a frame (median)",
        ]
        if not self.labelled:
            lines.append("the bag holds no labels: overlays, latencies and alerts only")
        elif not self._sources:
            lines.append("the bag holds neither disparity nor a mounting height: no figures by distance")
        return "\n".join(lines)

    def _median_latency(self) -> float:
        return float(np.nanmedian(self._latencies))


def _check_labels(labels: np.ndarray, name: str) -> None:
    strange = labels[(labels > ANOMALY) & (labels != IGNORE)]
    if strange.size:
        meaning = "anomaly labels are 0 (inlier), 1 (anomaly) and 255 (ignore)"
        raise InputError(f"{name}: label value {strange[0]} is not in the protocol; {meaning}")
