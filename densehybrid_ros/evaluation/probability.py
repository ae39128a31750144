# SPDX-License-Identifier: Apache-2.0
"""Fitting the calibration that turns an anomaly score into a probability, from a data set's pooled pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from densehybrid_ros.confidence import Confidence
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.key_counts import KeyCounts, scores_of_keys
from densehybrid_ros.evaluation.pixel_accumulator import PixelAccumulator
from densehybrid_ros.evaluation.thresholds import check_both_kinds

_BINS = 4096
_SMALLEST_SCALE = 1e-3


@dataclass(frozen=True)
class FittedConfidence:
    """A calibration and how good it is on the pixels that it was fitted to.

    Attributes:
        confidence: The calibration.
        prior: Share of anomalous pixels in the data, which the probabilities imply.
        error: Expected calibration error: mean over pixels of |P - share of anomalies| in 20 bins of P.
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
    ones, zeros = _histogram(pixels.positives, edges), _histogram(pixels.negatives, edges)
    # Standardised, so that the optimiser sees numbers of about one.
    offset, width = float(np.average(centres, weights=ones + zeros)), max(0.05 * (high - low), _SMALLEST_SCALE)
    x = (centres - offset) / width
    target_one, target_zero = (positives + 1) / (positives + 2), 1 / (negatives + 2)
    weight = ones + zeros
    target = (ones * target_one + zeros * target_zero) / np.maximum(weight, 1)

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
    low, high = np.inf, -np.inf
    for counts in (pixels.positives, pixels.negatives):
        for keys, _ in counts.chunks():
            scores = scores_of_keys(keys)
            scores = scores[np.isfinite(scores)]
            if len(scores):
                low, high = min(low, float(scores[0])), max(high, float(scores[-1]))
    if low > high:
        raise InputError("probability: no score is finite; check the model")
    return low, max(high, low + _SMALLEST_SCALE)


def _histogram(counts: KeyCounts, edges: np.ndarray) -> np.ndarray:
    total = np.zeros(len(edges) - 1)
    for keys, occurrences in counts.chunks():
        scores = np.clip(scores_of_keys(keys).astype(np.float64), edges[0], edges[-1])
        total += np.histogram(scores, edges, weights=occurrences)[0]
    return total


def _calibration_error(probability: np.ndarray, ones: np.ndarray, zeros: np.ndarray) -> float:
    group = np.minimum((probability * 20).astype(int), 19)
    weight = ones + zeros
    expected, found = np.zeros(20), np.zeros(20)
    np.add.at(expected, group, probability * weight)
    np.add.at(found, group, ones)
    return float(np.abs(expected - found).sum() / weight.sum())
