# SPDX-License-Identifier: Apache-2.0
"""LDN-121: the ladder-style DenseNet-121 of the paper's StreetHazards and SegmentMeIfYouCan experiments."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from densehybrid_ros.networks.blocks import BNReLUConv, LadderNetwork, LadderStep, SpatialPyramidPooling

_GROWTH = 32
_BOTTLENECK_FACTOR = 4
_BLOCK_LAYERS = (6, 12, 24, 16)
_STEM_CHANNELS = 64


class DenseLayer(nn.Module):
    """BN-ReLU-Conv1x1-BN-ReLU-Conv3x3 whose output is appended to its input."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        width = _BOTTLENECK_FACTOR * _GROWTH
        self.reduce = BNReLUConv(inputs, width, kernel_size=1)
        self.grow = BNReLUConv(width, _GROWTH, kernel_size=3)

    def forward(self, features: Tensor) -> Tensor:
        """Maps [B, C, h, w] to [B, C + growth, h, w]."""
        return torch.cat([features, self.grow(self.reduce(features))], dim=1)


class Transition(nn.Sequential):
    """Halves the channels, then the resolution."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.reduce = BNReLUConv(inputs, inputs // 2, kernel_size=1)
        self.pool = nn.AvgPool2d(kernel_size=3, stride=2, padding=1, count_include_pad=False)


class LadderDenseNet121(LadderNetwork):
    """DenseNet-121 encoder, pyramid pooling at stride 32 and a ladder to stride 4; takes RGB in 0..1 as it is."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.stem = nn.Sequential(
            nn.Conv2d(3, _STEM_CHANNELS, kernel_size=7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(_STEM_CHANNELS),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=2, stride=2),
        )
        blocks, transitions, skips = [], [], []
        channels = _STEM_CHANNELS
        for layers in _BLOCK_LAYERS:
            blocks.append(nn.Sequential(*(DenseLayer(channels + i * _GROWTH) for i in range(layers))))
            channels += layers * _GROWTH
            if len(blocks) < len(_BLOCK_LAYERS):
                skips.append(channels)
                transitions.append(Transition(channels))
                channels //= 2
        self.blocks = nn.ModuleList(blocks)
        self.transitions = nn.ModuleList(transitions)
        self.pyramid = SpatialPyramidPooling(channels, bottleneck=512, level_channels=128, outputs=512)
        widths = (512, 256, 256, self.prelogit_channels)
        self.ladder = nn.ModuleList(
            LadderStep(widths[i], skip, widths[i + 1]) for i, skip in enumerate(reversed(skips))
        )
        self.classifier = BNReLUConv(self.prelogit_channels, num_classes, kernel_size=1, bias=True)

    def encode(self, images: Tensor) -> list[Tensor]:
        """Returns the outputs of the four dense blocks: 256, 512, 1024 and 1024 channels."""
        features = self.stem(images)
        found = []
        for block, transition in zip(self.blocks[:-1], self.transitions, strict=True):
            found.append(block(features))
            features = transition(found[-1])
        return [*found, self.blocks[-1](features)]

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Returns the parameters of the DenseNet encoder."""
        modules: list[nn.Module] = [self.stem, self.blocks, self.transitions]
        return [parameter for module in modules for parameter in module.parameters()]
