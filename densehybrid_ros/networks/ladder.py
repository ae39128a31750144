"""What networks with an encoder of four strides, pyramid pooling and a ladder back to stride 4 have in common."""

from __future__ import annotations

from torch import Tensor, nn

from densehybrid_ros.networks.base import SegmentationNetwork


class LadderNetwork(SegmentationNetwork):
    """Goes on from the features of ``encode``, which each network has of its own.

    Attributes:
        pyramid: Pools the deepest features.
        ladder: A step for each of the other three, the deepest first.
        classifier: Maps pre-logits to logits.
    """

    pyramid: nn.Module
    ladder: nn.ModuleList
    classifier: nn.Module

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns pre-logits [B, 128, H/4, W/4] and logits [B, K, H/4, W/4]."""
        return self.decode(self.encode(images))

    def decode(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Returns pre-logits and logits."""
        *skips, deepest = features
        path = self.pyramid(deepest)
        for step, skip in zip(self.ladder, reversed(skips), strict=True):
            path = step(path, skip)
        return path, self.classifier(path)
