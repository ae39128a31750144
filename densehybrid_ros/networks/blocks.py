# SPDX-License-Identifier: Apache-2.0
"""Building blocks that the networks share: pre-activation convolutions, pyramid pooling, ladder upsampling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

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
        self,
        inputs: int,
        bottleneck: int,
        level_channels: int,
        outputs: int,
        grids: Sequence[int] = (8, 4, 2, 1),
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
