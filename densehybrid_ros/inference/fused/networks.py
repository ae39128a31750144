# SPDX-License-Identifier: Apache-2.0
"""LDN-121 and the light network from fused layers."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from densehybrid_ros.inference.fused.convolutions import Depthwise, Grow, Pointwise
from densehybrid_ros.inference.fused.device_functions import RELU, RELU6
from densehybrid_ros.inference.fused.ladder import Ladder
from densehybrid_ros.inference.fused.layout import with_border
from densehybrid_ros.inference.fused.pooling import Pool
from densehybrid_ros.inference.fused.stems import PooledStem, Stem
from densehybrid_ros.inference.fused.tiles import Tiles
from densehybrid_ros.networks.light import PIXEL_MEAN, PIXEL_STD, SKIP_STAGES


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
    """LDN-121.

    Attributes:
        border: Value of the pixels around the image that the first layer reads, see ``layout``.
    """

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
        """Maps images, float16 [1, 3, H, W] in 0..1, to logits [1, K, h, w] and posterior [1, 2, h, w], if open-set."""
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


class _Residual:
    def __init__(self, tiles: Tiles, block: Any) -> None:
        convs = [layer for layer in block.layers if isinstance(layer, nn.Conv2d)]
        norms = [layer for layer in block.layers if isinstance(layer, nn.BatchNorm2d)]
        self._expand = Pointwise(tiles, convs[0], after=norms[0], activation=RELU6) if len(convs) == 3 else None
        self._filter = Depthwise(tiles, convs[-2], norms[-2])
        self._project = Pointwise(tiles, convs[-1], after=norms[-1])
        self._residual = block.residual

    def __call__(self, features: Tensor) -> Tensor:
        wide = self._expand(features) if self._expand else features
        return self._project(self._filter(wide), residual=features if self._residual else None)


class FusedLight:
    """The light network, see ``FusedLadderDenseNet``."""

    border = PIXEL_MEAN

    def __init__(self, tiles: Tiles, network: Any, posterior: Any) -> None:
        self._stem = Stem(tiles, network.stem[0], network.stem[1], PIXEL_MEAN, PIXEL_STD)
        self._stages = [[_Residual(tiles, block) for block in stage] for stage in network.stages]
        self._ladder = Ladder(tiles, network, posterior)

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        """See ``FusedLadderDenseNet``."""
        features = self._stem(with_border(images, self.border))
        skips = []
        for index, stage in enumerate(self._stages):
            for block in stage:
                features = block(features)
            if index in SKIP_STAGES:
                skips.append(features)
        return self._ladder(features, skips)
