"""Fewer kernel launches: the network's passes compiled, or replayed as CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from densehybrid_ros.errors import InputError
from densehybrid_ros.training.config import TrainConfig
from densehybrid_ros.training.optimization import autocast


def accelerate(
    module: nn.Module, config: TrainConfig, device: torch.device, sample: Tensor | None
) -> Callable[..., Any]:
    """Returns the module compiled or captured, as the configuration says, or as it is.

    Args:
        module: In training mode on ``device``.
        config: The run.
        device: Where it runs.
        sample: Input of the very shape that training uses; what a CUDA graph is captured with.

    Raises:
        InputError: A CUDA graph is wanted without a GPU.
    """
    if config.cuda_graph:
        if device.type != "cuda" or sample is None:
            raise InputError("cuda_graph=true: needs a GPU; use cuda_graph=false")
        return _captured(module, config, device, sample)
    if config.compile:
        return torch.compile(module, mode=config.compile_mode)
    return module


def _captured(module: nn.Module, config: TrainConfig, device: torch.device, sample: Tensor) -> Callable[..., Any]:
    # The warm-up passes of the capture would move the batch-norm statistics.
    kept = [buffer.clone() for buffer in module.buffers()]
    with autocast(config, device):
        captured = torch.cuda.make_graphed_callables(module, (sample,), allow_unused_input=True)
    with torch.no_grad():
        for buffer, value in zip(module.buffers(), kept, strict=True):
            buffer.copy_(value)
    return captured
