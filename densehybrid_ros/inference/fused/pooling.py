# SPDX-License-Identifier: Apache-2.0
"""Pooling of a transition, and pyramid pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from densehybrid_ros.inference.fused.convolutions import Pointwise
from densehybrid_ros.inference.fused.device_functions import enlarged, follow, normalised, start_kernel
from densehybrid_ros.inference.fused.layout import affine, filled
from densehybrid_ros.inference.fused.tiles import Tile, Tiles
from densehybrid_ros.networks.blocks import pooling_matrix

_CELLS, _PIXELS = Tile(16, 0, 64, 4, 3), Tile(32, 0, 0, 4, 3)  # of the kernels of a pyramid's levels


@triton.jit
def _pool_kernel(
    source,
    scale,
    shift,
    target,
    rows,
    columns,
    channels,
    out_columns,
    pixels,
    source_stride,
    target_stride,
    BLOCK_PIXELS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
    EARLY: tl.constexpr,
):
    # Normalisation, ReLU, and the mean of 3x3 with stride 2 over what lies inside.
    follow(EARLY)
    pixel = tl.program_id(0) * BLOCK_PIXELS + tl.arange(0, BLOCK_PIXELS)
    channel = tl.program_id(1) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    y, x = pixel // out_columns, pixel % out_columns
    there = (channel < channels)[None, :]
    factor = tl.load(scale + channel, mask=channel < channels, other=0.0)[None, :]
    offset = tl.load(shift + channel, mask=channel < channels, other=0.0)[None, :]
    total = tl.zeros([BLOCK_PIXELS, BLOCK_CHANNELS], tl.float32)
    count = tl.zeros([BLOCK_PIXELS], tl.float32)
    for down in tl.static_range(-1, 2):
        for across in tl.static_range(-1, 2):
            row, column = 2 * y + down, 2 * x + across
            inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns) & (pixel < pixels)
            at = (row * columns + column)[:, None] * source_stride + channel[None, :]
            values = tl.load(source + at, mask=inside[:, None] & there, other=0.0)
            values = normalised(values, factor, offset).to(tl.float32)
            total += tl.where(inside[:, None], values, 0.0)
            count += inside.to(tl.float32)
    mean = total / tl.maximum(count, 1.0)[:, None]
    mask = (pixel < pixels)[:, None] & there
    tl.store(target + pixel[:, None] * target_stride + channel[None, :], mean.to(tl.float16), mask=mask)


@triton.jit
def _levels_kernel(
    source,
    level_of,
    scale,
    shift,
    weights,
    target,
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    BLOCK_CELLS: tl.constexpr,
    BLOCK_INPUTS: tl.constexpr,
    EARLY: tl.constexpr,
):
    # Normalisation, ReLU and 1x1 convolution of a pyramid's cells, each level with its own.
    follow(EARLY)
    level = tl.load(level_of + tl.program_id(0))
    cell = tl.program_id(0) * BLOCK_CELLS + tl.arange(0, BLOCK_CELLS)
    output = tl.arange(0, OUTPUTS)
    channel = tl.arange(0, BLOCK_INPUTS)
    total = tl.zeros([BLOCK_CELLS, OUTPUTS], tl.float32)
    for start in range(0, INPUTS, BLOCK_INPUTS):
        at = start + channel
        values = tl.load(source + cell[:, None] * INPUTS + at[None, :])
        factor, offset = tl.load(scale + level * INPUTS + at), tl.load(shift + level * INPUTS + at)
        values = normalised(values, factor[None, :], offset[None, :])
        part = tl.load(weights + (level * INPUTS + at)[:, None] * OUTPUTS + output[None, :])
        total = tl.dot(values, part, total)
    tl.store(target + cell[:, None] * OUTPUTS + output[None, :], total.to(tl.float16))


@triton.jit
def _enlarge_levels_kernel(
    cells,
    grids,
    target,
    pixels,
    rows,
    columns,
    target_stride,
    CHANNELS: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr,
    EARLY: tl.constexpr,
):
    # `grids` has first cell, rows and columns of each level.
    follow(EARLY)
    level = tl.program_id(1)
    pixel = tl.program_id(0) * BLOCK_PIXELS + tl.arange(0, BLOCK_PIXELS)
    channel = tl.arange(0, CHANNELS)
    first = tl.load(grids + 3 * level)
    grid_rows, grid_columns = tl.load(grids + 3 * level + 1), tl.load(grids + 3 * level + 2)
    mask = tl.broadcast_to((pixel < pixels)[:, None], [BLOCK_PIXELS, CHANNELS])
    y, x, maps = pixel // columns, pixel % columns, cells + first * CHANNELS
    scale_y, scale_x = grid_rows.to(tl.float32) / rows, grid_columns.to(tl.float32) / columns
    made = enlarged(maps, grid_rows, grid_columns, y, x, scale_y, scale_x, channel, CHANNELS, mask)
    at = pixel[:, None] * target_stride + (level * CHANNELS + channel)[None, :]
    tl.store(target + at, made.to(tl.float16), mask=mask)


class Pool:
    """Normalisation, ReLU and the mean of 3x3 with stride 2 over what lies inside."""

    def __init__(self, tiles: Tiles, norm: nn.BatchNorm2d) -> None:
        self._tiles = tiles
        self._scale, self._shift = (part.half() for part in affine(norm))
        self.channels = norm.num_features

    def __call__(self, source: Tensor) -> Tensor:
        """Maps [H, W, channels] to [ceil(H / 2), ceil(W / 2), channels]."""
        rows, columns = source.shape[:2]
        out = source.new_empty((rows + 1) // 2, (columns + 1) // 2, self.channels)
        pixels = out.shape[0] * out.shape[1]

        def launch(tile: Tile) -> None:
            grid = (triton.cdiv(pixels, tile.pixels), triton.cdiv(self.channels, tile.outputs))
            tensors = (source, self._scale, self._shift, out)
            sizes = (rows, columns, self.channels, out.shape[1], pixels, source.stride(1), out.stride(1))
            blocks = {"BLOCK_PIXELS": tile.pixels, "BLOCK_CHANNELS": tile.outputs}
            start_kernel(_pool_kernel, grid, tile, *tensors, *sizes, **blocks)

        candidates = (Tile(16, 128, 0, 4, 3), Tile(32, 64, 0, 4, 3), Tile(8, 256, 0, 4, 3), Tile(32, 128, 0, 8, 3))
        self._tiles.launch(f"pool {pixels} {self.channels}", candidates, launch)
        return out


class Pyramid:
    """Pyramid pooling. The averages over the grids' cells are one product with a fixed matrix."""

    def __init__(self, tiles: Tiles, pyramid: Any) -> None:
        self._grids: Sequence[int] = pyramid.grids
        self._bottleneck = Pointwise(tiles, pyramid.bottleneck.conv, before=pyramid.bottleneck.norm)
        levels = list(pyramid.levels)
        norms = zip(*(affine(level.norm) for level in levels), strict=True)
        self._scale, self._shift = (torch.stack(parts).half() for parts in norms)
        weights = [level.conv.weight.detach()[:, :, 0, 0].t() for level in levels]
        self._weights = torch.stack(weights).contiguous().half()
        self._fuse = Pointwise(tiles, pyramid.fuse.conv, before=pyramid.fuse.norm)
        self._prepared: dict[tuple[int, int], tuple[Tensor, Tensor, Tensor]] = {}

    def __call__(self, source: Tensor) -> Tensor:
        """Maps [H, W, inputs] to [H, W, outputs]."""
        rows, columns = source.shape[:2]
        if (rows, columns) not in self._prepared:
            self._prepared[rows, columns] = self._prepare(rows, columns)
        averages, level_of, grids = self._prepared[rows, columns]
        width, level_width = self._bottleneck.outputs, self._weights.shape[2]
        joined = source.new_empty(rows, columns, width + len(self._grids) * level_width)
        features = self._bottleneck(source, out=joined[..., :width])
        cells = torch.mm(averages, features.view(rows * columns, width))
        made = source.new_empty(len(cells), level_width)
        tensors = (cells, level_of, self._scale, self._shift, self._weights, made)
        blocks = {"BLOCK_CELLS": _CELLS.pixels, "BLOCK_INPUTS": _CELLS.inputs}
        count = len(cells) // _CELLS.pixels
        start_kernel(_levels_kernel, (count,), _CELLS, *tensors, INPUTS=width, OUTPUTS=level_width, **blocks)
        grid = (triton.cdiv(rows * columns, _PIXELS.pixels), len(self._grids))
        arguments = (made, grids, joined[..., width:], rows * columns, rows, columns, joined.stride(1))
        start_kernel(
            _enlarge_levels_kernel, grid, _PIXELS, *arguments, CHANNELS=level_width, BLOCK_PIXELS=_PIXELS.pixels
        )
        return self._fuse(joined)

    def _prepare(self, rows: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
        parts, level_of, table = [], [], []
        first = 0
        for level, grid_rows in enumerate(self._grids):
            grid = (grid_rows, max(1, round(columns / rows * grid_rows)))
            weights = torch.kron(pooling_matrix(grid[0], rows), pooling_matrix(grid[1], columns))
            blocks = math.ceil(len(weights) / _CELLS.pixels)
            count = blocks * _CELLS.pixels
            parts.append(filled(weights, count, rows * columns))
            level_of += [level] * blocks
            table += [first, *grid]
            first += count
        device = self._scale.device
        integers = [torch.tensor(values, dtype=torch.int32, device=device) for values in (level_of, table)]
        return torch.cat(parts).half().to(device), integers[0], integers[1]
