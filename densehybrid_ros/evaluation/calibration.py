# SPDX-License-Identifier: Apache-2.0
"""Thresholds of held-out data, and the calibration that turns a score into a probability, from pooled pixels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from densehybrid_ros.confidence import Confidence
from densehybrid_ros.datasets.evaluation_set import IGNORE, INLIER, EvaluationFrame
from densehybrid_ros.datasets.labelled_set import ANOMALY_MEND
from densehybrid_ros.datasets.taxonomy import VOID
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.pixel_accumulator import PixelAccumulator

INLIER_Q95, OUTLIER_TPR95 = "inlier_q95", "outlier_tpr95"
"""Names under which thresholds stand in a model card: 5 % of inlier pixels above it; 95 % of anomalous ones."""
_CANDIDATES = 96
_LARGEST_SHARE = 0.05  # of the inlier pixels; where more exceed a threshold, false regions merge into few
_BINS = 4096
_SMALLEST_SCALE = 1e-3


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
    if not pixels.negatives.total:
        raise InputError("calibration: the data set has no inlier pixel; choose another --dataset")
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
    for kind, counts in (("anomaly", pixels.positives), ("inlier", pixels.negatives)):
        if not counts.total:
            raise InputError(f"{name}: needs anomalous and inlier pixels, but no pixel is an {kind}; {ANOMALY_MEND}")


def candidate_thresholds(pixels: PixelAccumulator) -> list[float]:
    """96 rising thresholds to try: the shares of inlier pixels above them fall by one factor, from 5 % to none.

    Raises:
        InputError: There is no inlier pixel.
    """
    highest = inlier_threshold(pixels, 1.0)
    shares = np.geomspace(_LARGEST_SHARE, 1.0 / max(pixels.negatives.total, 2), _CANDIDATES - 1)
    return sorted({highest, *(pixels.inlier_quantile(1.0 - float(share)) for share in shares)})


class FittedConfidence(NamedTuple):
    """A calibration, the share of anomalous pixels that it implies, and its expected calibration error.

    The error is the mean over the fitted pixels of |P - share of anomalies| in 20 bins of P.
    """

    confidence: Confidence
    prior: float
    error: float


def fit_confidence(pixels: PixelAccumulator) -> FittedConfidence:
    """Fits the logistic calibration by maximum likelihood (Platt 1999, with his smoothed targets).

    Raises:
        InputError: There is no anomalous or no inlier pixel, or scores do not rise with anomaly.
    """
    check_both_kinds("probability", pixels)
    positives, negatives = pixels.positives.total, pixels.negatives.total
    low, high = _finite_range(pixels)
    edges = np.linspace(low, high, _BINS + 1)
    centres = 0.5 * (edges[:-1] + edges[1:])
    ones, zeros = (counts.binned(low, high, _BINS) for counts in (pixels.positives, pixels.negatives))
    weight = ones + zeros
    # Standardised, so that the optimiser sees numbers of about one.
    offset, width = float(np.average(centres, weights=weight)), max(0.05 * (high - low), _SMALLEST_SCALE)
    x = (centres - offset) / width
    target = (ones * (positives + 1) / (positives + 2) + zeros / (negatives + 2)) / np.maximum(weight, 1)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        odds = parameters[0] * x + parameters[1]
        residual = weight * (0.5 * (1 + np.tanh(0.5 * odds)) - target) / weight.sum()
        value = np.sum(weight * (np.logaddexp(0.0, odds) - target * odds)) / weight.sum()
        return float(value), np.array([np.sum(residual * x), np.sum(residual)])

    start = np.array([1.0, np.log((positives + 1) / (negatives + 1))])
    slope, intercept = minimize(loss, start, jac=True, method="BFGS").x
    if slope <= 0:
        raise InputError(
            "probability: anomalous pixels do not score higher than inliers; the model can't be calibrated"
        )
    confidence = Confidence(float(offset - width * intercept / slope), float(width / slope))
    error = _calibration_error(confidence.probability(centres), ones, zeros)
    return FittedConfidence(confidence, positives / (positives + negatives), error)


def _finite_range(pixels: PixelAccumulator) -> tuple[float, float]:
    """Lowest and highest finite score; a little apart where they are equal."""
    kinds = pixels.positives, pixels.negatives
    finite = (scores[np.isfinite(scores)] for counts in kinds for scores, _ in counts.scores())
    found = [float(end) for scores in finite if len(scores) for end in (scores[0], scores[-1])]
    if not found:
        raise InputError("probability: no score is finite; check the model")
    return min(found), max(*found, min(found) + _SMALLEST_SCALE)


def _calibration_error(probability: np.ndarray, ones: np.ndarray, zeros: np.ndarray) -> float:
    group = np.minimum((probability * 20).astype(int), 19)
    expected = np.bincount(group, probability * (ones + zeros), 20)
    found = np.bincount(group, ones, 20)
    return float(np.abs(expected - found).sum() / (ones + zeros).sum())
