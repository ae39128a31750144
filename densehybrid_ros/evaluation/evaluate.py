# SPDX-License-Identifier: Apache-2.0
"""Evaluates one model on one data set: pixels first, then what needs a threshold that the pixels have found."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.datasets.evaluation_set import ANOMALY, EvaluationFrame
from densehybrid_ros.datasets.labelled_set import ANOMALY_MEND, LabelledSet, anomaly_values, what_is_lacking
from densehybrid_ros.datasets.taxonomy import VOID, SemanticClass
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.calibration import anomaly_labels, candidate_thresholds, check_both_kinds
from densehybrid_ros.evaluation.components import ThresholdJudge
from densehybrid_ros.evaluation.dense_scores import HYBRID, KEPT_BYTES, LeftOut, ScoredFrame, ScoredSet, Scorer, spread
from densehybrid_ros.evaluation.distances import DistanceBins, distance_map
from densehybrid_ros.evaluation.froc import FrocAccumulator, StillStage
from densehybrid_ros.evaluation.gallery import Gallery
from densehybrid_ros.evaluation.open_set import OpenSetAccumulator, mean_over_folds
from densehybrid_ros.evaluation.pixel_accumulator import ImageMeanAccumulator, PixelAccumulator
from densehybrid_ros.evaluation.protocols import OBSTACLE_TRACK, protocol_of
from densehybrid_ros.evaluation.results import EvaluationResult
from densehybrid_ros.inference.backends import device_name
from densehybrid_ros.scores.confusion import ConfusionMatrix


def evaluate(
    dataset: LabelledSet,
    name: str,
    scorer: Scorer,
    *,
    limit: int | None = None,
    edges: Sequence[float] = (),
    pictures: bool = False,
    thresholds: Sequence[float] = (),
    stage: StillStage | None = None,
) -> EvaluationResult:
    """Measures what the data set's protocol asks for.

    Args:
        dataset: The data set.
        name: Its name in ``PROTOCOLS``.
        scorer: What gives the scores; counting runs on its device, too.
        limit: Evenly spread subset of at most this many frames.
        edges: Edges of distance bins in metres; empty for none.
        pictures: Gather the frames with the worst errors of the first score.
        thresholds: Of the score that the scorer calls judged: figures at each of them; its components and errors
            are found at the first. Empty: at its best pixel F1.
        stage: The hazard stage that the frames go through with the hybrid score; None for none.

    Raises:
        InputError: No frame could be evaluated, or hazards are to be judged without anomalies.
    """
    started = time.monotonic()
    if scorer.classes:
        dataset = dataset.for_classes([item.name for item in scorer.classes])
    # The classes of the model where the data set labels them, or some of them; else none.
    same = len(dataset.class_names) == len(scorer.classes)
    pairs = zip(dataset.class_names, scorer.classes, strict=False)
    classes = scorer.classes if same and all(name in ("", item.name) for name, item in pairs) else ()
    judged = scorer.judged if thresholds else None
    indices = spread(len(dataset), limit)
    pixels = _PixelPass(name, scorer, classes, edges)
    protocol, result = pixels.protocol, pixels.result
    walks_again = bool(protocol.components or (protocol.folds and classes) or pictures or judged or stage)
    frames = ScoredSet(scorer, dataset, indices, KEPT_BYTES if walks_again else 0)
    for item in frames.walk(f"evaluate {name}"):
        pixels.add(item)
    pixels.fill(dataset, len(indices))
    if walks_again:
        result.judged, froc = judged, None
        if stage is not None:
            check_both_kinds("--hazards", pixels.curves[HYBRID])
            froc = FrocAccumulator(stage, candidate_thresholds(pixels.curves[HYBRID]), edges)
        second = _ThresholdPass(pixels, pictures, thresholds if judged else (), froc)
        for item in frames.walk(f"errors of {name}"):
            second.add(item)
        second.fill()
    result.device = f"{' and '.join(sorted(pixels.through))} on {device_name(scorer.device)}"
    result.seconds = time.monotonic() - started
    return result


def _has_labels(frame: EvaluationFrame) -> bool:
    if frame.anomaly is not None and np.any(frame.anomaly <= ANOMALY):
        return True
    return frame.semantic is not None and bool(np.any(frame.semantic != VOID))


def _tensor(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(np.require(values, requirements=["C", "W"])).to(like.device)


class _PixelPass:
    """Curves over all pixels, by fold and by distance, the closed-set confusion, and what became of the frames."""

    def __init__(self, name: str, scorer: Scorer, classes: tuple[SemanticClass, ...], edges: Sequence[float]) -> None:
        scores, protocol = scorer.scores, protocol_of(name)
        self.scores, self.protocol, self.classes = scores, protocol, classes
        self.result = EvaluationResult(name, scorer.name, size=scorer.input_size)
        self.through, self._values, self._folder = set[str](), set[int](), ""
        self.curves = {name: PixelAccumulator() for name in scores}
        self.folds = {group: {name: PixelAccumulator() for name in scores} for group in protocol.folds or ()}
        self._image_means = {name: ImageMeanAccumulator() for name in (scores if protocol.mean_over_images else ())}
        self._distances = DistanceBins(scores, edges) if edges else None
        self._confusion = ConfusionMatrix(len(classes), scorer.device) if classes else None

    def add(self, item: ScoredFrame | LeftOut) -> None:
        if isinstance(item, LeftOut):
            self.result.left_out.append(item.reason)
            return
        frame, anomaly = item.frame, item.frame.anomaly
        folder = str(Path(frame.name).parent)
        self._folder = os.path.commonpath([self._folder or folder, folder])
        if anomaly is not None:
            self._values |= anomaly_values(anomaly)
        if not _has_labels(frame):
            self.result.unlabelled += 1
            return
        self.result.frames += 1
        self.through.add(item.through)
        if anomaly is not None:
            labels = _tensor(anomaly, item.prediction)
            for pooled in (self.curves, self._image_means, self.folds.get(frame.group, {})):
                for name in pooled:
                    pooled[name].update(item.scores[name], labels, frame.name)
            if self._distances is not None and frame.camera is not None:
                distance = distance_map(anomaly, frame.camera, frame.disparity, frame.instances)
                self._distances.update(item.scores, labels, _tensor(distance, labels), frame.name)
        if self._confusion is not None and frame.semantic is not None:
            self._confusion.update(item.prediction, _tensor(frame.semantic, item.prediction))

    def _check_not_empty(self, total: int) -> None:
        """Raises an InputError if the labels of the ``total`` frames make no figures; it names folder, values, mend."""
        result = self.result
        if not result.frames and result.left_out:
            raise InputError(f"none of {total} frames could be evaluated; the first: {result.left_out[0]}")
        if not result.frames:
            mend = ANOMALY_MEND if self._values else "255 means ignore; check which data set it is"
            found = "their labels hold 255 alone"
            raise InputError(f"{self._folder}: none of {total} frames has a labelled pixel: {found}; {mend}")
        lacking = what_is_lacking(self._values) if self._values else ""
        if lacking and (self._confusion is None or not self._confusion.counts.any()):
            number = len(result.left_out)
            more = f"; {number} frames are left out, the first: {result.left_out[0]}" if number else ""
            raise InputError(f"{self._folder}: in {total} frames {lacking}{more}")

    def fill(self, dataset: LabelledSet, total: int) -> None:
        """Puts what was found in the ``total`` frames into the result.

        Raises:
            InputError: No frame could be measured, or the labels lack anomalies or inliers and there is no closed set.
        """
        self._check_not_empty(total)
        result = self.result
        pooled = {score: curve.compute() for score, curve in self.curves.items()}
        if any(metrics.positives or metrics.negatives for metrics in pooled.values()):
            result.pixel = pooled | {score: means.compute() for score, means in self._image_means.items()}
            for score, curve in self.curves.items():
                result.curves[score], result.histograms[score] = curve.curve(), curve.histogram()
                result.inlier_q95[score] = curve.inlier_quantile(0.95)
        if self._distances is not None:
            result.edges, result.distances = self._distances.edges, self._distances.compute()
            result.without_distance = self._distances.unknown
            ground = "ground plane, from pitch and mounting height"
            result.distance_source = "measured disparity" if any(one.disparity for one in dataset.files) else ground
        if self._confusion is not None and self._confusion.counts.any():
            named = zip(dataset.class_names, self._confusion.iou().tolist(), strict=True)
            result.class_iou = {name: iou for name, iou in named if name}
            result.mean_iou = float(np.nanmean(list(result.class_iou.values())))
            labelled = [index for index, name in enumerate(dataset.class_names) if name]
            result.confusion = self._confusion.counts.cpu()[labelled][:, labelled].tolist()


class _ThresholdPass:
    """Component and open-set figures at thresholds, hazards, and the frames with the worst errors; on the CPU."""

    def __init__(
        self, pixels: _PixelPass, pictures: bool, given: Sequence[float], froc: FrocAccumulator | None
    ) -> None:
        self._result, self._froc = pixels.result, froc
        judged = self._judged = pixels.result.judged
        sizes = pixels.protocol.components
        best = {score: curve.compute().threshold_best_f1 for score, curve in pixels.curves.items()}
        best |= {judged: given[0]} if judged else {}
        self._points = [ThresholdJudge(value, sizes or OBSTACLE_TRACK) for value in given]
        self._components = {name: ThresholdJudge(best[name], sizes) for name in pixels.scores} if sizes else {}
        shown = judged or pixels.scores[0]
        self._gallery = Gallery(shown, best[shown], pixels.classes) if pictures else None
        self._open_set: dict[str, dict[str, OpenSetAccumulator]] = {}  # score -> group
        if pixels.classes and pixels.protocol.folds:
            one, two = pixels.protocol.folds
            for name in pixels.scores:  # the threshold of a fold is that of 95 % TPR on the other
                limits = {group: pixels.folds[other][name].compute() for group, other in ((one, two), (two, one))}
                self._open_set[name] = {
                    group: OpenSetAccumulator(len(pixels.classes), limit.threshold_tpr95)
                    for group, limit in limits.items()
                }

    def add(self, scored: ScoredFrame | LeftOut) -> None:
        """Takes in a frame; one that was left out already was counted by the first pass."""
        if isinstance(scored, LeftOut) or not _has_labels(scored.frame):
            return
        item = scored.on_cpu()
        frame, labels = item.frame, item.frame.anomaly
        if self._judged is not None:
            for point in self._points:
                point.update(item.scores[self._judged].numpy(), anomaly_labels(frame))
        if self._froc is not None:
            self._froc.update(item)
        if self._gallery is not None:
            self._gallery.add(item)
        if labels is None:
            return
        for name, judge in self._components.items():
            judge.update(item.scores[name].numpy(), labels)
        if frame.semantic is None:
            return
        semantic, anomaly = _tensor(frame.semantic, item.prediction), _tensor(labels, item.prediction)
        for name, folds in self._open_set.items():
            if frame.group in folds:
                folds[frame.group].update(item.prediction, item.scores[name], semantic, anomaly)

    def fill(self) -> None:
        """Puts what was found into the result."""
        result = self._result
        result.gallery = self._gallery
        result.froc = self._froc.compute() if self._froc is not None else None
        result.components = {name: judge.components() for name, judge in self._components.items()}
        result.operating_points = [point.compute() for point in self._points]
        result.open_set = {
            name: mean_over_folds([fold.compute() for fold in folds.values()])
            for name, folds in self._open_set.items()
            if all(fold.frames for fold in folds.values())
        }
