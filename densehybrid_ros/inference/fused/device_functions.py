# SPDX-License-Identifier: Apache-2.0
"""What the kernels share.

Activations lie as [rows, columns, channels] in float16, a pixel's channels together; a tensor may be a slice of the
channels of a wider one, so every pointer comes with the distance between pixels. Sums are float32.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from densehybrid_ros.inference.fused.tiles import Tile

NONE, RELU, RELU6 = 0, 1, 2
"""Activations."""


def start_kernel(kernel: Any, grid: tuple[int, ...], tile: Tile, *arguments: object, **constants: object) -> None:
    """Launches a kernel; where the current GPU can do that, it starts while the one before it ends."""
    able = torch.cuda.is_available() and torch.cuda.get_device_capability() >= (9, 0)
    options = {"EARLY": able, "launch_pdl": able, "num_warps": tile.warps, "num_stages": tile.stages}
    kernel[grid](*arguments, **constants, **options)


@triton.jit
def follow(EARLY: tl.constexpr):
    """With EARLY a kernel is started while the one before it ends; from here on that one's results are there.

    Every kernel calls this before it reads or writes anything that another one does.
    """
    if EARLY:
        gdc_launch_dependents()
        gdc_wait()


@triton.jit
def activated(values, ACTIVATION: tl.constexpr):
    """Applies one of the activations."""
    if ACTIVATION == 1:
        values = tl.maximum(values, 0.0)
    if ACTIVATION == 2:
        values = tl.minimum(tl.maximum(values, 0.0), 6.0)
    return values


@triton.jit
def normalised(values, factor, offset):
    """ReLU(values * factor + offset), all float16: two operations for two values at a time."""
    values = values * factor + offset
    return tl.maximum(values, tl.zeros_like(values))


@triton.jit
def neighbours(at, scale, count):
    """Bilinear enlargement with pixel centres at half-integer positions: two neighbours and the second one's weight."""
    position = tl.maximum((at.to(tl.float32) + 0.5) * scale - 0.5, 0.0)
    lower = tl.minimum(position.to(tl.int32), count - 1)
    return lower, tl.minimum(lower + 1, count - 1), position - lower.to(tl.float32)


@triton.jit
def enlarged(maps, rows, columns, y, x, scale_y, scale_x, channel, stride, mask):
    """Reads [rows, columns, ...] bilinearly at pixels (y, x) of the larger map; returns float32 [pixels, channels]."""
    top, bottom, down = neighbours(y, scale_y, rows)
    left, right, across = neighbours(x, scale_x, columns)
    a = tl.load(maps + (top * columns + left)[:, None] * stride + channel[None, :], mask=mask, other=0.0)
    b = tl.load(maps + (top * columns + right)[:, None] * stride + channel[None, :], mask=mask, other=0.0)
    c = tl.load(maps + (bottom * columns + left)[:, None] * stride + channel[None, :], mask=mask, other=0.0)
    d = tl.load(maps + (bottom * columns + right)[:, None] * stride + channel[None, :], mask=mask, other=0.0)
    a, b, c, d = a.to(tl.float32), b.to(tl.float32), c.to(tl.float32), d.to(tl.float32)
    upper = a + across[:, None] * (b - a)
    lower = c + across[:, None] * (d - c)
    return upper + down[:, None] * (lower - upper)
