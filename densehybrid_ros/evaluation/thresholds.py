"""Choosing an anomaly threshold from held-out data: by inlier quantile, by outlier TPR, or by false alarms."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from torch import Tensor

from densehybrid_ros.datasets.evaluation_set import IGNORE, INLIER, EvaluationFrame
from densehybrid_ros.datasets.label_values import ANOMALY_MEND
from densehybrid_ros.datasets.taxonomy import VOID
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.pixel_accumulator import PixelAccumulator

INLIER_Q95, OUTLIER_TPR95 = "inlier_q95", "outlier_tpr95"
"""Names under which thresholds stand in a model card: 5 % of inlier pixels above it; 95 % of anomalous ones."""
_CANDIDATES = 96


def false_alarm_name(per_frame: float) -> str:
    """Name of the threshold of at most so many false alarms a frame."""
    return f"false_alarms_{per_frame:g}_per_frame"


def anomaly_labels(frame: EvaluationFrame) -> np.ndarray:
    """Anomaly labels of a frame; where a data set has none, its labelled classes are inliers and void is ignored.

    Returns:
        uint8 [H, W], 0 inlier, 1 anomaly, 255 ignore.
    """
    if frame.anomaly is not None:
        return frame.anomaly
    assert frame.semantic is not None
    return np.where(frame.semantic == VOID, IGNORE, INLIER).astype(np.uint8)


def inlier_threshold(pixels: PixelAccumulator, quantile: float = 0.95) -> float:
    """The score that the share ``quantile`` of the inlier pixels does not exceed; needs no anomalies.

    Raises:
        InputError: There is no inlier pixel.
    """
    _check_inliers(pixels)
    return pixels.inlier_quantile(quantile)


def outlier_threshold(pixels: PixelAccumulator) -> float:
    """The highest threshold that more than 95 % of the anomalous pixels exceed (the paper's).

    Raises:
        InputError: There is no anomalous or no inlier pixel.
    """
    check_both_kinds(OUTLIER_TPR95, pixels)
    return pixels.compute().threshold_tpr95


def check_both_kinds(name: str, pixels: PixelAccumulator) -> None:
    """Raises an InputError that begins with ``name`` if there is no anomalous or no inlier pixel."""
    pixels.flush()
    for kind, counts in (("anomaly", pixels.positives), ("inlier", pixels.negatives)):
        if not counts.total:
            raise InputError(f"{name}: needs anomalous and inlier pixels, but no pixel is an {kind}; {ANOMALY_MEND}")


def candidate_thresholds(pixels: PixelAccumulator, count: int = _CANDIDATES) -> list[float]:
    """Rising thresholds to try, closer to each other the fewer inlier pixels exceed them.

    Raises:
        InputError: There is no inlier pixel.
    """
    _check_inliers(pixels)
    smallest = 1.0 / max(pixels.negatives.total, 2)
    shares = np.geomspace(0.5, smallest, count - 1)
    found = {pixels.inlier_quantile(1.0 - float(share)) for share in shares}
    return sorted(found | {pixels.inlier_quantile(1.0)})


def _check_inliers(pixels: PixelAccumulator) -> None:
    pixels.flush()
    if not pixels.negatives.total:
        raise InputError("calibration: the data set has no inlier pixel; choose another --dataset")


class FalseAlarmCounter:
    """Counts connected false regions at many thresholds at once.

    Args:
        thresholds: Rising thresholds.
        smallest: Pixels that a region needs to count.
    """

    def __init__(self, thresholds: Sequence[float], smallest: int) -> None:
        self.thresholds = np.asarray(thresholds, dtype=np.float32)
        self._smallest = smallest
        self.alarms = np.zeros(len(self.thresholds), dtype=np.int64)
        self.frames = 0

    def update(self, score: Tensor | np.ndarray, labels: np.ndarray) -> None:
        """Takes in a frame.

        Args:
            score: float32 [H, W].
            labels: uint8 [H, W]; regions are counted among the inlier pixels (0).
        """
        values = score.cpu().numpy() if isinstance(score, Tensor) else score
        values = np.where(labels == INLIER, values, np.float32(-np.inf))
        self.frames += 1
        highest = values.max(initial=-np.inf)
        for index, threshold in enumerate(self.thresholds):
            if threshold >= highest:
                break  # this one and the higher ones have no pixel left
            mask = (values > threshold).astype(np.uint8)
            sizes = cv2.connectedComponentsWithStats(mask, connectivity=8)[2][1:, cv2.CC_STAT_AREA]
            self.alarms[index] += int((sizes >= self._smallest).sum())

    def merge(self, other: FalseAlarmCounter) -> None:
        """Adds another shard's counts."""
        self.alarms += other.alarms
        self.frames += other.frames

    def threshold_for(self, per_frame: float) -> float:
        """The lowest threshold from which on no threshold raises more false alarms a frame than ``per_frame``.

        Raises:
            InputError: No frame was counted, or the rate is negative.
        """
        if not self.frames:
            raise InputError("calibration: no frame could be evaluated; check --dataset and --root")
        if per_frame < 0:
            raise InputError(f"--false-alarms {per_frame:g}: must not be negative")
        too_many = np.flatnonzero(self.alarms > per_frame * self.frames)
        first = int(too_many[-1]) + 1 if len(too_many) else 0
        return float(self.thresholds[min(first, len(self.thresholds) - 1)])
