"""A model's answer to an image at several scales: large objects are seen best small, small ones enlarged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from densehybrid_ros.networks.base import DenseHybrid, HybridOutput, upsample

SMALLEST, LARGEST = 0.1, 4.0
"""Scales that are taken; below and above lie mistakes."""
_STRIDE = 32  # of the encoders


def are_scales(scales: Sequence[float]) -> bool:
    """Whether there are scales, and all of them within ``SMALLEST`` and ``LARGEST``."""
    return bool(scales) and all(SMALLEST <= scale <= LARGEST for scale in scales)


def rescaled(images: Tensor, scale: float) -> Tensor:
    """Resizes [B, 3, H, W] to ``scale`` times its size, sides being multiples of the encoders' stride; 1 leaves it."""
    if scale == 1:
        return images
    height, width = (max(_STRIDE, round(side * scale / _STRIDE) * _STRIDE) for side in images.shape[2:])
    resized = functional.interpolate(images, (height, width), mode="bilinear", antialias=scale < 1, align_corners=False)
    return resized.contiguous(memory_format=torch.channels_last)


def mean_over_scales(model: DenseHybrid, images: Tensor, scales: Sequence[float]) -> HybridOutput:
    """Returns the mean of both heads' logits over the scales, on the grid of the largest one; on no level.

    Args:
        model: In evaluation mode.
        images: float [B, 3, H, W], RGB in 0..1.
        scales: At least one; 1 is the image as it is.
    """
    outputs = [model.heads(rescaled(images, scale)) for scale in sorted(scales, reverse=True)]
    size = (int(outputs[0].logits.shape[2]), int(outputs[0].logits.shape[3]))

    def mean(maps: Sequence[Tensor]) -> Tensor:
        return torch.stack([upsample(part.float(), size, model.align_corners) for part in maps]).mean(0)

    return HybridOutput(mean([output.logits for output in outputs]), mean([output.posterior for output in outputs]))
