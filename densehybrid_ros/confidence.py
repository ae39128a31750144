"""From an anomaly score to a probability. Free of PyTorch, which takes seconds to import."""

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
