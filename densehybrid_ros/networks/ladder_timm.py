# SPDX-License-Identifier: Apache-2.0
"""An encoder of timm under the project's ladder: ``timm:NAME`` with any NAME that has features at strides 4 to 32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from densehybrid_ros.errors import InputError
from densehybrid_ros.networks.blocks import Normalization
from densehybrid_ros.networks.encoder_files import read_encoder_file
from densehybrid_ros.networks.foreign import first_line, library, trial
from densehybrid_ros.networks.ladder import LadderNetwork

_STRIDES = (4, 8, 16, 32)
_TRIAL_SIDE = 64


class TimmLadder(LadderNetwork):
    """Pyramid pooling and a 128-wide ladder over an encoder of timm, with that encoder's normalisation of images.

    Args:
        name: One of ``timm.list_models()``.
        num_classes: Number of classes K.

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
        given = library("timm").get_pretrained_cfg(name)
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
        """Fills the encoder with the weights that timm publishes for it, from a local ``.safetensors`` or ``.pth``.

        Raises:
            InputError: The file can't be read, or is of another encoder.
        """
        read_encoder_file(path)
        filled = self._create(path)
        self.encoder.load_state_dict(filled.state_dict())

    def _create(self, weights: Path | None = None) -> torch.nn.Module:
        overlay = {"pretrained_cfg_overlay": {"file": str(weights)}} if weights else {}
        timm = library("timm")
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
