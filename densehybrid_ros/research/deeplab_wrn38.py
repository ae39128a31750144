# SPDX-License-Identifier: Apache-2.0
"""DeepLabV3+ (Chen et al. 2018) on WideResNet-38, the paper's network for Fishyscapes and SegmentMeIfYouCan.

The encoder (Wu, Shen and van den Hengel 2019, "Wider or deeper") is the variant with pre-activation (He et al. 2016),
dilated to stride 8, as NVIDIA trained it for Cityscapes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from densehybrid_ros.networks.blocks import IMAGENET_MEAN, IMAGENET_STD, Normalization
from densehybrid_ros.networks.segmentation_network import SegmentationNetwork


class _Stage(NamedTuple):
    """Blocks of one width; ``widths`` are the output channels of each convolution of a block."""

    blocks: int
    widths: tuple[int, ...]
    stride: int = 1
    dilation: int = 1
    dropout: float = 0.0


_STEM_CHANNELS = 64
_STAGES = (
    _Stage(3, (128, 128)),
    _Stage(3, (256, 256)),
    _Stage(6, (512, 512), stride=2),
    _Stage(3, (512, 1024), dilation=2),
    _Stage(1, (512, 1024, 2048), dilation=4, dropout=0.3),
    _Stage(1, (1024, 2048, 4096), dilation=4, dropout=0.5),
)
_POOLED_STAGES = (0, 1)  # a 3x3 max pooling of stride 2 stands before these
_DILATIONS = (12, 24, 36)  # of the atrous pyramid at stride 8
_PYRAMID_CHANNELS = 256
_FINE_CHANNELS = 48


class ResidualBlock(nn.Module):
    """Norm-ReLU-convolution two or three times, added to the input.

    Two widths make two 3x3 convolutions, three a bottleneck of 1x1, 3x3 and 1x1. Where shapes differ, the input passes
    a 1x1 convolution after the first norm and ReLU.
    """

    def __init__(self, inputs: int, stage: _Stage, stride: int) -> None:
        super().__init__()
        kernels = (3, 3) if len(stage.widths) == 2 else (1, 3, 1)
        layers: list[nn.Module] = []
        channels = inputs
        for index, (width, kernel) in enumerate(zip(stage.widths, kernels, strict=True)):
            if index > 0:
                layers += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
            if index == len(kernels) - 1 and stage.dropout > 0:
                layers.append(nn.Dropout2d(stage.dropout))
            dilation, step = stage.dilation if kernel == 3 else 1, stride if index == 0 else 1
            layers.append(nn.Conv2d(channels, width, kernel, step, dilation * (kernel // 2), dilation, bias=False))
            channels = width
        self.norm = nn.BatchNorm2d(inputs)
        self.relu = nn.ReLU(inplace=True)
        self.layers = nn.Sequential(*layers)
        fits = stride == 1 and inputs == channels
        self.projection = None if fits else nn.Conv2d(inputs, channels, 1, stride, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Maps [B, inputs, h, w] to [B, widths[-1], h / stride, w / stride]."""
        activated = self.relu(self.norm(features))
        shortcut = features if self.projection is None else self.projection(activated)
        return self.layers(activated) + shortcut


class WideResNet38(nn.Module):
    """The encoder: a 3x3 convolution, then six stages of residual blocks, two of them after max pooling.

    ``width_divisor`` divides every width; 1 is the published network, more makes small ones for tests.
    """

    def __init__(self, width_divisor: int = 1) -> None:
        super().__init__()
        channels = _STEM_CHANNELS // width_divisor
        self.stem = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        stages = []
        for stage in _STAGES:
            scaled = stage._replace(widths=tuple(width // width_divisor for width in stage.widths))
            blocks = []
            for index in range(stage.blocks):
                blocks.append(ResidualBlock(channels, scaled, stage.stride if index == 0 else 1))
                channels = scaled.widths[-1]
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.channels = channels
        self.skip_channels = _STAGES[0].widths[-1] // width_divisor

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Maps images [B, 3, H, W] to features at stride 2 [B, 128, H/2, W/2] and stride 8 [B, 4096, H/8, W/8]."""
        features = self.stem(images)
        maps = []
        for index, stage in enumerate(self.stages):
            features = stage(self.pool(features) if index in _POOLED_STAGES else features)
            maps.append(features)
        return maps[0], maps[-1]


def _conv_norm_relu(inputs: int, outputs: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=dilation * (kernel // 2), dilation=dilation, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class AtrousPyramid(nn.Module):
    """The image's mean, a 1x1 convolution and three dilated 3x3 convolutions side by side."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.mean = _conv_norm_relu(inputs, outputs, kernel=1)
        branches = [_conv_norm_relu(inputs, outputs, kernel=1)]
        branches += [_conv_norm_relu(inputs, outputs, kernel=3, dilation=dilation) for dilation in _DILATIONS]
        self.branches = nn.ModuleList(branches)

    def forward(self, features: Tensor) -> Tensor:
        """Maps [B, inputs, h, w] to [B, 5 * outputs, h, w]; the image's mean comes first."""
        mean = self.mean(features.mean(dim=(2, 3), keepdim=True))
        return torch.cat([mean.expand(-1, -1, *features.shape[2:]), *(branch(features) for branch in self.branches)], 1)


class DecoderClassifier(nn.Module):
    """Two 3x3 convolutions with norm and ReLU, then the 1x1 convolution to logits, which has no bias.

    ``norm`` holds all before the last ReLU and ``conv`` all after it, as in the classifiers of the other networks.
    """

    def __init__(self, inputs: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.Sequential(
            *_conv_norm_relu(inputs, width, kernel=3),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.conv = nn.Conv2d(width, num_classes, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Maps [B, inputs, h, w] to logits [B, K, h, w]."""
        return self.conv(functional.relu(self.norm(features)))


class DeepLabV3Plus(SegmentationNetwork):
    """WideResNet-38, an atrous pyramid at stride 8 and a decoder at stride 2; normalises its input itself.

    What takes the place of the pre-logits, and feeds the dataset-posterior head as in the authors' code, is the
    decoder's input: 48 channels of the features at stride 2 beside 256 of the enlarged pyramid. The paper names the
    pre-logits instead. Training needs two images or more a batch and process, because batch norm sees the image's mean
    at one position.
    """

    output_stride = 2
    input_stride = 8
    align_corners = True

    def __init__(self, num_classes: int, width_divisor: int = 1) -> None:
        super().__init__()
        self.num_classes = num_classes
        width, fine = _PYRAMID_CHANNELS // width_divisor, _FINE_CHANNELS // width_divisor
        self.prelogit_channels = fine + width
        self.encoder = WideResNet38(width_divisor)
        self.pyramid = AtrousPyramid(self.encoder.channels, width)
        self.reduce_fine = nn.Conv2d(self.encoder.skip_channels, fine, 1, bias=False)
        self.reduce_pyramid = nn.Conv2d(5 * width, width, 1, bias=False)
        self.classifier = DecoderClassifier(self.prelogit_channels, width, num_classes)
        self.normalization = Normalization(IMAGENET_MEAN, IMAGENET_STD)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the decoder's input [B, 304, H/2, W/2] and logits [B, K, H/2, W/2]."""
        fine, deep = self.encoder(self.normalization(images))
        pyramid = self.reduce_pyramid(self.pyramid(deep))
        pyramid = functional.interpolate(pyramid, size=fine.shape[2:], mode="bilinear", align_corners=True)
        features = torch.cat([self.reduce_fine(fine), pyramid], dim=1)
        return features, self.classifier(features)

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Returns the parameters of the WideResNet encoder."""
        return list(self.encoder.parameters())
