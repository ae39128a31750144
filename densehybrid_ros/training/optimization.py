# SPDX-License-Identifier: Apache-2.0
"""What an update needs: groups, schedule, precision, moving average, CUDA graphs, and the base of both tasks."""

from __future__ import annotations

import copy
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from densehybrid_ros.errors import InputError
from densehybrid_ros.networks import DenseHybrid
from densehybrid_ros.training.config import TrainConfig
from densehybrid_ros.training.distributed import Processes
from densehybrid_ros.training.mixed_content import MixedBatch

_WARM_UP_PASSES = 3  # before a capture: libraries choose their algorithms
_RATE_FLOOR = 1e-3  # the cosine ends at this share of the peak rate

Model = TypeVar("Model", bound=nn.Module)
Result = TypeVar("Result")
Groups = list[dict[str, Any]]
"""Of parameters: ``params`` and the ``factor`` of the rate that they learn at."""


class Task(ABC, Generic[Model]):
    """What is trained: a model, its moving average and its optimiser.

    Attributes:
        model: Is trained in place.
        average: Its moving average; None where none is kept.
        optimizer: AdamW, or Adamax for a flow, over groups of parameters that each learn at a share of the rate.
    """

    clip_norm: float
    """Norm that a gradient is cut down to."""

    def __init__(
        self,
        config: TrainConfig,
        model: Model,
        groups: list[dict[str, Any]],
        device: torch.device,
        processes: Processes,
    ) -> None:
        self.config, self.model, self.device, self.processes = config, model, device, processes
        self.average = MovingAverage(model, config.ema_decay) if config.ema_decay > 0 else None
        rate, decay = config.learning_rate, config.weight_decay
        if config.stage == "flow":
            self.optimizer: torch.optim.Optimizer = torch.optim.Adamax(groups, lr=rate, weight_decay=decay)
        else:
            fused = True if device.type == "cuda" else None  # one kernel for all parameters
            self.optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=decay, fused=fused)
        self._parameters = list(model.parameters())

    @abstractmethod
    def prepare(self, shape: tuple[int, int, int, int]) -> None:
        """Switches to training, and captures the passes for batches [B, 3, h, w] of ``shape``.

        To be called before threads prepare crops: what they do on a GPU would break the capture of a graph.
        """

    @abstractmethod
    def backward(self, step: int, batch: MixedBatch) -> dict[str, Tensor]:
        """Computes the gradients of a step; returns ``loss`` and what it consists of."""

    @abstractmethod
    def pictures(self, batch: MixedBatch, step: int) -> dict[str, Tensor]:
        """Returns pictures, float [3, H, W] in 0..1, by name."""

    def update(self, step: int, batch: MixedBatch) -> dict[str, Tensor]:
        """Takes one step on a batch; returns ``loss`` and what it consists of."""
        set_rate(self.optimizer, self.config, step)
        losses = self.backward(step, batch)
        nn.utils.clip_grad_norm_(self._parameters, max_norm=self.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)  # a graph's gradients lie in buffers of its own: never add to them
        if self.average is not None:
            self.average.update()
        return {name: value.detach() for name, value in losses.items()}

    def trained(self) -> Model:
        """Returns the moving average of the model, or the model itself where none is kept."""
        return self.average.module if self.average else self.model

    def state_dict(self) -> dict[str, Any]:
        """Returns what a resumed run needs."""
        average = self.average.state_dict() if self.average else None
        return {"model": self.model.state_dict(), "average": average, "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what ``state_dict`` returned."""
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])


class MovingAverage(Generic[Model]):
    """Exponential moving average of a model and its buffers, which are followed where they lie.

    ``torch.optim.swa_utils.AveragedModel`` does the same, but reads its counter from the GPU, which makes every
    step wait.

    Attributes:
        module: The average.
        updates: How many models went into it.
    """

    def __init__(self, model: Model, decay: float) -> None:
        self.module, self.decay, self.updates = copy.deepcopy(model), decay, 0
        # Listed once: walking through the modules at every step costs as long as the update itself.
        states = [[*module.parameters(), *module.buffers()] for module in (self.module, model)]
        self._means, self._values = ([value for value in state if value.is_floating_point()] for state in states)
        self._copies, self._counters = ([value for value in state if not value.is_floating_point()] for state in states)

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the model as it is now."""
        # Early on the average follows quickly, or the random start would linger in it.
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.updates else 0.0
        torch._foreach_lerp_(self._means, self._values, 1 - decay)
        if self._copies:
            torch._foreach_copy_(self._copies, self._counters)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Returns what a resumed run needs."""
        return {"module": self.module.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what ``state_dict`` returned."""
        self.module.load_state_dict(state["module"])
        self.updates = int(state["updates"])


def parameter_groups(model: DenseHybrid, encoder_rate_factor: float) -> Groups:
    """Splits parameters into the encoder's and the rest."""
    encoder = {id(parameter) for parameter in model.network.encoder_parameters()}
    split = [[p for p in model.parameters() if (id(p) in encoder) == within] for within in (True, False)]
    factors = (encoder_rate_factor, 1.0)
    return [{"params": params, "factor": factor} for params, factor in zip(split, factors, strict=True) if params]


def set_rate(optimizer: torch.optim.Optimizer, config: TrainConfig, step: int) -> float:
    """Sets the rate of a step, counted from 0, and returns it."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    decay = 1.0
    if config.schedule == "cosine":
        decay = _RATE_FLOOR + (1 - _RATE_FLOOR) * 0.5 * (1 + math.cos(math.pi * step / config.steps))
    rate = config.learning_rate * warm * decay
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
    return rate


def autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[Any]:
    """Returns the precision that the network runs in: bfloat16 on a GPU, float32 on a CPU."""
    if device.type == "cuda":
        return torch.autocast(device.type, torch.bfloat16, cache_enabled=not config.cuda_graph)
    return nullcontext()


def accelerate(
    module: nn.Module,
    config: TrainConfig,
    device: torch.device,
    samples: tuple[Any, ...],
    precision: AbstractContextManager[Any],
) -> nn.Module:
    """Returns the module, in training mode, captured in a CUDA graph where the configuration says so, or as it is.

    ``samples`` are arguments of the very shapes that training uses, ``precision`` is the autocast that it runs in.

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
