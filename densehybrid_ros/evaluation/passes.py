# SPDX-License-Identifier: Apache-2.0
"""The two passes over a data set: pixels first, then what needs a threshold that the first has found."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.datasets.evaluation_set import EvaluationFrame
from densehybrid_ros.datasets.labelled_set import ANOMALY_MEND, anomaly_values, what_is_lacking
from densehybrid_ros.datasets.taxonomy import VOID, SemanticClass
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.binned_curve import BinnedCurve
from densehybrid_ros.evaluation.components import ANOMALY, ComponentAccumulator
from densehybrid_ros.evaluation.dense_scores import LeftOut, ScoredFrame
from densehybrid_ros.evaluation.distances import DistanceBins, distance_map
from densehybrid_ros.evaluation.froc import FrocAccumulator
from densehybrid_ros.evaluation.gallery import Gallery
from densehybrid_ros.evaluation.open_set import OpenSetAccumulator
from densehybrid_ros.evaluation.operating_points import USUAL_SIZES, OperatingPointAccumulator
from densehybrid_ros.evaluation.pixel_accumulator import ImageMeanAccumulator, PixelAccumulator
from densehybrid_ros.evaluation.protocols import Protocol
from densehybrid_ros.evaluation.thresholds import anomaly_labels
from densehybrid_ros.scores.confusion import ConfusionMatrix


@dataclass(frozen=True)
class Plan:
    """What is measured, the same in both passes.

    Attributes:
        scores: Names of the scores.
        protocol: The data set's.
        classes: Of the closed set, where labels and model share them; else empty.
        edges: Distance bins in metres; empty for none.
    """

    scores: Sequence[str]
    protocol: Protocol
    classes: tuple[SemanticClass, ...] = ()
    edges: Sequence[float] = ()


class FrameCounts:
    """How many frames were measured and what became of the others.

    Attributes:
        measured: Frames that entered the figures.
        unlabelled: Frames without a single labelled pixel.
        left_out: Index and reason of each frame that could not be evaluated.
        through: Backends and precisions that ran them.
    """

    def __init__(self) -> None:
        self.through: set[str] = set()
        self.measured = 0
        self.unlabelled = 0
        self.left_out: list[LeftOut] = []

    def merge(self, other: FrameCounts) -> None:
        """Adds another shard's."""
        self.through |= other.through
        self.measured += other.measured
        self.unlabelled += other.unlabelled
        self.left_out = sorted([*self.left_out, *other.left_out], key=lambda item: item.index)


def has_labels(frame: EvaluationFrame) -> bool:
    """Whether any pixel of the frame is labelled."""
    if frame.anomaly is not None and np.any(frame.anomaly <= ANOMALY):
        return True
    return frame.semantic is not None and bool(np.any(frame.semantic != VOID))


