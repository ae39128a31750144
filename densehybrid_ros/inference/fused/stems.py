# SPDX-License-Identifier: Apache-2.0
"""First layers, which read an image as ``layout`` has it."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from densehybrid_ros.inference.fused.device_functions import activated, follow, start_kernel
from densehybrid_ros.inference.fused.layout import folded
from densehybrid_ros.inference.fused.tiles import Tile, Tiles


@triton.jit
def _pooled_stem_kernel(
    image,
    weights,
    bias,
    target,
    pixels,
    columns,
    image_stride,
    target_stride,
    OUTPUTS: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr,
    EARLY: tl.constexpr,
):
    # A 7x7 convolution with stride 2 and the largest of 2x2 of its results. The image has four channels a pixel, the
    # fourth zero, and a border of 3 rows and 4 columns: so 8 pixels of a row are one piece of 32 values. Nine rows
    # of it make two rows of results, whose weights lie side by side; rows that one of them does not see have zeros.
    follow(EARLY)
    pixel = tl.program_id(0) * BLOCK_PIXELS + tl.arange(0, BLOCK_PIXELS)
    inside = pixel < pixels
    y, x = pixel // columns, pixel % columns
    value = tl.arange(0, 32)
    output = tl.arange(0, 2 * OUTPUTS)
    first = tl.zeros([BLOCK_PIXELS, 2 * OUTPUTS], tl.float32)
    second = tl.zeros([BLOCK_PIXELS, 2 * OUTPUTS], tl.float32)
    corner = image + (4 * y * image_stride + 16 * x)[:, None] + value[None, :]
    for row in range(9):
        part = tl.load(weights + (row * 32 + value)[:, None] * (2 * OUTPUTS) + output[None, :])
        at = corner + row * image_stride
        first = tl.dot(tl.load(at, mask=inside[:, None], other=0.0), part, first)
        second = tl.dot(tl.load(at + 8, mask=inside[:, None], other=0.0), part, second)
    largest = tl.max(tl.reshape(tl.maximum(first, second), [BLOCK_PIXELS, 2, OUTPUTS]), axis=1)
    channel = tl.arange(0, OUTPUTS)
    result = tl.maximum(largest + tl.load(bias + channel)[None, :], 0.0)
    tl.store(target + pixel[:, None] * target_stride + channel[None, :], result.to(tl.float16), mask=inside[:, None])


@triton.jit
def _stem_kernel(
    image,
    weights,
    bias,
    target,
    pixels,
    columns,
    image_stride,
    OUTPUTS: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr,
    EARLY: tl.constexpr,
):
    # A 3x3 convolution with stride 2 of an image laid out as for `_pooled_stem_kernel`: 4 pixels are 16 values.
    follow(EARLY)
    pixel = tl.program_id(0) * BLOCK_PIXELS + tl.arange(0, BLOCK_PIXELS)
    inside = (pixel < pixels)[:, None]
    y, x = pixel // columns, pixel % columns
    value = tl.arange(0, 16)
    output = tl.arange(0, OUTPUTS)
    corner = image + ((2 * y + 2) * image_stride + 8 * x + 8)[:, None] + value[None, :]
    total = tl.zeros([BLOCK_PIXELS, OUTPUTS], tl.float32)
    for row in tl.static_range(3):
        part = tl.load(weights + (row * 16 + value)[:, None] * OUTPUTS + output[None, :])
        total = tl.dot(tl.load(corner + row * image_stride, mask=inside, other=0.0), part, total)
    total = activated(total + tl.load(bias + output)[None, :], 2)
    tl.store(target + pixel[:, None] * OUTPUTS + output[None, :], total.to(tl.float16), mask=inside)


class PooledStem:
    """7x7 convolution with stride 2, normalisation, ReLU and the largest of 2x2."""

    def __init__(self, tiles: Tiles, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        self._tiles = tiles
        weights, bias = folded(conv, norm)
        self.outputs = weights.shape[0]
        rows = torch.zeros(9, 8, 4, 2, self.outputs, device=weights.device)
        for result in range(2):  # [row, column, colour, output]; column 0 is the one left of the filter
            rows[2 * result : 2 * result + 7, 1:, :3, result] = weights.permute(2, 3, 1, 0)
        self._weights = rows.reshape(9 * 32, 2 * self.outputs).half().contiguous()
        self._bias = bias

    def __call__(self, image: Tensor, out: Tensor) -> Tensor:
        """Maps a bordered image, [H + 6, W + 8, 4], to [H / 4, W / 4, outputs]."""
        rows, columns = out.shape[:2]

        def launch(tile: Tile) -> None:
            grid, sizes = (triton.cdiv(rows * columns, tile.pixels),), (rows * columns, columns)
            arguments = (image, self._weights, self._bias, out, *sizes, image.stride(0), out.stride(1))
            start_kernel(_pooled_stem_kernel, grid, tile, *arguments, OUTPUTS=self.outputs, BLOCK_PIXELS=tile.pixels)

        candidates = (Tile(64, 0, 0, 4, 4), Tile(64, 0, 0, 4, 3), Tile(128, 0, 0, 8, 3))
        self._tiles.launch(f"pooled stem {rows * columns} {self.outputs}", candidates, launch)
        return out


class Stem:
    """3x3 convolution with stride 2, normalisation and ReLU6 of an image that is normalised first."""

    def __init__(self, tiles: Tiles, conv: nn.Conv2d, norm: nn.BatchNorm2d, mean: float, std: float) -> None:
        self._tiles = tiles
        weights, bias = folded(conv, norm)
        weights = weights / std
        self.outputs = weights.shape[0]
        rows = torch.zeros(3, 4, 4, self.outputs, device=weights.device)
        rows[:, 1:, :3] = weights.permute(2, 3, 1, 0)
        self._weights = rows.reshape(48, self.outputs).half().contiguous()
        self._bias = bias - mean * weights.sum(dim=(1, 2, 3))

    def __call__(self, image: Tensor) -> Tensor:
        """Maps a bordered image, [H + 6, W + 8, 4], to [ceil(H / 2), ceil(W / 2), outputs]."""
        rows, columns = (image.shape[0] - 5) // 2, (image.shape[1] - 7) // 2
        out = image.new_empty(rows, columns, self.outputs)

        def launch(tile: Tile) -> None:
            grid = (triton.cdiv(rows * columns, tile.pixels),)
            arguments = (image, self._weights, self._bias, out, rows * columns, columns, image.stride(0))
            start_kernel(_stem_kernel, grid, tile, *arguments, OUTPUTS=self.outputs, BLOCK_PIXELS=tile.pixels)

        candidates = (Tile(128, 0, 0, 4, 3), Tile(256, 0, 0, 8, 3), Tile(64, 0, 0, 4, 3))
        self._tiles.launch(f"stem {rows * columns} {self.outputs}", candidates, launch)
        return out
