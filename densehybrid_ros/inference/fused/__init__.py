# SPDX-License-Identifier: Apache-2.0
"""The project's networks as few large kernels, for GPUs: fp16, batch 1, any input size.

What PyTorch and its compilers do in a pass of its own over device memory happens here while a kernel has the values at
hand: normalisation and ReLU as it reads, the next normalisation, the enlarged features of the ladder and residuals
before it writes. A dense block lies in one buffer, of which each layer writes its own channels, so nothing is joined.
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch

from densehybrid_ros.inference.fused.tiles import Tiles
from densehybrid_ros.networks import DenseHybrid
from densehybrid_ros.networks.ladder_densenet import LadderDenseNet121
from densehybrid_ros.networks.light import LightNetwork

if TYPE_CHECKING:
    from densehybrid_ros.inference.fused.networks import FusedLadderDenseNet, FusedLight


def fused_problem(network: DenseHybrid, device: torch.device) -> str | None:
    """Says in a few words why ``network`` can't be fused for this device; None where it can."""
    if device.type != "cuda":
        return "fused kernels need a GPU"
    if type(network.network) not in (LadderDenseNet121, LightNetwork):
        return f"no fused kernels for {type(network.network).__name__}"
    if torch.version.cuda is None or torch.cuda.get_device_capability(device) < (8, 0):
        return "fused kernels need an NVIDIA GPU of compute capability 8.0 or more"
    if find_spec("triton") is None:
        return "fused kernels need Triton"
    if not any(shutil.which(name) for name in ("gcc", "clang", "cc")):
        return "fused kernels need a C compiler, which Triton starts kernels with"
    return None


def fuse(network: DenseHybrid, tiles: Tiles, closed_set: bool = False) -> FusedLadderDenseNet | FusedLight:
    """Folds the normalisations of ``network``, float32 on its device, and lays the weights out for the kernels."""
    # Importing the kernels needs Triton.
    from densehybrid_ros.inference.fused.networks import FusedLadderDenseNet, FusedLight

    kind = FusedLadderDenseNet if isinstance(network.network, LadderDenseNet121) else FusedLight
    return kind(tiles, network.network, None if closed_set else network.posterior_head)
