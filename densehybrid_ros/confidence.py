# SPDX-License-Identifier: Apache-2.0
"""From an anomaly score, or a region's features, to a probability. Free of PyTorch, which takes seconds to import."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Scores = TypeVar("Scores", float, np.ndarray, "Tensor")


@dataclass(frozen=True)
class Confidence:
    """A logistic calibration: P(anomaly) = 1 / (1 + exp(-(score - midpoint) / scale)) (Platt 1999).

    Attributes:
        midpoint: Score in nats at which the probability is one half.
        scale: Nats over which the log-odds change by one; above zero.
    """

    midpoint: float
    scale: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.midpoint) and math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"confidence of midpoint {self.midpoint}, scale {self.scale}: needs a scale above 0")

    def probability(self, score: Scores) -> Scores:
        """Returns P(anomaly) in 0..1 of scores in nats: a float, or an array or tensor of any shape."""
        odds = (score - self.midpoint) / self.scale
        if isinstance(odds, (int, float, np.ndarray, np.generic)):
            half: Any = 0.5 * (1.0 + np.tanh(0.5 * odds))  # tanh does not overflow where exp would
            return half if isinstance(odds, np.ndarray) else float(half)
        return odds.sigmoid()


REGION_FEATURES = {
    "foot_row": "the row of its lower edge, of the height",
    "size": "log of its area, of the picture",
    "size_for_row": "the same, of the square of how far its foot lies below the horizon",
    "contrast": "mean score over that about it",
    "rim_score": "what a tenth of the scores about it exceed",
    "peak": "largest score",
    "mean": "mean score",
    "road": "share of drivable classes about it",
    "car": "its own share of cars",
    "lorry": "its own share of trucks, buses and trains",
}
"""Name of a region's feature -> what it is."""


@dataclass(frozen=True)
class RegionClassifier:
    """A logistic model of what a region is: P(obstacle) = 1 / (1 + exp(-(bias + sum of weight (x - mean) / scale))).

    Attributes:
        floor: Scores below so many nats count as this in the features.
        bias: Log-odds of a mean region.
        features: Name, as in ``REGION_FEATURES`` and in its order -> mean, scale (above zero) and weight.
    """

    floor: float
    bias: float
    features: dict[str, tuple[float, float, float]]

    def probability(self, features: np.ndarray) -> np.ndarray:
        """Returns P(obstacle) in 0..1, float64 [N], of features, float64 [N, F]."""
        means, scales, weights = np.array(list(self.features.values())).T
        return Confidence(0.0, 1.0).probability(self.bias + (features - means) / scales @ weights)
