# SPDX-License-Identifier: Apache-2.0
"""What surrounds a parameter update: groups, schedule, precision, moving average."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from densehybrid_ros.networks import DenseHybrid
from densehybrid_ros.training.config import TrainConfig

_RATE_FLOOR = 1e-3  # the cosine ends at this share of the peak rate


def build_optimizer(
    config: TrainConfig, groups: Sequence[dict[str, Any]], device: torch.device
) -> torch.optim.Optimizer:
    """Builds the run's optimiser (Adamax for a flow, AdamW) over groups of parameters with their ``factor``."""
    if config.stage == "flow":
        return torch.optim.Adamax(list(groups), lr=config.learning_rate, weight_decay=config.weight_decay)
    fused = True if device.type == "cuda" else None  # one kernel for all parameters
    return torch.optim.AdamW(list(groups), lr=config.learning_rate, weight_decay=config.weight_decay, fused=fused)


def parameter_groups(model: DenseHybrid, encoder_rate_factor: float) -> list[dict[str, Any]]:
    """Splits parameters into the encoder's and the rest."""
    encoder = {id(parameter) for parameter in model.network.encoder_parameters()}
    groups = []
    for is_encoder, factor in ((True, encoder_rate_factor), (False, 1.0)):
        chosen = [p for p in model.parameters() if (id(p) in encoder) == is_encoder]
        if chosen:
            groups.append({"params": chosen, "factor": factor})
    return groups


def set_rate(optimizer: torch.optim.Optimizer, config: TrainConfig, step: int) -> float:
    """Sets the rate of a step, counted from 0, and returns it."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    decay = 1.0
    if config.schedule == "cosine":
        decay = _RATE_FLOOR + (1 - _RATE_FLOOR) * 0.5 * (1 + math.cos(math.pi * step / config.steps))
    rate = config.learning_rate * warm * decay
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("factor", 1.0)
    return rate


class MovingAverage:
    """Exponential moving average of a model and its buffers.

    ``torch.optim.swa_utils.AveragedModel`` does the same, but reads its counter from the GPU, which makes every
    step wait.

    Attributes:
        module: The average.
        updates: How many models went into it.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Begins with a copy of ``model``, whose parameters and buffers are then followed where they lie."""
        self.module = copy.deepcopy(model)
        self.decay = decay
        self.updates = 0
        # Listed once: walking through the modules at every step costs as long as the update itself.
        pairs = list(zip(_state(self.module), _state(model), strict=True))
        self._means, self._values = _columns([pair for pair in pairs if pair[0].is_floating_point()])
        self._copies, self._counters = _columns([pair for pair in pairs if not pair[0].is_floating_point()])

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


def _state(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _columns(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    return [first for first, _ in pairs], [second for _, second in pairs]


def autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[Any]:
    """Returns the precision that the network runs in: bfloat16 on a GPU, float32 on a CPU."""
    if device.type == "cuda":
        return torch.autocast(device.type, torch.bfloat16, cache_enabled=not config.cuda_graph)
    return nullcontext()
