# SPDX-License-Identifier: Apache-2.0
"""The upsampling path and the heads at its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from densehybrid_ros.inference.fused.convolutions import Convolution, Pointwise
from densehybrid_ros.inference.fused.device_functions import RELU, follow, normalised, start_kernel
from densehybrid_ros.inference.fused.layout import affine, filled
from densehybrid_ros.inference.fused.pooling import Pyramid
from densehybrid_ros.inference.fused.tiles import Tile, Tiles

_HEADS = ((128, 4), (64, 4), (64, 2), (32, 2), (128, 8))  # pixels and warps of a program


@triton.jit
def _heads_kernel(
    source,
    first_scale,
    first_shift,
    second_scale,
    second_shift,
    first_weights,
    second_weights,
    bias,
    target,
    pixels,
    source_stride,
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    BOTH: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr,
    BLOCK_OUTPUTS: tl.constexpr,
    EARLY: tl.constexpr,
):
    # Each head has its own normalisation; the columns of its weights that are the other's are zero.
    follow(EARLY)
    pixel = tl.program_id(0) * BLOCK_PIXELS + tl.arange(0, BLOCK_PIXELS)
    channel = tl.arange(0, INPUTS)
    output = tl.arange(0, BLOCK_OUTPUTS)
    values = tl.load(
        source + pixel[:, None] * source_stride + channel[None, :], mask=(pixel < pixels)[:, None], other=0.0
    )
    first = normalised(values, tl.load(first_scale + channel)[None, :], tl.load(first_shift + channel)[None, :])
    matrix = channel[:, None] * BLOCK_OUTPUTS + output[None, :]
    total = tl.dot(first, tl.load(first_weights + matrix))
    if BOTH:
        second = normalised(values, tl.load(second_scale + channel)[None, :], tl.load(second_shift + channel)[None, :])
        total = tl.dot(second, tl.load(second_weights + matrix), total)
    total += tl.load(bias + output)[None, :]
    # A plane for each output: the pass after the network reads neighbouring pixels of one class together.
    mask = (pixel < pixels)[:, None] & (output < OUTPUTS)[None, :]
    tl.store(target + output[None, :] * pixels + pixel[:, None], total.to(tl.float16), mask=mask)


class Step:
    """A step of the ladder: the skip's projection, the enlarged features added, normalisation, ReLU, 3x3."""

    def __init__(self, tiles: Tiles, step: Any) -> None:
        self._bottleneck = Pointwise(
            tiles, step.bottleneck.conv, before=step.bottleneck.norm, enlarged_after=step.blend.norm, activation=RELU
        )
        self._blend = Convolution(step.blend.conv)

    def __call__(self, features: Tensor, skip: Tensor) -> Tensor:
        """Maps [h, w, inputs] and skip [H, W, skip inputs] to [H, W, outputs]."""
        return self._blend(self._bottleneck(skip, enlarge=features))


class Heads:
    """The classifier and, in the open-set model, the dataset posterior: one product, a plane for each output."""

    def __init__(self, tiles: Tiles, classifier: Any, posterior: Any) -> None:
        self._tiles = tiles
        heads = [classifier] if posterior is None else [classifier, posterior]
        counts = [head.conv.out_channels for head in heads]
        self._classes, self.outputs = counts[0], sum(counts)
        self._block = max(16, triton.next_power_of_2(self.outputs))
        self._bias = filled(torch.cat([head.conv.bias.detach().float() for head in heads]), self._block)
        self._parts = []
        first = 0
        for head, count in zip(heads, counts, strict=True):
            weights = torch.zeros(head.conv.in_channels, self._block, device=self._bias.device)
            weights[:, first : first + count] = head.conv.weight.detach()[:, :, 0, 0].t()
            scale, shift = affine(head.norm)
            self._parts.append((scale.half(), shift.half(), weights.half()))
            first += count

    def __call__(self, source: Tensor) -> tuple[Tensor, ...]:
        """Maps [H, W, inputs] to logits [1, K, H, W] and, with both heads, posterior [1, 2, H, W]."""
        rows, columns, inputs = source.shape
        out = source.new_empty(self.outputs, rows, columns)
        first, second = self._parts[0], self._parts[-1]
        pixels = rows * columns

        def launch(tile: Tile) -> None:
            sizes = {"INPUTS": inputs, "OUTPUTS": self.outputs, "BOTH": len(self._parts) == 2}
            sizes |= {"BLOCK_PIXELS": tile.pixels, "BLOCK_OUTPUTS": self._block}
            weights = (*first[:2], *second[:2], first[2], second[2], self._bias)
            grid = (triton.cdiv(pixels, tile.pixels),)
            start_kernel(_heads_kernel, grid, tile, source, *weights, out, pixels, source.stride(1), **sizes)

        candidates = [Tile(side, self._block, inputs, warps, 3) for side, warps in _HEADS]
        self._tiles.launch(f"heads {pixels} {inputs} {self._block}", candidates, launch)
        maps = out.unsqueeze(0)
        return (maps,) if self.outputs == self._classes else (maps[:, : self._classes], maps[:, self._classes :])


class Ladder:
    """Pyramid pooling, the steps of the ladder, and the heads at its end."""

    def __init__(self, tiles: Tiles, network: Any, posterior: Any) -> None:
        self._pyramid = Pyramid(tiles, network.pyramid)
        self._steps = [Step(tiles, step) for step in network.ladder]
        self._heads = Heads(tiles, network.classifier, posterior)

    def __call__(self, deepest: Tensor, skips: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps the encoder's features [h, w, channels], the deepest ones apart, to what ``Heads`` returns."""
        features = self._pyramid(deepest)
        for step, skip in zip(self._steps, reversed(skips), strict=True):
            features = step(features, skip)
        return self._heads(features)
