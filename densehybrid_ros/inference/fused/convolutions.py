# SPDX-License-Identifier: Apache-2.0
"""3x3 convolutions on activated inputs."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from densehybrid_ros.inference.fused.device_functions import early_start, follow
from densehybrid_ros.inference.fused.tiles import Tile, Tiles


@triton.jit
def _grow_kernel(
    source,
    weights,
    target,
    pixels,
    columns,
    target_stride,
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr,
    BLOCK_INPUTS: tl.constexpr,
    EARLY: tl.constexpr,
):
    # A 3x3 convolution with few outputs is bound by reading its input. A program reads BLOCK_PIXELS pixels, counted
    # through the rows, of three rows once, and makes three sums of them, for the left, middle and right column of the
    # filter. The left sums belong one pixel further on, the right ones one before, so the two pixels at the ends are
    # not complete and belong to the neighbouring programs.
    follow(EARLY)
    pixel = tl.program_id(0) * (BLOCK_PIXELS - 2) - 1 + tl.arange(0, BLOCK_PIXELS)
    channel = tl.arange(0, BLOCK_INPUTS)
    output = tl.arange(0, OUTPUTS)
    left = tl.zeros([BLOCK_PIXELS, OUTPUTS], tl.float32)
    middle = tl.zeros([BLOCK_PIXELS, OUTPUTS], tl.float32)
    right = tl.zeros([BLOCK_PIXELS, OUTPUTS], tl.float32)
    STEPS: tl.constexpr = INPUTS // BLOCK_INPUTS
    matrix = channel[:, None] * OUTPUTS + output[None, :]
    for step in range(3 * STEPS):
        row = step // STEPS
        start = (step % STEPS) * BLOCK_INPUTS
        at = pixel + (row - 1) * columns
        inside = (at >= 0) & (at < pixels)
        values = tl.load(source + at[:, None] * INPUTS + (start + channel)[None, :], mask=inside[:, None], other=0.0)
        part = weights + row * (3 * INPUTS * OUTPUTS) + start * OUTPUTS + matrix
        left = tl.dot(values, tl.load(part), left)
        middle = tl.dot(values, tl.load(part + INPUTS * OUTPUTS), middle)
        right = tl.dot(values, tl.load(part + 2 * INPUTS * OUTPUTS), right)
    place = tl.arange(0, BLOCK_PIXELS)
    x = pixel % columns
    previous = tl.broadcast_to(tl.maximum(place - 1, 0)[:, None], [BLOCK_PIXELS, OUTPUTS])
    following = tl.broadcast_to(tl.minimum(place + 1, BLOCK_PIXELS - 1)[:, None], [BLOCK_PIXELS, OUTPUTS])
    middle += tl.where((x > 0)[:, None], tl.gather(left, previous, 0), 0.0)
    middle += tl.where((x < columns - 1)[:, None], tl.gather(right, following, 0), 0.0)
    mine = (place > 0) & (place < BLOCK_PIXELS - 1) & (pixel < pixels)
    tl.store(target + pixel[:, None] * target_stride + output[None, :], middle.to(tl.float16), mask=mine[:, None])


_GROW = (Tile(128, 32, 64, 4, 3), Tile(128, 32, 128, 4, 3), Tile(64, 32, 128, 4, 3), Tile(16, 32, 128, 4, 3))


class Grow:
    """3x3 convolution with few outputs on activated inputs, without anything around it."""

    def __init__(self, tiles: Tiles, conv: nn.Conv2d) -> None:
        self._tiles = tiles
        self.outputs, self.inputs = conv.weight.shape[:2]
        self._weights = conv.weight.detach().permute(2, 3, 1, 0).contiguous().half()

    def __call__(self, source: Tensor, out: Tensor) -> Tensor:
        """Maps [H, W, inputs] to ``out`` [H, W, outputs], which may be a slice of channels."""
        rows, columns = out.shape[:2]
        pixels = rows * columns

        def launch(tile: Tile) -> None:
            _grow_kernel[(triton.cdiv(pixels, tile.pixels - 2),)](
                source,
                self._weights,
                out,
                pixels,
                columns,
                out.stride(1),
                INPUTS=self.inputs,
                OUTPUTS=self.outputs,
                BLOCK_PIXELS=tile.pixels,
                BLOCK_INPUTS=tile.inputs,
                **early_start(),
                num_warps=tile.warps,
                num_stages=tile.stages,
            )

        self._tiles.launch(f"grow {pixels} {self.inputs} {self.outputs}", _GROW, launch)
        return out


class Convolution:
    """3x3 convolution with many outputs on activated inputs: the library's, which is good at these."""

    def __init__(self, conv: nn.Conv2d) -> None:
        self._weights = conv.weight.detach().half().contiguous(memory_format=torch.channels_last)

    def __call__(self, source: Tensor) -> Tensor:
        """Maps [H, W, inputs] to [H, W, outputs]."""
        maps = source.permute(2, 0, 1).unsqueeze(0)
        return torch.nn.functional.conv2d(maps, self._weights, padding=1)[0].permute(1, 2, 0)
