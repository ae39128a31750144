# SPDX-License-Identifier: Apache-2.0
"""LDN-121 from fused layers."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from densehybrid_ros.inference.fused.convolutions import Grow
from densehybrid_ros.inference.fused.device_functions import RELU
from densehybrid_ros.inference.fused.images import with_border
from densehybrid_ros.inference.fused.ladder import Ladder
from densehybrid_ros.inference.fused.pointwise import Pointwise
from densehybrid_ros.inference.fused.pooling import Pool
from densehybrid_ros.inference.fused.stems import PooledStem
from densehybrid_ros.inference.fused.tiles import Tiles


class _Block:
    def __init__(self, tiles: Tiles, block: Any) -> None:
        self._layers = [
            (
                Pointwise(tiles, layer.reduce.conv, before=layer.reduce.norm, after=layer.grow.norm, activation=RELU),
                Grow(tiles, layer.grow.conv),
            )
            for layer in block
        ]
        self.inputs = self._layers[0][0].inputs
        self.outputs = self.inputs + sum(grow.outputs for _, grow in self._layers)

    def __call__(self, features: Tensor) -> Tensor:
        """Fills [H, W, outputs], whose first channels are there."""
        first = self.inputs
        for reduce, grow in self._layers:
            end = first + grow.outputs
            grow(reduce(features), out=features[..., first:end])
            first = end
        return features


class FusedLadderDenseNet:
    """LDN-121."""

    border = 0.0

    def __init__(self, tiles: Tiles, network: Any, posterior: Any) -> None:
        self._stem = PooledStem(tiles, network.stem[0], network.stem[1])
        self._blocks = [_Block(tiles, block) for block in network.blocks]
        self._transitions = [
            (Pool(tiles, transition.reduce.norm), Pointwise(tiles, transition.reduce.conv))
            for transition in network.transitions
        ]
        self._ladder = Ladder(tiles, network, posterior)

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        """See ``FusedNetwork``."""
        image = with_border(images, self.border)
        rows, columns = ((length + 1) // 2 // 2 for length in images.shape[2:])
        features = image.new_empty(rows, columns, self._blocks[0].outputs)
        self._stem(image, out=features[..., : self._stem.outputs])
        skips = []
        for index, block in enumerate(self._blocks):
            block(features)
            if index == len(self._transitions):
                break
            skips.append(features)
            pool, reduce = self._transitions[index]
            # The mean and the 1x1 convolution may change places: so the product has a quarter of the pixels.
            pooled = pool(features)
            features = image.new_empty(*pooled.shape[:2], self._blocks[index + 1].outputs)
            reduce(pooled, out=features[..., : reduce.outputs])
        return self._ladder(features, skips)
