# SPDX-License-Identifier: Apache-2.0
"""What a threshold is worth: pixels and components, at that threshold alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from densehybrid_ros.evaluation.components import ComponentAccumulator, ComponentMetrics
from densehybrid_ros.evaluation.protocols import ComponentSizes

USUAL_SIZES = ComponentSizes(predicted=50, truth=10)
"""Smallest components where a data set's protocol names none: those of SegmentMeIfYouCan's obstacle track."""


@dataclass(frozen=True)
class OperatingPoint:
    """Figures at one threshold; rates are 0..1, nan where nothing defines them.

    Attributes:
        threshold: Pixels whose score exceeds it are marked.
        frames: Frames measured.
        precision: Share of the marked pixels that are anomalous.
        recall: Share of the anomalous pixels that are marked.
        f1: Their harmonic mean.
        fpr: Share of the inlier pixels that are marked.
        components: Component figures.
    """

    threshold: float
    frames: int
    precision: float
    recall: float
    f1: float
    fpr: float
    components: ComponentMetrics


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


class OperatingPointAccumulator:
    """Judges the frames of a data set at one threshold.

    Args:
        threshold: Pixels whose score exceeds it are marked.
        sizes: Pixels that a component needs to count.
    """

    def __init__(self, threshold: float, sizes: ComponentSizes) -> None:
        self.threshold = threshold
        self._components = ComponentAccumulator(sizes.predicted, sizes.truth)
        self._pixels = np.zeros((2, 2), dtype=np.int64)  # [anomalous, marked]
        self._frames = 0

    def update(self, score: np.ndarray, labels: np.ndarray) -> None:
        """Takes in a frame.

        Args:
            score: float32 [H, W], higher = more anomalous.
            labels: uint8 [H, W], 0 inlier, 1 anomaly, else not judged.
        """
        marked = score > self.threshold
        self._frames += 1
        for kind in (0, 1):
            of_kind = labels == kind
            hits = int(np.count_nonzero(marked & of_kind))
            self._pixels[kind] += (np.count_nonzero(of_kind) - hits, hits)
        self._components.update(marked, labels)

    def merge(self, other: OperatingPointAccumulator) -> None:
        """Adds another shard's frames."""
        self._components.merge(other._components)
        self._pixels += other._pixels
        self._frames += other._frames

    def compute(self) -> OperatingPoint:
        """Returns the figures."""
        (quiet, false), (missed, true) = self._pixels.tolist()
        return OperatingPoint(
            threshold=self.threshold,
            frames=self._frames,
            precision=_share(true, true + false),
            recall=_share(true, true + missed),
            f1=_share(2 * true, 2 * true + false + missed),
            fpr=_share(false, false + quiet),
            components=self._components.compute(),
        )


def point_rows(points: Sequence[OperatingPoint]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table by threshold, rates in percent."""
    header = ["threshold", "precision", "recall", "F1", "FPR", "sIoU", "PPV", "F1*"]
    rows = []
    for point in points:
        parts = point.components
        rates = (point.precision, point.recall, point.f1, point.fpr, parts.mean_siou, parts.mean_ppv, parts.mean_f1)
        rows.append([f"{point.threshold:.3f}", *map(_percent, rates)])
    return header, rows


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"
