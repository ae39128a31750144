# SPDX-License-Identifier: Apache-2.0
"""1x1, 3x3 and depthwise convolutions."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from densehybrid_ros.inference.fused.device_functions import activated, enlarged, follow, normalised, start_kernel
from densehybrid_ros.inference.fused.layout import affine, filled, folded, padded
from densehybrid_ros.inference.fused.tiles import Tile, Tiles


@triton.jit
def _pointwise_kernel(
    source,
    weights,
    scale,
    shift,
    bias,
    target,
    other,
    after_scale,
    after_shift,
    pixels,
    inputs,
    outputs,
    source_stride,
    target_stride,
    other_stride,
    columns,
    other_rows,
    other_columns,
    scale_y,
    scale_x,
    BEFORE: tl.constexpr,
    OTHER: tl.constexpr,
    ACTIVATION: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr,
    BLOCK_OUTPUTS: tl.constexpr,
    BLOCK_INPUTS: tl.constexpr,
    EARLY: tl.constexpr,
):
    # Neighbouring programs share the pixels, which are the larger operand.
    follow(EARLY)
    tiles = tl.cdiv(outputs, BLOCK_OUTPUTS)
    pixel = (tl.program_id(0) // tiles) * BLOCK_PIXELS + tl.arange(0, BLOCK_PIXELS)
    output = (tl.program_id(0) % tiles) * BLOCK_OUTPUTS + tl.arange(0, BLOCK_OUTPUTS)
    channel = tl.arange(0, BLOCK_INPUTS)
    inside = (pixel < pixels)[:, None]
    wanted = (output < outputs)[None, :]
    total = tl.zeros([BLOCK_PIXELS, BLOCK_OUTPUTS], tl.float32)
    for start in range(0, inputs, BLOCK_INPUTS):
        at = start + channel
        there = at < inputs
        values = tl.load(source + pixel[:, None] * source_stride + at[None, :], mask=inside & there[None, :], other=0.0)
        part = tl.load(weights + at[:, None] * outputs + output[None, :], mask=there[:, None] & wanted, other=0.0)
        if BEFORE:
            factor = tl.load(scale + at, mask=there, other=0.0)
            offset = tl.load(shift + at, mask=there, other=0.0)
            values = normalised(values, factor[None, :], offset[None, :])
        total = tl.dot(values, part, total)
    total += tl.load(bias + output, mask=output < outputs, other=0.0)[None, :]
    if OTHER == 1:
        total += tl.load(other + pixel[:, None] * other_stride + output[None, :], mask=inside & wanted, other=0.0)
    if OTHER == 2:
        y, x, mask = pixel // columns, pixel % columns, inside & wanted
        total += enlarged(other, other_rows, other_columns, y, x, scale_y, scale_x, output, other_stride, mask)
        total = total * tl.load(after_scale + output, mask=output < outputs, other=0.0)[None, :]
        total += tl.load(after_shift + output, mask=output < outputs, other=0.0)[None, :]
    total = activated(total, ACTIVATION)
    tl.store(target + pixel[:, None] * target_stride + output[None, :], total.to(tl.float16), mask=inside & wanted)


_POINTWISE = (
    Tile(128, 128, 64, 8, 3),
    Tile(64, 128, 64, 4, 3),
    Tile(64, 64, 64, 4, 4),
    Tile(64, 32, 64, 4, 4),
    Tile(64, 32, 128, 4, 3),
    Tile(128, 64, 64, 4, 3),
    Tile(128, 128, 32, 4, 4),
)


class Pointwise:
    """1x1 convolution: normalisation and ReLU before it if wanted, a normalisation and an activation after it."""

    def __init__(
        self,
        tiles: Tiles,
        conv: nn.Conv2d,
        before: nn.BatchNorm2d | None = None,
        after: nn.BatchNorm2d | None = None,
        activation: int = 0,
        enlarged_after: nn.BatchNorm2d | None = None,
    ) -> None:
        self._tiles = tiles
        weights, bias = folded(conv, after)
        self.inputs, self.outputs = padded(weights.shape[1]), padded(weights.shape[0])
        self._weights = filled(weights[:, :, 0, 0].t(), self.inputs, self.outputs).half()
        self._bias = filled(bias, self.outputs)
        self._before = None
        if before is not None:
            self._before = tuple(filled(part, self.inputs).half() for part in affine(before))
        self._after = None
        if enlarged_after is not None:
            self._after = tuple(filled(part, self.outputs) for part in affine(enlarged_after))
        self._activation = activation

    def __call__(
        self, source: Tensor, out: Tensor | None = None, residual: Tensor | None = None, enlarge: Tensor | None = None
    ) -> Tensor:
        """Maps [H, W, inputs or more] to [H, W, outputs], into ``out`` if given, which may be a slice of channels."""
        rows, columns = source.shape[:2]
        if out is None:
            out = source.new_empty(rows, columns, self.outputs)
        pixels = rows * columns
        other = residual if residual is not None else enlarge
        kind = 0 if other is None else 1 if residual is not None else 2
        other_shape = other.shape[:2] if other is not None else (1, 1)
        nothing = (self._bias, self._bias)
        tensors = (source, self._weights, *(self._before or nothing), self._bias)
        tensors += (out, other if other is not None else out, *(self._after or nothing))
        strides = (source.stride(1), out.stride(1), other.stride(1) if other is not None else 0)
        scales = (other_shape[0] / rows, other_shape[1] / columns)
        numbers = (pixels, self.inputs, self.outputs, *strides, columns, *other_shape, *scales)
        kinds = {"BEFORE": self._before is not None, "OTHER": kind, "ACTIVATION": self._activation}
        bucket = triton.next_power_of_2(self.inputs)

        def launch(tile: Tile) -> None:
            grid = (triton.cdiv(pixels, tile.pixels) * triton.cdiv(self.outputs, tile.outputs),)
            blocks = {"BLOCK_PIXELS": tile.pixels, "BLOCK_OUTPUTS": tile.outputs}
            blocks["BLOCK_INPUTS"] = min(tile.inputs, bucket)
            start_kernel(_pointwise_kernel, grid, tile, *tensors, *numbers, **kinds, **blocks)

        wide = triton.next_power_of_2(self.outputs)
        fitting = [tile for tile in _POINTWISE if tile.outputs <= max(32, wide)]
        key = f"pointwise {pixels} {bucket} {self.outputs} {int(self._before is not None)}{kind}"
        self._tiles.launch(key, fitting, launch)
        return out


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
            grid = (triton.cdiv(pixels, tile.pixels - 2),)
            sizes = {"INPUTS": self.inputs, "OUTPUTS": self.outputs}
            sizes |= {"BLOCK_PIXELS": tile.pixels, "BLOCK_INPUTS": tile.inputs}
            start_kernel(_grow_kernel, grid, tile, source, self._weights, out, pixels, columns, out.stride(1), **sizes)

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
            sizes = {"SIZE": self._size, "STRIDE": self._stride, "ROWS": tile.inputs}
            sizes |= {"BLOCK_COLUMNS": tile.pixels, "BLOCK_CHANNELS": tile.outputs}
            tensors = (source, self._weights, self._bias, out)
            shape = (rows, columns, self.channels, out_rows, out_columns)
            start_kernel(_depthwise_kernel, grid, tile, *tensors, *shape, **sizes)

        candidates = (Tile(16, 32, 4, 4, 3), Tile(16, 32, 2, 4, 3), Tile(8, 64, 4, 4, 3), Tile(16, 64, 2, 4, 3))
        key = f"depthwise {' '.join(map(str, source.shape))} {self._size} {self._stride}"
        self._tiles.launch(key, candidates, launch)
        return out
