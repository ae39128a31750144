# SPDX-License-Identifier: Apache-2.0
"""ODIN (Liang et al. 2018): max-softmax at a high temperature after a step that raises confidence."""

from __future__ import annotations

import torch
from torch import Tensor

from densehybrid_ros.scores.model_score import ModelScore, Observation


class Odin(ModelScore):
    """Inliers gain more confidence by the step than anomalies do.

    Args:
        temperature: T, above 0.
        step: Change of each pixel value (0..1) along the sign of the gradient.
    """

    def __init__(self, temperature: float = 1000.0, step: float = 0.0014) -> None:
        self._temperature = temperature
        self._step = step

    def __call__(self, seen: Observation) -> Tensor:
        """Returns 1 / (largest softmax of the second pass at temperature T) - K, [B, h, w].

        That ranks pixels as minus the softmax does. At a high temperature, where every softmax is nearly 1 / K, float32
        would collapse neighbouring values; the sum of expm1 keeps them apart.
        """
        with torch.inference_mode(False), torch.enable_grad():
            images = seen.images.clone().requires_grad_(True)
            _, logits = seen.model.network(images)
            confidence = torch.log_softmax(logits.float() / self._temperature, dim=1).amax(dim=1).sum()
            (gradient,) = torch.autograd.grad(confidence, images)
            changed = (images + self._step * gradient.sign()).detach()
        with torch.no_grad():
            _, logits = seen.model.network(changed)
        below = logits.float() - logits.float().amax(dim=1, keepdim=True)
        return torch.expm1(below / self._temperature).sum(dim=1)
