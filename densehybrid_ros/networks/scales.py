"""Images at several scales: large objects are seen best small, small ones enlarged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

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
