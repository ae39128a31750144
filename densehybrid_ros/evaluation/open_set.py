# SPDX-License-Identifier: Apache-2.0
"""Open-set segmentation figures (paper, section 5.2): open-IoU, open-mIoU, the gap, and mF1 over K+1 classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from densehybrid_ros.scores.confusion import ConfusionMatrix


@dataclass(frozen=True)
class OpenSetMetrics:
    """Open-set figures, each 0..1."""

    closed_mean_iou: float  # mIoU of the closed-set prediction over the labelled inlier pixels
    open_mean_iou: float  # mean open-IoU over the K inlier classes, equations (21) and (22)
    gap: float  # their difference
    mean_f1: float  # F1 averaged over the K+1 classes that occur or are predicted
    frames: int  # number of frames measured


class OpenSetAccumulator:
    """Confusions of one group of frames at one threshold.

    Args:
        num_classes: K, which is the id of anomalies.
        threshold: On the anomaly score; must come from other frames than these.
    """

    def __init__(self, num_classes: int, threshold: float) -> None:
        self._threshold, self._anomaly = threshold, num_classes
        self.closed, self.open = ConfusionMatrix(num_classes), ConfusionMatrix(num_classes + 1)
        self.frames = 0

    def update(self, prediction: Tensor, score: Tensor, semantic: Tensor, anomaly: Tensor) -> None:
        """Takes in a frame.

        Args:
            prediction: uint8 [H, W], closed-set train ids.
            score: float32 [H, W], higher = more anomalous.
            semantic: uint8 [H, W], train ids, 255 void.
            anomaly: uint8 [H, W], 1 where anomalous.
        """
        labels = torch.where(anomaly == 1, self._anomaly, semantic)
        self.closed.update(prediction, labels)
        self.open.update(torch.where(score > self._threshold, self._anomaly, prediction), labels)
        self.frames += 1

    def compute(self) -> OpenSetMetrics:
        """Returns the figures; nan for what has no class."""
        # False positives at anomalies and false anomalies count, since row and column K are in the matrix.
        closed, opened = self.closed.mean_iou(), float(self.open.iou()[:-1].nanmean())
        counts = self.open.counts.double()
        f1 = float((2 * counts.diag() / (counts.sum(0) + counts.sum(1))).nanmean())
        return OpenSetMetrics(closed, opened, closed - opened, f1, self.frames)


def mean_over_folds(folds: Sequence[OpenSetMetrics]) -> OpenSetMetrics:
    """Averages folds weighted by their numbers of frames (paper, section 6.2)."""
    total = sum(fold.frames for fold in folds)
    names = ("closed_mean_iou", "open_mean_iou", "gap", "mean_f1")
    means = {name: sum(getattr(fold, name) * fold.frames for fold in folds) / total for name in names}
    return OpenSetMetrics(**means, frames=total)
