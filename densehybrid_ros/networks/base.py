"""The hybrid head and the interface of the networks that it attaches to (paper, section 3.2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from densehybrid_ros.networks.blocks import BNReLUConv
from densehybrid_ros.networks.score_level import ScoreLevel


class SegmentationNetwork(nn.Module):
    """A closed-set segmentation network to which the hybrid head can attach.

    A subclass sets ``num_classes`` (K), ``prelogit_channels`` (C) and ``output_stride``, and its ``forward`` maps
    images, float [B, 3, H, W], RGB in 0..1, to pre-logits [B, C, h, w] and logits [B, K, h, w] where
    h = ceil(H / output_stride). Any normalisation of the input belongs into the network.

    ``input_stride`` is that of its deepest features: ``inference`` pads frames to multiples of it, so that the grids of
    all its features lie on each other.

    ``align_corners`` says how its maps are to be enlarged to the image, as its weights were trained: False puts pixel
    centres at half-integer positions, True makes the corner pixels of map and image coincide.
    """

    num_classes: int
    prelogit_channels: int
    output_stride: int = 4
    input_stride: int = 32
    align_corners: bool = False

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (pre-logits, logits)."""
        raise NotImplementedError

    def encode(self, images: Tensor) -> list[Tensor]:
        """Returns the encoder's features at strides 4, 8, 16 and 32, where the network has such an encoder.

        Raises:
            NotImplementedError: It has none.
        """
        raise NotImplementedError(f"{type(self).__name__} has no features at four strides")

    def decode(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Goes on from what ``encode`` returned to what ``forward`` returns."""
        raise NotImplementedError(f"{type(self).__name__} has no features at four strides")

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Returns the parameters that training may update more slowly (a pre-trained encoder); none by default."""
        return []


class HybridOutput(NamedTuple):
    """What the hybrid model computes per position of its output grid.

    Attributes:
        logits: Closed-set logits s, [B, K, h, w]. Their log-sum-exp is ln p̂(x), equation (4).
        posterior: Two logits of the dataset posterior, [B, 2, h, w]: index 0 inlier, index 1 outlier.
    """

    logits: Tensor
    posterior: Tensor


class DenseHybrid(nn.Module):
    """A segmentation network with the dataset-posterior head g (BN-ReLU-Conv1x1, equation 6) on its pre-logits.

    Attributes:
        level: How its score is brought to one level; None: not at all, which is the paper's score.
    """

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.network = network
        self.level: ScoreLevel | None = None
        self.posterior_head = BNReLUConv(network.prelogit_channels, 2, kernel_size=1, bias=True)

    @property
    def num_classes(self) -> int:
        """Number of closed-set classes K."""
        return self.network.num_classes

    @property
    def align_corners(self) -> bool:
        """How its outputs are to be enlarged: what to pass to ``upsample``."""
        return self.network.align_corners

    @property
    def input_stride(self) -> int:
        """What the sides of its input are to be multiples of."""
        return self.network.input_stride

    def forward(self, images: Tensor) -> HybridOutput:
        """Maps images, float [B, 3, H, W] RGB in 0..1, to low-resolution logits of both heads, on one level."""
        return levelled(self.heads(images), self.level)

    def heads(self, images: Tensor) -> HybridOutput:
        """As ``forward``, without ``level``."""
        prelogits, logits = self.network(images)
        return HybridOutput(logits, self.posterior_head(prelogits))


def levelled(output: HybridOutput, level: ScoreLevel | None) -> HybridOutput:
    """Brings the score of an output to one level, in its logits; None leaves it as it is."""
    if level is None:
        return output
    return output._replace(logits=output.logits + level.offset(*output).to(output.logits.dtype))


def count_parameters(module: nn.Module) -> int:
    """Returns the number of trainable values of ``module``."""
    return sum(parameter.numel() for parameter in module.parameters())


def upsample(maps: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Resizes [B, C, h, w] bilinearly to ``size`` (rows, columns).

    Args:
        maps: Outputs of a network.
        size: (rows, columns) of the result.
        align_corners: The ``align_corners`` of the model that they come from.
    """
    return torch.nn.functional.interpolate(maps, size=size, mode="bilinear", align_corners=align_corners)
