# SPDX-License-Identifier: Apache-2.0
"""ReAct (Sun et al. 2021): the energy after large activations are cut off."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from densehybrid_ros.errors import InputError
from densehybrid_ros.scores.energy import energy
from densehybrid_ros.scores.model_score import (
    ModelScore,
    Observation,
    TrainingPixels,
    classifier_features,
    logits_of_features,
)

_LARGEST_SAMPLE = 1 << 22


class ReAct(ModelScore):
    """Clips the classifier's features at a quantile of the training pixels' (0.99 in the paper).

    Args:
        quantile: Share of training activations that stay as they are, 0..1.
    """

    needs_fit = True

    def __init__(self, quantile: float = 0.99) -> None:
        self._quantile = quantile
        self._limit = math.inf

    def fit(self, pixels: TrainingPixels) -> None:
        """Takes the quantile of all activations."""
        values = pixels.features.flatten()
        if not len(values):
            raise InputError("react: no labelled training pixel; check the frames to fit on")
        values = values[:: max(1, len(values) // _LARGEST_SAMPLE)]
        # torch.quantile takes at most 16 M values, a sort takes any number.
        self._limit = float(torch.sort(values).values[min(int(self._quantile * len(values)), len(values) - 1)])

    def __call__(self, seen: Observation) -> Tensor:
        """Returns the energy of the clipped features' logits, [B, h, w]."""
        features = classifier_features(seen.model, seen.prelogits).clamp(max=self._limit)
        return energy(logits_of_features(seen.model, features))
