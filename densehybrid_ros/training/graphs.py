# SPDX-License-Identifier: Apache-2.0
"""Fewer kernel launches: the network's passes replayed as CUDA graphs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from densehybrid_ros.errors import InputError
from densehybrid_ros.training.config import TrainConfig

_WARM_UP_PASSES = 3  # before a capture: libraries choose their algorithms

Result = TypeVar("Result")


def accelerate(
    module: nn.Module,
    config: TrainConfig,
    device: torch.device,
    samples: tuple[Any, ...],
    precision: AbstractContextManager[Any],
) -> nn.Module:
    """Returns the module, in training mode, captured in a CUDA graph where the configuration says so, or as it is.

    Args:
        module: Is on ``device``.
        config: The run.
        device: Where it runs.
        samples: Arguments of the very shapes that training uses.
        precision: The autocast that training runs the module in.

    Raises:
        InputError: A CUDA graph is wanted without a GPU.
    """
    if not config.cuda_graph:
        return module
    if device.type != "cuda":
        raise InputError("cuda_graph=true: needs a GPU; use cuda_graph=false")
    # Gradients are accumulated on the stream of the step, not on that of the capture: torch warns of it and syncs.
    warnings.filterwarnings("ignore", message="The AccumulateGrad node's stream does not match")
    # The warm-up passes of the capture would move the batch-norm statistics.
    kept = [buffer.clone() for buffer in module.buffers()]
    with precision:
        captured = torch.cuda.make_graphed_callables(module, samples, allow_unused_input=True)
    with torch.no_grad():
        for buffer, value in zip(module.buffers(), kept, strict=True):
            buffer.copy_(value)
    return captured  # type: ignore[return-value]


def replayed(run: Callable[[Tensor], Result], sample: Tensor) -> Callable[[Tensor], Result]:
    """Captures what ``run`` does to images of the shape of ``sample``, without gradients; returns what replays it.

    Nothing in ``run`` may wait for the GPU. Every call overwrites what the one before returned.
    """
    images = torch.zeros_like(sample)
    stream = torch.cuda.Stream(sample.device)
    stream.wait_stream(torch.cuda.current_stream(sample.device))
    with torch.cuda.stream(stream), torch.no_grad():
        for _ in range(_WARM_UP_PASSES):
            run(images)
    torch.cuda.current_stream(sample.device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        result = run(images)

    def replay(given: Tensor) -> Result:
        images.copy_(given)
        graph.replay()
        return result

    return replay
