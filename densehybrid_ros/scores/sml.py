# SPDX-License-Identifier: Apache-2.0
"""Standardised max logit (Jung et al. 2021), without its boundary suppression and smoothing."""

from __future__ import annotations

import torch
from torch import Tensor

from densehybrid_ros.scores.model_score import ModelScore, Observation, TrainingPixels

_SMALLEST_DEVIATION = 1e-3


class StandardizedMaxLogit(ModelScore):
    """-(max logit - mean) / deviation, both of the predicted class over training pixels."""

    needs_fit = True

    def __init__(self) -> None:
        self._mean = self._deviation = torch.zeros(0)

    def fit(self, pixels: TrainingPixels) -> None:
        """Takes mean and deviation of the max logit for each predicted class; a class never predicted takes all's."""
        largest, predicted = pixels.logits.max(dim=1)
        classes = pixels.logits.shape[1]
        self._mean = largest.mean().repeat(classes)
        self._deviation = largest.std().repeat(classes)
        for index in range(classes):
            own = largest[predicted == index]
            if len(own) > 1:
                self._mean[index], self._deviation[index] = own.mean(), own.std()
        self._deviation.clamp_(min=_SMALLEST_DEVIATION)

    def __call__(self, seen: Observation) -> Tensor:
        """Returns the score, [B, h, w]."""
        largest, predicted = seen.logits.float().max(dim=1)
        mean, deviation = self._mean.to(largest.device), self._deviation.to(largest.device)
        return -(largest - mean[predicted]) / deviation[predicted]
