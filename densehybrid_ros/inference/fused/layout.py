# SPDX-License-Identifier: Apache-2.0
"""What the kernels read: weights with batch normalisation folded in, and the image as the stems want it.

That has four channels a pixel, the fourth zero, and a border.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_ROWS, _COLUMNS, _CHANNELS = 3, 4, 4  # border above and below, left and right; channels


def affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Returns scale and shift of a normalisation in inference, float32 [C]."""
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight.detach().float() * torch.rsqrt(norm.running_var.float() + norm.eps)
    return scale, norm.bias.detach().float() - norm.running_mean.float() * scale


def padded(channels: int) -> int:
    """Returns the number of channels that a tensor is made with: a multiple of 16, for wide loads."""
    return -(-channels // 16) * 16


def filled(values: Tensor, *shape: int) -> Tensor:
    """Returns ``values`` in the first corner of zeros of this shape."""
    made = torch.zeros(shape, dtype=values.dtype, device=values.device)
    made[tuple(slice(size) for size in values.shape)] = values
    return made


def folded(conv: nn.Conv2d, after: nn.BatchNorm2d | None) -> tuple[Tensor, Tensor]:
    """Returns weights [out, in, kh, kw] and bias [out], float32, with the normalisation behind folded in."""
    weights = conv.weight.detach().float()
    bias = torch.zeros(weights.shape[0], device=weights.device) if conv.bias is None else conv.bias.detach().float()
    if after is None:
        return weights, bias
    scale, shift = affine(after)
    return weights * scale[:, None, None, None], bias * scale + shift


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
