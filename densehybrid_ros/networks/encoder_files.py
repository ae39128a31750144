# SPDX-License-Identifier: Apache-2.0
"""ImageNet weights of an encoder, from a file on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from densehybrid_ros.errors import InputError


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
        raise InputError(f"{path}: not a readable weights file ({str(error).splitlines()[0]})") from error
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
