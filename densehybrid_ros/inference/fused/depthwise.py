# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolutions."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor, nn

from densehybrid_ros.inference.fused.device_functions import activated, early_start, follow
from densehybrid_ros.inference.fused.folding import filled, folded, padded
from densehybrid_ros.inference.fused.tiles import Tile, Tiles


@triton.jit
def _depthwise_kernel(
    source,
    weights,
    bias,
    target,
    rows,
    columns,
    channels,
    out_rows,
    out_columns,
    SIZE: tl.constexpr,
    STRIDE: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
    EARLY: tl.constexpr,
):
    # A program makes ROWS (1, 2 or 4) rows of results, so that what it reads serves several of them.
    follow(EARLY)
    blocks = tl.cdiv(out_columns, BLOCK_COLUMNS)
    x = (tl.program_id(0) % blocks) * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    y = (tl.program_id(0) // blocks) * ROWS
    channel = tl.program_id(1) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    there = channel < channels
    offset = tl.load(bias + channel, mask=there, other=0.0)[None, :]
    sum0 = tl.zeros([BLOCK_COLUMNS, BLOCK_CHANNELS], tl.float32) + offset
    sum1 = sum0
    sum2 = sum0
    sum3 = sum0
    for down in tl.static_range((ROWS - 1) * STRIDE + SIZE):
        row = y * STRIDE + down - SIZE // 2
        for across in tl.static_range(SIZE):
            column = x * STRIDE + (across - SIZE // 2)
            inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
            at = (row * columns + column)[:, None] * channels + channel[None, :]
            values = tl.load(source + at, mask=inside[:, None] & there[None, :], other=0.0).to(tl.float32)
            if down < SIZE:
                sum0 += (
                    values
                    * tl.load(weights + (down * SIZE + across) * channels + channel, mask=there, other=0.0)[None, :]
                )
            if ROWS > 1 and down >= STRIDE and down < STRIDE + SIZE:
                at1 = ((down - STRIDE) * SIZE + across) * channels
                sum1 += values * tl.load(weights + at1 + channel, mask=there, other=0.0)[None, :]
            if ROWS > 2 and down >= 2 * STRIDE and down < 2 * STRIDE + SIZE:
                at2 = ((down - 2 * STRIDE) * SIZE + across) * channels
                sum2 += values * tl.load(weights + at2 + channel, mask=there, other=0.0)[None, :]
            if ROWS > 2 and down >= 3 * STRIDE:
                at3 = ((down - 3 * STRIDE) * SIZE + across) * channels
                sum3 += values * tl.load(weights + at3 + channel, mask=there, other=0.0)[None, :]
    to = target + (y * out_columns + x)[:, None] * channels + channel[None, :]
    mask = (x < out_columns)[:, None] & there[None, :]
    line = out_columns * channels
    tl.store(to, activated(sum0, 2).to(tl.float16), mask=mask & (y < out_rows))
    if ROWS > 1:
        tl.store(to + line, activated(sum1, 2).to(tl.float16), mask=mask & (y + 1 < out_rows))
    if ROWS > 2:
        tl.store(to + 2 * line, activated(sum2, 2).to(tl.float16), mask=mask & (y + 2 < out_rows))
        tl.store(to + 3 * line, activated(sum3, 2).to(tl.float16), mask=mask & (y + 3 < out_rows))


class Depthwise:
    """Depthwise convolution, normalisation and ReLU6."""

    def __init__(self, tiles: Tiles, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        self._tiles = tiles
        weights, bias = folded(conv, norm)
        self.channels = padded(weights.shape[0])
        self._size, self._stride = conv.kernel_size[0], conv.stride[0]
        taps = weights[:, 0].permute(1, 2, 0).reshape(self._size**2, -1)
        self._weights = filled(taps, self._size**2, self.channels).half()
        self._bias = filled(bias, self.channels)

    def __call__(self, source: Tensor) -> Tensor:
        """Maps [H, W, channels] to [ceil(H / stride), ceil(W / stride), channels]."""
        rows, columns = source.shape[:2]
        out_rows, out_columns = (-(-length // self._stride) for length in (rows, columns))
        out = source.new_empty(out_rows, out_columns, self.channels)

        def launch(tile: Tile) -> None:  # `inputs` is the number of rows here
            grid = (
                triton.cdiv(out_rows, tile.inputs) * triton.cdiv(out_columns, tile.pixels),
                triton.cdiv(self.channels, tile.outputs),
            )
            _depthwise_kernel[grid](
                source,
                self._weights,
                self._bias,
                out,
                rows,
                columns,
                self.channels,
                out_rows,
                out_columns,
                SIZE=self._size,
                STRIDE=self._stride,
                ROWS=tile.inputs,
                BLOCK_COLUMNS=tile.pixels,
                BLOCK_CHANNELS=tile.outputs,
                **early_start(),
                num_warps=tile.warps,
            )

        candidates = (Tile(16, 32, 4, 4, 1), Tile(16, 32, 2, 4, 1), Tile(8, 64, 4, 4, 1), Tile(16, 64, 2, 4, 1))
        self._tiles.launch(
            f"depthwise {source.shape[0]} {source.shape[1]} {source.shape[2]} {self._size} {self._stride}",
            candidates,
            launch,
        )
        return out
