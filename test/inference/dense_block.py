"""A network of two dense layers with pooling and skip: what is concatenated, pooled and read in several ways."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from densehybrid_ros.networks import SegmentationNetwork
from densehybrid_ros.networks.blocks import BNReLUConv

SIZE = (32, 48)


class DenseBlockNetwork(SegmentationNetwork):
    """Channels of the concatenation differ in extent by a factor of 300."""

    num_classes, prelogit_channels = 5, 12

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2))
        self.first, self.second = BNReLUConv(8, 4, 3), BNReLUConv(12, 4, 3, bias=True)
        self.down = nn.AvgPool2d(3, 2, 1, count_include_pad=False)
        self.skip, self.deep = BNReLUConv(16, 12, 1), BNReLUConv(16, 12, 1)
        self.classifier = BNReLUConv(12, 5, 1, bias=True)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns pre-logits and logits."""
        features = self.stem(images)
        features = torch.cat([features, self.first(features)], dim=1)
        features = torch.cat([features, self.second(features)], dim=1)
        deep = self.deep(self.down(features))
        deep = nn.functional.interpolate(deep, size=features.shape[2:], mode="bilinear")
        prelogits = self.skip(features) + deep
        return prelogits, self.classifier(prelogits)


def dense_network(seed: int = 0) -> DenseBlockNetwork:
    """Returns the network in evaluation mode with statistics that fit its activations."""
    torch.manual_seed(seed)
    network = DenseBlockNetwork()
    with torch.no_grad():
        network.first.conv.weight *= torch.tensor([10.0, 1.0, 0.1, 0.03]).reshape(-1, 1, 1, 1)
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.momentum = 1.0
                nn.init.normal_(part.bias, 0, 0.3)
        network.train()
        for images in inputs(6):
            network(images)
    return network.eval()


def inputs(count: int, seed: int = 0) -> list[Tensor]:
    """Returns smooth random pictures [1, 3, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    grids = torch.rand(count, 3, 6, 9, generator=generator)
    pictures = nn.functional.interpolate(grids, SIZE, mode="bilinear")
    return [picture.unsqueeze(0).contiguous(memory_format=torch.channels_last) for picture in pictures]
