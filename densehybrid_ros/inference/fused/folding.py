# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation folded into weights, and weights laid out for the kernels."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
