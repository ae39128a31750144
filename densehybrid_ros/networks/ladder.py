# SPDX-License-Identifier: Apache-2.0
"""What networks with an encoder of four strides, pyramid pooling and a ladder back to stride 4 have in common."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from densehybrid_ros.networks.blocks import BNReLUConv, LadderStep, SpatialPyramidPooling
from densehybrid_ros.networks.segmentation_network import SegmentationNetwork


class LadderNetwork(SegmentationNetwork):
    """Goes on from the features of ``encode``, which each network has of its own.

    Attributes:
        pyramid: Pools the deepest features.
        ladder: A step for each of the other three, the deepest first.
        classifier: Maps pre-logits to logits.
    """

    prelogit_channels = 128
    pyramid: nn.Module
    ladder: nn.ModuleList
    classifier: nn.Module

    def build_ladder(self, channels: Sequence[int], num_classes: int) -> None:
        """Adds pyramid pooling (256) and a 128-wide ladder for features of these channels at strides 4, 8, 16, 32."""
        *skips, deepest = channels
        width = self.prelogit_channels
        self.num_classes = num_classes
        self.pyramid = SpatialPyramidPooling(deepest, bottleneck=256, level_channels=64, outputs=width)
        self.ladder = nn.ModuleList(LadderStep(width, skip, width) for skip in reversed(skips))
        self.classifier = BNReLUConv(width, num_classes, kernel_size=1, bias=True)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns pre-logits [B, 128, H/4, W/4] and logits [B, K, H/4, W/4]."""
        return self.decode(self.encode(images))

    def encode(self, images: Tensor) -> list[Tensor]:
        """Returns the encoder's features at strides 4, 8, 16 and 32."""
        raise NotImplementedError

    def decode(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Returns pre-logits and logits."""
        *skips, deepest = features
        path = self.pyramid(deepest)
        for step, skip in zip(self.ladder, reversed(skips), strict=True):
            path = step(path, skip)
        return path, self.classifier(path)
