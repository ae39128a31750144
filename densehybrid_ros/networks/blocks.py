# SPDX-License-Identifier: Apache-2.0
"""Building blocks that the networks share: pre-activation convolutions, pyramid pooling, the ladder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from densehybrid_ros.networks.segmentation_network import SegmentationNetwork

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of red, green and blue in 0..1, as most encoders want them."""


class Normalization(nn.Module):
    """Brings images [B, 3, H, W] in 0..1 to the mean 0 and deviation 1 that an encoder was trained with."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Returns (images - mean) / std."""
        return (images - self.mean) / self.std


class BNReLUConv(nn.Sequential):
    """Batch normalisation, ReLU and a convolution with "same" padding, in this order (pre-activation)."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int, bias: bool = False) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2, bias=bias)


class SpatialPyramidPooling(nn.Module):
    """Pyramid pooling: a bottleneck, averages over coarse grids, and their fusion.

    Grids have 8, 4, 2 and 1 rows and as many columns as the aspect ratio of the feature map asks for.
    """

    def __init__(
        self, inputs: int, bottleneck: int, level_channels: int, outputs: int, grids: Sequence[int] = (8, 4, 2, 1)
    ) -> None:
        super().__init__()
        self.grids = tuple(grids)
        self.bottleneck = BNReLUConv(inputs, bottleneck, kernel_size=1)
        self.levels = nn.ModuleList(BNReLUConv(bottleneck, level_channels, kernel_size=1) for _ in grids)
        self.fuse = BNReLUConv(bottleneck + len(self.grids) * level_channels, outputs, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """Maps [B, inputs, h, w] to [B, outputs, h, w]."""
        features = self.bottleneck(features)
        height, width = features.shape[2:]
        maps = [features]
        for rows, level in zip(self.grids, self.levels, strict=True):
            grid = (rows, max(1, _rounded(width * rows, height)))
            pooled = level(functional.adaptive_avg_pool2d(features, grid))
            maps.append(functional.interpolate(pooled, size=(height, width), mode="bilinear", align_corners=False))
        return self.fuse(torch.cat(maps, dim=1))


def pooling_matrix(cells: int, length: int) -> Tensor:
    """Returns a matrix [cells, length] whose rows take the means of ``adaptive_avg_pool2d`` along one axis."""
    cell, at = torch.arange(cells)[:, None], torch.arange(length)[None]
    inside = (at >= cell * length // cells) & (at < ((cell + 1) * length + cells - 1) // cells)
    return inside.float() / inside.float().sum(1, keepdim=True)


def _rounded(part: int, whole: int) -> int:
    """``round(part / whole)`` in whole numbers, which an exported graph of any size can hold."""
    return (2 * part + whole - 1 + part // whole % 2) // (2 * whole)


class LadderStep(nn.Module):
    """One step of the upsampling path: enlarge, add the projected skip features, blend with a 3x3 convolution."""

    def __init__(self, inputs: int, skip_inputs: int, outputs: int) -> None:
        super().__init__()
        self.bottleneck = BNReLUConv(skip_inputs, inputs, kernel_size=1)
        self.blend = BNReLUConv(inputs, outputs, kernel_size=3)

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        """Maps [B, inputs, h, w] and skip [B, skip_inputs, H, W] to [B, outputs, H, W]."""
        skip = self.bottleneck(skip)
        features = functional.interpolate(features, size=skip.shape[2:], mode="bilinear", align_corners=False)
        return self.blend(features + skip)


class LadderNetwork(SegmentationNetwork):
    """Goes on from the features of ``encode``, which each network has of its own.

    ``pyramid`` pools the deepest features; ``ladder`` has a step for each of the other three, the deepest first.
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