def _tensor(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(np.require(values, requirements=["C", "W"])).to(like.device)


class PixelPass:
    """Curves over all pixels, by fold and by distance, and the closed-set confusion.

    Attributes:
        counts: What became of the frames.
        curves: Score -> its pooled curve.
        binned: Score -> its curve as SegmentMeIfYouCan bins it, where the protocol asks for it.
        image_means: Score -> means over images, where the protocol asks for them.
        folds: Group -> score -> its curve, where the protocol has folds.
        distances: Curves by distance, or None.
        confusion: Closed-set confusion, or None.
    """

    def __init__(self, plan: Plan, device: torch.device | str = "cpu") -> None:
        self.plan = plan
        self.counts = FrameCounts()
        self.curves = {name: PixelAccumulator() for name in plan.scores}
        self.binned = {name: BinnedCurve() for name in (plan.scores if plan.protocol.binned else ())}
        means = plan.scores if plan.protocol.mean_over_images else ()
        self.image_means = {name: ImageMeanAccumulator() for name in means}
        groups = plan.protocol.folds or ()
        self.folds = {group: {name: PixelAccumulator() for name in plan.scores} for group in groups}
        self.distances = DistanceBins(plan.scores, plan.edges) if plan.edges else None
        self.confusion = ConfusionMatrix(len(plan.classes), device) if plan.classes else None
        self._values: set[int] = set()
        self._folder = ""

    def add(self, item: ScoredFrame | LeftOut) -> None:
        """Takes in a frame, or that it was left out."""
        if isinstance(item, LeftOut):
            self.counts.left_out.append(item)
            return
        folder = str(Path(item.frame.name).parent)
        self._folder = os.path.commonpath([self._folder or folder, folder])
        if item.frame.anomaly is not None:
            self._values |= anomaly_values(item.frame.anomaly)
        if not has_labels(item.frame):
            self.counts.unlabelled += 1
            return
        self.counts.measured += 1
        self.counts.through.add(item.through)
        if item.frame.anomaly is not None:
            self._add_anomaly(item, _tensor(item.frame.anomaly, item.prediction))
        if self.confusion is not None and item.frame.semantic is not None:
            self.confusion.update(item.prediction, _tensor(item.frame.semantic, item.prediction))

    def _add_anomaly(self, item: ScoredFrame, labels: Tensor) -> None:
        frame = item.frame
        for name, score in item.scores.items():
            self.curves[name].update(score, labels, frame.name)
            if name in self.binned:
                self.binned[name].update(score, labels)
            if name in self.image_means:
                self.image_means[name].update(score, labels, frame.name)
            if frame.group in self.folds:
                self.folds[frame.group][name].update(score, labels, frame.name)
        if self.distances is not None and frame.camera is not None and frame.anomaly is not None:
            distance = distance_map(frame.anomaly, frame.camera, frame.disparity, frame.instances)
            self.distances.update(item.scores, labels, _tensor(distance, labels), frame.name)

    def merge(self, other: PixelPass) -> None:
        """Adds another shard's pass."""
        self.counts.merge(other.counts)
        self._values |= other._values
        self._folder = os.path.commonpath([folder for folder in (self._folder, other._folder) if folder] or [""])
        for name in self.curves:
            self.curves[name].merge(other.curves[name])
        for name in self.binned:
            self.binned[name].merge(other.binned[name])
        for name in self.image_means:
            self.image_means[name].merge(other.image_means[name])
        for group, curves in self.folds.items():
            for name in curves:
                curves[name].merge(other.folds[group][name])
        if self.distances is not None and other.distances is not None:
            self.distances.merge(other.distances)
        if self.confusion is not None and other.confusion is not None:
            self.confusion.merge(other.confusion)

    def check_not_empty(self, total: int) -> None:
        """Checks that the labels of the ``total`` frames make figures.

        Raises:
            InputError: No frame could be measured, or the labels lack anomalies or inliers and there is no closed set
                either. It names their folder, the values found and the mend.
        """
        left_out = [item.reason for item in self.counts.left_out]
        if not self.counts.measured and left_out:
            raise InputError(f"none of {total} frames could be evaluated; the first: {left_out[0]}")
        if not self.counts.measured:
            mend = ANOMALY_MEND if self._values else "255 means ignore; check which data set it is"
            found = "their labels hold 255 alone"
            raise InputError(f"{self._folder}: none of {total} frames has a labelled pixel: {found}; {mend}")
        lacking = what_is_lacking(self._values) if self._values else ""
        if lacking and (self.confusion is None or not self.confusion.counts.any()):
            more = f"; {len(left_out)} frames are left out, the first: {left_out[0]}" if left_out else ""
            raise InputError(f"{self._folder}: in {total} frames {lacking}{more}")


class ThresholdPass:
    """Component and open-set figures at given thresholds, and the frames with the worst errors.

    Args:
        plan: What is measured.
        thresholds: Score -> threshold of its components.
        fold_thresholds: Group -> score -> threshold found on the *other* fold.
        device: Where the maps lie.
        pictures: Gather the frames with the worst errors of the first score.
        judged: The score that ``given`` is for; None for none.
        given: Thresholds at which its figures are found.
        froc: Judges the hazards; None: nothing does.

    Attributes:
        operating_points: What is found at each of the given thresholds.
        components: Score -> its components; empty without component sizes in the protocol.
        open_set: Score -> group -> its open-set confusion; empty without folds.
        gallery: The frames with the worst errors, or None.
    """

    def __init__(
        self,
        plan: Plan,
        thresholds: dict[str, float],
        fold_thresholds: dict[str, dict[str, float]],
        device: torch.device | str = "cpu",
        pictures: bool = False,
        judged: str | None = None,
        given: Sequence[float] = (),
        froc: FrocAccumulator | None = None,
    ) -> None:
        self._thresholds, self._judged, self.froc = thresholds, judged, froc
        sizes = plan.protocol.components
        points = given if judged else ()
        self.operating_points = [OperatingPointAccumulator(value, sizes or USUAL_SIZES) for value in points]
        self.components = (
            {name: ComponentAccumulator(sizes.predicted, sizes.truth) for name in plan.scores} if sizes else {}
        )
        shown = judged or plan.scores[0]
        self.gallery = Gallery(shown, thresholds[shown], plan.classes) if pictures else None
        self.open_set: dict[str, dict[str, OpenSetAccumulator]] = {}
        if plan.classes:
            self.open_set = {
                name: {
                    group: OpenSetAccumulator(len(plan.classes), found[name], device)
                    for group, found in fold_thresholds.items()
                }
                for name in plan.scores
            }

    @property
    def is_needed(self) -> bool:
        """Whether the pass would measure anything."""
        return (
            bool(self.components)
            or any(self.open_set.values())
            or bool(self.gallery or self.operating_points or self.froc)
        )

    def add(self, item: ScoredFrame | LeftOut) -> None:
        """Takes in a frame; one that was left out already was counted by the first pass."""
        if isinstance(item, LeftOut) or not has_labels(item.frame):
            return
        if self._judged is not None:
            score, known = item.scores[self._judged].cpu().numpy(), anomaly_labels(item.frame)
            for point in self.operating_points:
                point.update(score, known)
        if self.froc is not None:
            self.froc.update(item)
        if self.gallery is not None:
            self.gallery.add(item)
        labels, semantic_labels = item.frame.anomaly, item.frame.semantic
        if labels is None:
            return
        for name, accumulator in self.components.items():
            accumulator.update((item.scores[name] > self._thresholds[name]).cpu().numpy(), labels)
        if semantic_labels is None:
            return
        semantic, anomaly = _tensor(semantic_labels, item.prediction), _tensor(labels, item.prediction)
        for name, folds in self.open_set.items():
            if item.frame.group in folds:
                folds[item.frame.group].update(item.prediction, item.scores[name], semantic, anomaly)

    def merge(self, other: ThresholdPass) -> None:
        """Adds another shard's pass."""
        if self.gallery is not None and other.gallery is not None:
            self.gallery.merge(other.gallery)
        if self.froc is not None and other.froc is not None:
            self.froc.merge(other.froc)
        for point, theirs in zip(self.operating_points, other.operating_points, strict=True):
            point.merge(theirs)
        for name, accumulator in self.components.items():
            accumulator.merge(other.components[name])
        for name, folds in self.open_set.items():
            for group, matrices in folds.items():
                matrices.merge(other.open_set[name][group])
