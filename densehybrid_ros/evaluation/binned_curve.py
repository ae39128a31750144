# SPDX-License-Identifier: Apache-2.0
"""The pixel curve as SegmentMeIfYouCan's public benchmark bins it, beside the exact one of ``curves``.

Each frame's scores are counted in bins of its own: between the quantiles of its anomalous and of its inlier pixels.
A bin enters the pooled curve with its lower edge as threshold, so that a frame's scores are rounded down, by other
steps in each frame. Average precision is the step sum over these vertices; FPR95 is taken at the first of them whose
recall is at least 0.95, and is 1 where none but the end of the curve reaches it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from densehybrid_ros.evaluation.curves import RECALL_OF_FPR95
from densehybrid_ros.evaluation.pixel_accumulator import ANOMALY, INLIER

QUANTILES = 384
"""Quantiles of each of the two classes in a frame; a class with fewer pixels takes as many as those."""
_ALWAYS_EDGES = (0.0, 1.0)  # the benchmark's scores lie between


@dataclass(frozen=True)
class BinnedMetrics:
    """Figures of a binned curve, 0..1; nan where anomalous or inlier pixels are missing.

    Attributes:
        average_precision: Step sum over the vertices.
        fpr95: False positive rate at the first vertex with a recall of at least 0.95.
    """

    average_precision: float = math.nan
    fpr95: float = math.nan


class BinnedCurve:
    """Gathers the bins of a data set's frames, at most 769 a frame."""

    def __init__(self) -> None:
        self._thresholds: list[np.ndarray] = []
        self._positives: list[np.ndarray] = []
        self._negatives: list[np.ndarray] = []

    def update(self, scores: Tensor, labels: Tensor) -> None:
        """Takes in a frame.

        Args:
            scores: float32, any shape and device, higher = more anomalous.
            labels: uint8 of the same shape and device: 0 inlier, 1 anomaly, anything else is left out.
        """
        positives, negatives = (_sorted_scores(scores, labels == value) for value in (ANOMALY, INLIER))
        if not len(positives) and not len(negatives):
            return
        edges = np.unique(np.concatenate([_ALWAYS_EDGES, _quantiles(positives), _quantiles(negatives)]))
        self._thresholds.append(edges[:-1])
        self._positives.append(_counts(positives, edges))
        self._negatives.append(_counts(negatives, edges))

    def merge(self, other: BinnedCurve) -> None:
        """Adds the frames of another shard."""
        self._thresholds += other._thresholds
        self._positives += other._positives
        self._negatives += other._negatives

    def compute(self) -> BinnedMetrics:
        """Returns the figures over all frames so far."""
        if not self._thresholds:
            return BinnedMetrics()
        thresholds, inverse = np.unique(np.concatenate(self._thresholds), return_inverse=True)
        true_positives, false_positives = (
            np.cumsum(np.bincount(inverse, np.concatenate(counts), len(thresholds))[::-1])
            for counts in (self._positives, self._negatives)
        )
        if not true_positives[-1] or not false_positives[-1]:
            return BinnedMetrics()
        recall = true_positives / true_positives[-1]
        found = true_positives + false_positives
        precision = np.divide(true_positives, found, out=np.ones_like(found), where=found > 0)
        reached = int(np.argmax(recall >= RECALL_OF_FPR95))
        return BinnedMetrics(
            average_precision=float(np.sum(np.diff(recall, prepend=0.0) * precision)),
            fpr95=float(false_positives[reached] / false_positives[-1]),
        )


def _sorted_scores(scores: Tensor, chosen: Tensor) -> np.ndarray:
    """The chosen scores, float64 [n], ascending."""
    values = scores.detach().float()[chosen]
    if values.is_cuda:
        values = values.sort().values
    return np.sort(values.cpu().numpy()).astype(np.float64)


def _quantiles(ascending: np.ndarray) -> np.ndarray:
    """Quantiles in equal steps from the lowest to the highest: ``np.quantile``'s, to the bit, without sorting again."""
    if not len(ascending):
        return ascending
    places = np.linspace(0.0, 1.0, min(QUANTILES, len(ascending))) * (len(ascending) - 1)
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, len(ascending) - 1)
    share, step = places - below, ascending[above] - ascending[below]
    # NumPy interpolates from the nearer end; a score that is an edge itself depends on this rounding.
    return np.where(share < 0.5, ascending[below] + step * share, ascending[above] - step * (1 - share))


def _counts(ascending: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Scores in each bin: from an edge up to but without the next, the last bin with its upper edge."""
    places = np.searchsorted(ascending, edges, "left")
    places[-1] = len(ascending)
    return np.diff(places)
