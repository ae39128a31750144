# SPDX-License-Identifier: Apache-2.0
"""The losses of the flow that makes synthetic negatives (paper, equations 19 and 20)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from densehybrid_ros.networks.dense_flow import DenseFlow, dequantize
from densehybrid_ros.training.losses import exact, mean_where


def flow_likelihood_loss(
    flow: Callable[..., Tensor],
    crops: Tensor,
    generator: torch.Generator | None = None,
    noise: list[Tensor] | None = None,
) -> Tensor:
    """L_mle, equation (19), as bits a subpixel: the mean of -log2 p(crop), dequantised.

    Args:
        flow: A ``DenseFlow``, or one inside DistributedDataParallel.
        crops: float [B, 3, h, w] in 0..1.
        generator: Source of the dequantisation.
        noise: What the flow appends; drawn where None.
    """
    likelihood = flow(dequantize(crops, generator), noise)
    return (8 - likelihood / (crops[0].numel() * math.log(2))).mean()


def jensen_shannon_loss(logits: Tensor, generated: Tensor) -> Tensor:
    """L_jsd, equation (20): mean Jensen-Shannon divergence of the class posterior from the uniform one, in nats.

    JSD = (KL(p || m) + KL(u || m)) / 2 with m = (p + u) / 2. The text calls the term its negative, but says that
    confident samples are penalised: so it is the divergence itself that is made small.

    Args:
        logits: [B, K, H, W].
        generated: bool [B, H, W], pixels that the flow made.
    """
    log_p = functional.log_softmax(exact(logits), dim=1)
    log_u = -math.log(logits.shape[1])
    log_m = torch.logaddexp(log_p, torch.full_like(log_p, log_u)) - math.log(2)
    divergence = 0.5 * (log_p.exp() * (log_p - log_m) + math.exp(log_u) * (log_u - log_m)).sum(1)
    return mean_where(divergence, generated)


def held_out_bits(flow: DenseFlow, crops: Tensor, seed: int = 0, chunk: int = 64) -> float:
    """Bits a subpixel of held-out crops, uint8 [N, 3, h, w], with fixed noise: the same figure at every call."""
    device = crops.device
    generator = torch.Generator(device).manual_seed(seed)
    total = 0.0
    with torch.no_grad():
        for part in crops.split(chunk):
            noise = flow.draw_noise(len(part), (part.shape[2], part.shape[3]), generator)
            total += float(flow_likelihood_loss(flow, part, generator, noise)) * len(part)
    return total / len(crops)
