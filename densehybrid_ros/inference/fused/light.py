# SPDX-License-Identifier: Apache-2.0
"""The light network from fused layers."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from densehybrid_ros.inference.fused.depthwise import Depthwise
from densehybrid_ros.inference.fused.device_functions import RELU6
from densehybrid_ros.inference.fused.images import with_border
from densehybrid_ros.inference.fused.ladder import Ladder
from densehybrid_ros.inference.fused.pointwise import Pointwise
from densehybrid_ros.inference.fused.stems import Stem
from densehybrid_ros.inference.fused.tiles import Tiles
from densehybrid_ros.networks.light import PIXEL_MEAN, PIXEL_STD, SKIP_STAGES


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
    """The light network."""

    border = PIXEL_MEAN

    def __init__(self, tiles: Tiles, network: Any, posterior: Any) -> None:
        self._stem = Stem(tiles, network.stem[0], network.stem[1], PIXEL_MEAN, PIXEL_STD)
        self._stages = [[_Residual(tiles, block) for block in stage] for stage in network.stages]
        self._ladder = Ladder(tiles, network, posterior)

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        """See ``FusedNetwork``."""
        features = self._stem(with_border(images, self.border))
        skips = []
        for index, stage in enumerate(self._stages):
            for block in stage:
                features = block(features)
            if index in SKIP_STAGES:
                skips.append(features)
        return self._ladder(features, skips)
