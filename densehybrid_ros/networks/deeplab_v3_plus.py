# SPDX-License-Identifier: Apache-2.0
"""DeepLabV3+ (Chen et al. 2018) on WideResNet-38, the paper's network for Fishyscapes and SegmentMeIfYouCan."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from densehybrid_ros.networks.blocks import IMAGENET_MEAN, IMAGENET_STD, Normalization
from densehybrid_ros.networks.segmentation_network import SegmentationNetwork
from densehybrid_ros.networks.wide_resnet38 import WideResNet38

_DILATIONS = (12, 24, 36)  # of the atrous pyramid at stride 8
_PYRAMID_CHANNELS = 256
_FINE_CHANNELS = 48


def _conv_norm_relu(inputs: int, outputs: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


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

    ``norm`` holds all before the last ReLU and ``conv`` all after it. The classifiers of the other networks have the
    same two parts, which is where scores on a classifier's features reach in.
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
    pre-logits instead.

    Training needs two images or more a batch and process, because batch norm sees the image's mean at one position.

    Args:
        num_classes: Number of classes K.
        width_divisor: Divides every width but that of the logits; 1 is the published network.
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
