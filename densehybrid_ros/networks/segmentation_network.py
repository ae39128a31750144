# SPDX-License-Identifier: Apache-2.0
"""The interface of the networks that the hybrid head attaches to."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from densehybrid_ros.errors import InputError


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

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Returns the parameters that training may update more slowly (a pre-trained encoder); none by default."""
        return []

    def load_imagenet_encoder(self, path: Path) -> None:
        """Fills the encoder with ImageNet weights of a file.

        Raises:
            InputError: The network takes none, or the file does not fit.
        """
        raise InputError(f"{path}: {type(self).__name__} takes no ImageNet weights; use init=random")

    @property
    def classifier_layer(self) -> str:
        """Name of the convolution that has one output channel a class, as ``get_submodule`` takes it.

        Raises:
            InputError: The network has no ``classifier`` that is a convolution or has one as ``conv``.
        """
        classifier = getattr(self, "classifier", None)
        if isinstance(classifier, nn.Conv2d):
            return "classifier"
        if isinstance(getattr(classifier, "conv", None), nn.Module):
            return "classifier.conv"
        raise InputError(
            f"{type(self).__name__}: no layer gives one channel a class alone; name a convolution classifier"
        )

    def classifier_features(self, prelogits: Tensor) -> Tensor:
        """Returns what ``classifier_layer`` sees of pre-logits: those, or after batch norm and ReLU [B, C, h, w].

        Raises:
            InputError: As ``classifier_layer``.
        """
        parent = self.get_submodule(self.classifier_layer.rpartition(".")[0])
        norm = getattr(parent, "norm", None) if parent is not self else None
        return prelogits if norm is None else torch.relu(norm(prelogits))
