# SPDX-License-Identifier: Apache-2.0
"""1x1 convolutions."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor, nn

from densehybrid_ros.inference.fused.device_functions import activated, early_start, enlarged, follow, normalised
from densehybrid_ros.inference.fused.folding import affine, filled, folded, padded
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
        total += enlarged(
            other,
            other_rows,
            other_columns,
            pixel // columns,
            pixel % columns,
            scale_y,
            scale_x,
            output,
            other_stride,
            inside & wanted,
        )
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

        def launch(tile: Tile) -> None:
            block = min(tile.inputs, triton.next_power_of_2(self.inputs))
            grid = (triton.cdiv(pixels, tile.pixels) * triton.cdiv(self.outputs, tile.outputs),)
            _pointwise_kernel[grid](
                source,
                self._weights,
                self._before[0] if self._before else self._bias,
                self._before[1] if self._before else self._bias,
                self._bias,
                out,
                other if other is not None else out,
                self._after[0] if self._after else self._bias,
                self._after[1] if self._after else self._bias,
                pixels,
                self.inputs,
                self.outputs,
                source.stride(1),
                out.stride(1),
                other.stride(1) if other is not None else 0,
                columns,
                *other_shape,
                other_shape[0] / rows,
                other_shape[1] / columns,
                BEFORE=self._before is not None,
                OTHER=kind,
                ACTIVATION=self._activation,
                BLOCK_PIXELS=tile.pixels,
                BLOCK_OUTPUTS=tile.outputs,
                BLOCK_INPUTS=block,
                **early_start(),
                num_warps=tile.warps,
                num_stages=tile.stages,
            )

        wide = triton.next_power_of_2(self.outputs)
        fitting = [tile for tile in _POINTWISE if tile.outputs <= max(32, wide)]
        bucket = triton.next_power_of_2(self.inputs)
        key = f"pointwise {pixels} {bucket} {self.outputs} {int(self._before is not None)}{kind}"
        self._tiles.launch(key, fitting, launch)
        return out
