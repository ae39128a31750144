# SPDX-License-Identifier: Apache-2.0
"""Monte-Carlo dropout (Kendall & Gal 2017) on the classifier's features."""

from __future__ import annotations

import torch
from torch import Tensor

from densehybrid_ros.scores.model_score import ModelScore, Observation, classifier_features, logits_of_features


class McDropout(ModelScore):
    """Entropy of the class posterior averaged over passes in which features are dropped at random.

    The networks have no dropout of their own; it acts on the features before the classifier's convolution, so only that
    is repeated. Each call draws the same masks, hence the same frame gets the same score.

    Args:
        passes: Number of passes.
        probability: Share of features that are dropped, 0..1.
        seed: Of the masks.
    """

    def __init__(self, passes: int = 8, probability: float = 0.5, seed: int = 0) -> None:
        self._passes = passes
        self._probability = probability
        self._seed = seed

    def __call__(self, seen: Observation) -> Tensor:
        """Returns the predictive entropy in nats, [B, h, w]."""
        features = classifier_features(seen.model, seen.prelogits).float()
        generator = torch.Generator().manual_seed(self._seed)
        mean = torch.zeros_like(seen.logits, dtype=torch.float32)
        for _ in range(self._passes):
            kept = torch.rand(1, features.shape[1], 1, 1, generator=generator) >= self._probability
            scale = kept.to(features) / (1 - self._probability)
            mean += torch.softmax(logits_of_features(seen.model, features * scale).float(), dim=1) / self._passes
        return -(mean * mean.clamp(min=1e-30).log()).sum(dim=1)
