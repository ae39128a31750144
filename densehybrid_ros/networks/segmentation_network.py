# SPDX-License-Identifier: Apache-2.0
"""The interface of the networks that the hybrid head attaches to, and ImageNet weights of encoders from files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from densehybrid_ros.errors import InputError, first_line


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


def read_encoder_file(path: Path) -> Mapping[str, Any]:
    """Reads a state dict, as ``torch.save`` or safetensors wrote it.

    Raises:
        InputError: The file can't be read.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: can't be read ({error})") from error
    except Exception as error:  # a damaged pickle can raise anything
        raise InputError(f"{path}: not a readable weights file ({first_line(error)})") from error
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: holds no state dict; save module.state_dict()")
    return content


def fill_encoder(encoder: nn.Module, path: Path) -> None:
    """Copies a file's tensors to those of ``encoder`` with the same names; further ones of the file are left out.

    Raises:
        InputError: The file can't be read, lacks a tensor or has one of another shape.
    """
    state = read_encoder_file(path)
    for name, tensor in encoder.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        found = state.get(name)
        if not isinstance(found, Tensor) or found.shape != tensor.shape:
            raise InputError(f"{path}: no tensor {name} of shape {tuple(tensor.shape)}; is it of this encoder?")
        tensor.copy_(found)
