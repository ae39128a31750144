# SPDX-License-Identifier: Apache-2.0
"""The hybrid head on a segmentation network (paper, section 3.2)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from densehybrid_ros.networks.adapter import adapted
from densehybrid_ros.networks.blocks import BNReLUConv


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

    Args:
        network: A ``SegmentationNetwork``, or any module that maps images [B, 3, H, W] to logits, which is adapted.
        classifier: Of such a module: name of the layer whose input is the pre-logits and whose output is the logits,
            such as ``"classifier.4"``.
        options: Of such a module: the other arguments of ``adapter.AdaptedNetwork`` (``mean``, ``std``, ``encoder``,
            ``input_stride``, ``align_corners``).

    Raises:
        InputError: The module has no such layer, or does not run; see ``adapter.AdaptedNetwork``.
    """

    def __init__(self, network: nn.Module, classifier: str | None = None, **options: Any) -> None:
        super().__init__()
        self.network = network = adapted(network, classifier, **options)
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
        """Maps images, float [B, 3, H, W] RGB in 0..1, to low-resolution logits of both heads."""
        prelogits, logits = self.network(images)
        return HybridOutput(logits, self.posterior_head(prelogits))


def count_parameters(module: nn.Module) -> int:
    """Returns the number of trainable values of ``module``."""
    return sum(parameter.numel() for parameter in module.parameters())


def upsample(maps: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Resizes outputs [B, C, h, w] bilinearly to ``size`` (rows, columns), with ``align_corners`` of their model."""
    return torch.nn.functional.interpolate(maps, size=size, mode="bilinear", align_corners=align_corners)
