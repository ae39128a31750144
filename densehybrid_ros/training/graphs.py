"""Fewer kernel launches: the network's passes compiled, replayed as CUDA graphs, or both."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from densehybrid_ros.errors import InputError
from densehybrid_ros.training.config import TrainConfig


def accelerate(
    module: nn.Module,
    config: TrainConfig,
    device: torch.device,
    samples: tuple[Any, ...],
    precision: AbstractContextManager,
) -> nn.Module:
    """Returns the module compiled or captured, as the configuration says, or as it is.

    Args:
        module: In training mode on ``device``.
        config: The run.
        device: Where it runs.
        samples: Arguments of the very shapes that training uses; what a CUDA graph is captured with.
        precision: The autocast that training runs the module in.

    Raises:
        InputError: A CUDA graph is wanted without a GPU.
    """
    if config.cuda_graph and device.type != "cuda":
        raise InputError("cuda_graph=true: needs a GPU; use cuda_graph=false")
    if config.compile:
        module = torch.compile(module, mode=config.compile_mode)  # type: ignore[assignment]
    return _captured(module, samples, precision) if config.cuda_graph else module


def _captured(module: nn.Module, samples: tuple[Any, ...], precision: AbstractContextManager) -> nn.Module:
    # The warm-up passes of the capture would move the batch-norm statistics.
    kept = [buffer.clone() for buffer in module.buffers()]
    with precision:
        captured = torch.cuda.make_graphed_callables(module, samples, allow_unused_input=True)
    with torch.no_grad():
        for buffer, value in zip(module.buffers(), kept, strict=True):
            buffer.copy_(value)
    return captured  # type: ignore[return-value]
