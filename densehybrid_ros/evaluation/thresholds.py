# SPDX-License-Identifier: Apache-2.0
"""Anomaly thresholds from held-out data: by inlier quantile, by outlier TPR, and those to try."""

from __future__ import annotations

import numpy as np

from densehybrid_ros.datasets.evaluation_set import IGNORE, INLIER, EvaluationFrame
from densehybrid_ros.datasets.labelled_set import ANOMALY_MEND
from densehybrid_ros.datasets.taxonomy import VOID
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.pixel_accumulator import PixelAccumulator

INLIER_Q95, OUTLIER_TPR95 = "inlier_q95", "outlier_tpr95"
"""Names under which thresholds stand in a model card: 5 % of inlier pixels above it; 95 % of anomalous ones."""
_CANDIDATES = 96
_LARGEST_SHARE = 0.05  # of the inlier pixels; where more exceed a threshold, false regions merge into few


def false_hazard_name(per_minute: float) -> str:
    """Name of the threshold of at most so many false hazards a minute."""
    return f"false_hazards_{per_minute:g}_per_minute"


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
    """Rising thresholds to try: the shares of inlier pixels above them fall by one factor, from 5 % to none.

    Raises:
        InputError: There is no inlier pixel.
    """
    _check_inliers(pixels)
    smallest = 1.0 / max(pixels.negatives.total, 2)
    shares = np.geomspace(_LARGEST_SHARE, smallest, count - 1)
    found = {pixels.inlier_quantile(1.0 - float(share)) for share in shares}
    return sorted(found | {pixels.inlier_quantile(1.0)})


def _check_inliers(pixels: PixelAccumulator) -> None:
    pixels.flush()
    if not pixels.negatives.total:
        raise InputError("calibration: the data set has no inlier pixel; choose another --dataset")
