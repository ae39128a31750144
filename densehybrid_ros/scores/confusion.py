# SPDX-License-Identifier: Apache-2.0
"""Confusion matrix of a closed-set segmentation, and IoU from it."""

from __future__ import annotations

import torch
from torch import Tensor


class ConfusionMatrix:
    """Counts of (label, prediction) over any number of frames.

    Attributes:
        counts: int64 [K, K]; rows are labels, columns predictions.
    """

    def __init__(self, num_classes: int, device: torch.device | str = "cpu") -> None:
        self.num_classes = num_classes
        self.counts = torch.zeros((num_classes, num_classes), dtype=torch.int64, device=device)

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Adds a frame.

        Args:
            prediction: Class ids, integer [H, W] (or any shape), 0..K-1.
            label: Train ids of the same shape; ids of K and above (255 = void) are left out.
        """
        valid = label < self.num_classes
        pairs = label[valid].long() * self.num_classes + prediction[valid].long()
        self.counts += torch.bincount(pairs, minlength=self.num_classes**2).view_as(self.counts)

    def __getstate__(self) -> dict[str, object]:
        """What travels to another process, which may lack this one's GPU."""
        return {"num_classes": self.num_classes, "counts": self.counts.cpu()}

    def iou(self) -> Tensor:
        """Returns IoU per class, float64 [K] in 0..1; nan for a class that neither occurs nor is predicted."""
        counts = self.counts.double()
        hit = counts.diag()
        return hit / (counts.sum(0) + counts.sum(1) - hit)

    def mean_iou(self) -> float:
        """Returns the mean IoU over the classes for which it is defined, 0..1."""
        return float(self.iou().nanmean())
