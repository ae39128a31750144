# SPDX-License-Identifier: Apache-2.0
"""The image as the fused stems read it: four channels a pixel, the fourth zero, and a border."""

from __future__ import annotations

import torch
from torch import Tensor

_ROWS, _COLUMNS, _CHANNELS = 3, 4, 4  # border above and below, left and right; channels


def bordered(size: tuple[int, int], device: torch.device, value: float = 0.0) -> Tensor:
    """Returns images [1, 3, H, W], float16, that lie in a bordered piece of memory.

    Args:
        size: (height, width).
        device: Where.
        value: Of the border.
    """
    height, width = size
    whole = torch.zeros(height + 2 * _ROWS, width + 2 * _COLUMNS, _CHANNELS, dtype=torch.float16, device=device)
    whole[..., :3] = value
    return whole[_ROWS:-_ROWS, _COLUMNS:-_COLUMNS, :3].permute(2, 0, 1).unsqueeze(0)


def with_border(images: Tensor, value: float = 0.0) -> Tensor:
    """Returns [H + 6, W + 8, 4] around images [1, 3, H, W]: the memory they lie in, or a copy."""
    height, width = images.shape[2:]
    line = (width + 2 * _COLUMNS) * _CHANNELS
    before = _ROWS * line + _COLUMNS * _CHANNELS
    if images.stride()[1:] != (1, line, _CHANNELS) or images.storage_offset() != before:
        copy = bordered((height, width), images.device, value)
        copy.copy_(images)
        images = copy
    shape = (height + 2 * _ROWS, width + 2 * _COLUMNS, _CHANNELS)
    return images.as_strided(shape, (line, _CHANNELS, 1), 0)
