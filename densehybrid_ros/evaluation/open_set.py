# SPDX-License-Identifier: Apache-2.0
"""Open-set segmentation figures (paper, section 5.2): open-IoU, open-mIoU, the gap, and mF1 over K+1 classes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from densehybrid_ros.scores.confusion import ConfusionMatrix


def open_set_map(prediction: Tensor, score: Tensor, threshold: float, num_classes: int) -> Tensor:
    """Overrides class ids by the id K where the score exceeds the threshold.

    Args:
        prediction: uint8 [H, W], closed-set train ids.
        score: float32 [H, W], higher = more anomalous.
        threshold: On the score.
        num_classes: K.

    Returns:
        uint8 [H, W].
    """
    return torch.where(score > threshold, torch.full_like(prediction, num_classes), prediction)


def open_set_labels(semantic: Tensor, anomaly: Tensor, num_classes: int) -> Tensor:
    """Joins semantic and anomaly labels into K+1 classes.

    Args:
        semantic: uint8 [H, W], train ids, 255 void.
        anomaly: uint8 [H, W], 1 where anomalous.
        num_classes: K, which becomes the id of anomalies.

    Returns:
        uint8 [H, W], 0..K, 255 where void.
    """
    return torch.where(anomaly == 1, torch.full_like(semantic, num_classes), semantic)


def open_iou(matrix: ConfusionMatrix) -> Tensor:
    """Open-IoU of the K inlier classes, equations (21) and (22).

    False positives at anomalies and false negatives by false anomaly detections count, since the matrix has the K+1st
    class in rows and columns.

    Args:
        matrix: Confusion of K+1 classes.

    Returns:
        float64 [K] in 0..1, nan for a class that neither occurs nor is predicted.
    """
    return matrix.iou()[:-1]


def mean_f1(matrix: ConfusionMatrix) -> float:
    """F1 averaged over all K+1 classes of the matrix that occur or are predicted, 0..1."""
    counts = matrix.counts.double()
    hit = counts.diag()
    return float((2 * hit / (counts.sum(0) + counts.sum(1))).nanmean())


@dataclass(frozen=True)
class OpenSetMetrics:
    """Open-set figures, each 0..1.

    Attributes:
        closed_mean_iou: mIoU of the closed-set prediction over the labelled inlier pixels.
        open_mean_iou: Mean open-IoU over the K inlier classes.
        gap: Their difference.
        mean_f1: F1 averaged over K+1 classes.
        frames: Number of frames measured.
    """

    closed_mean_iou: float
    open_mean_iou: float
    gap: float
    mean_f1: float
    frames: int


class OpenSetAccumulator:
    """Confusions of one group of frames at one threshold.

    Args:
        num_classes: K.
        threshold: On the anomaly score; must come from other frames than these.
        device: Where the maps lie.
    """

    def __init__(self, num_classes: int, threshold: float, device: torch.device | str = "cpu") -> None:
        self._threshold = threshold
        self._num_classes = num_classes
        self.closed = ConfusionMatrix(num_classes, device)
        self.open = ConfusionMatrix(num_classes + 1, device)
        self.frames = 0

    def update(self, prediction: Tensor, score: Tensor, semantic: Tensor, anomaly: Tensor) -> None:
        """Takes in a frame; arguments as of ``open_set_map`` and ``open_set_labels``."""
        labels = open_set_labels(semantic, anomaly, self._num_classes)
        self.closed.update(prediction, labels)
        self.open.update(open_set_map(prediction, score, self._threshold, self._num_classes), labels)
        self.frames += 1

    def merge(self, other: OpenSetAccumulator) -> None:
        """Adds the frames of another shard."""
        self.closed.merge(other.closed)
        self.open.merge(other.open)
        self.frames += other.frames

    def compute(self) -> OpenSetMetrics:
        """Returns the figures."""
        closed, opened = self.closed.mean_iou(), float(open_iou(self.open).nanmean())
        return OpenSetMetrics(closed, opened, closed - opened, mean_f1(self.open), self.frames)


def mean_over_folds(folds: list[OpenSetMetrics]) -> OpenSetMetrics:
    """Averages folds weighted by their numbers of frames (paper, section 6.2)."""
    total = sum(fold.frames for fold in folds)

    def weighted(name: str) -> float:
        return sum(getattr(fold, name) * fold.frames for fold in folds) / total

    return OpenSetMetrics(
        weighted("closed_mean_iou"), weighted("open_mean_iou"), weighted("gap"), weighted("mean_f1"), total
    )
