# SPDX-License-Identifier: Apache-2.0
"""Networks of other libraries by name: timm's encoders, torchvision's and segmentation_models_pytorch's networks.

``timm:NAME`` is any encoder that has features at strides 4 to 32, under the project's ladder.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from densehybrid_ros.errors import InputError, first_line
from densehybrid_ros.networks.base import AdaptedNetwork, trial
from densehybrid_ros.networks.blocks import IMAGENET_MEAN, IMAGENET_STD, LadderNetwork, Normalization
from densehybrid_ros.networks.segmentation_network import SegmentationNetwork, read_encoder_file

_STRIDES = (4, 8, 16, 32)
_TRIAL_SIDE = 64


def _library(name: str) -> Any:
    """Imports a module of the extra ``networks``."""
    try:
        return import_module(name)
    except Exception as error:
        package = name.partition(".")[0]
        raise InputError(
            f"{package}: does not import ({first_line(error)}); pip install densehybrid_ros[networks]"
        ) from error


class TimmLadder(LadderNetwork):
    """Pyramid pooling and a 128-wide ladder over an encoder of timm, with that encoder's normalisation of images.

    Raises:
        InputError: There is no such encoder, or it has no features [B, C, h, w] at strides 4, 8, 16 and 32.
    """

    def __init__(self, name: str, num_classes: int) -> None:
        super().__init__()
        self._name = name
        self.encoder = self._create()
        features: Any = self.encoder.feature_info
        reductions = list(features.reduction())
        if not set(_STRIDES) <= set(reductions):
            raise InputError(f"architecture timm:{name}: has features at strides {reductions}; needs 4, 8, 16 and 32")
        self._levels = [reductions.index(stride) for stride in _STRIDES]
        channels = [features.channels()[level] for level in self._levels]
        given = _library("timm").get_pretrained_cfg(name)
        self.normalization = Normalization(given.mean, given.std)
        self.build_ladder(channels, num_classes)
        self._try(channels)

    def encode(self, images: Tensor) -> list[Tensor]:
        """Returns the encoder's features at strides 4, 8, 16 and 32."""
        found = self.encoder(self.normalization(images))
        return [found[level] for level in self._levels]

    def encoder_parameters(self) -> list[torch.nn.Parameter]:
        """Returns the parameters of timm's encoder."""
        return list(self.encoder.parameters())

    def load_imagenet_encoder(self, path: Path) -> None:
        """Fills the encoder with the weights that timm publishes for it."""
        read_encoder_file(path)
        filled = self._create(path)
        self.encoder.load_state_dict(filled.state_dict())

    def _create(self, weights: Path | None = None) -> torch.nn.Module:
        overlay = {"pretrained_cfg_overlay": {"file": str(weights)}} if weights else {}
        timm = _library("timm")
        try:
            made: torch.nn.Module = timm.create_model(
                self._name, pretrained=weights is not None, features_only=True, **overlay
            )
        except Exception as error:
            what = f"{weights}: does not fit" if weights else f"architecture timm:{self._name}: timm makes no encoder"
            raise InputError(f"{what} ({first_line(error)})") from error
        return made

    def _try(self, channels: list[int]) -> None:
        try:
            with trial(self):
                shapes = [tuple(part.shape) for part in self.encode(torch.zeros(1, 3, _TRIAL_SIDE, _TRIAL_SIDE))]
        except Exception as error:
            raise InputError(
                f"architecture timm:{self._name}: takes no images of every size ({first_line(error)})"
            ) from error
        wanted = [(1, c, _TRIAL_SIDE // s, _TRIAL_SIDE // s) for c, s in zip(channels, _STRIDES, strict=True)]
        if shapes != wanted:
            raise InputError(f"architecture timm:{self._name}: its features have shapes {shapes}, not {wanted}")


def _torchvision(name: str, num_classes: int) -> SegmentationNetwork:
    models = _library("torchvision.models")
    known = models.list_models(models.segmentation)
    if name not in known:
        raise InputError(f"architecture torchvision:{name}: unknown; choose one of {', '.join(known)}")
    module = models.get_model(name, weights=None, weights_backbone=None, num_classes=num_classes)
    return _on_imagenet(module, "classifier.4", "backbone")


def _smp(name: str, num_classes: int) -> SegmentationNetwork:
    decoder, _, encoder = name.partition(":")
    smp = _library("segmentation_models_pytorch")
    try:
        module = smp.create_model(decoder, encoder, encoder_weights=None, classes=num_classes)
    except Exception as error:
        raise InputError(f"architecture smp:{name}: write smp:DECODER:ENCODER ({first_line(error)})") from error
    return _on_imagenet(module, "segmentation_head.0", "encoder")


LIBRARIES: dict[str, Callable[[str, int], SegmentationNetwork]] = {
    "timm": TimmLadder,
    "torchvision": _torchvision,
    "smp": _smp,
}
"""What stands before the first colon of an architecture -> what builds it from the rest and the number of classes."""


def _on_imagenet(module: Any, classifier: str, encoder: str) -> SegmentationNetwork:
    return AdaptedNetwork(module, classifier, mean=IMAGENET_MEAN, std=IMAGENET_STD, encoder=encoder)
