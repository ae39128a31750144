# SPDX-License-Identifier: Apache-2.0
"""What a network must compute and move at least: the floor that a measured time is compared with."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from densehybrid_ros.networks import DenseHybrid


@dataclass(frozen=True)
class Cost:
    """Work of one frame.

    Attributes:
        flops: Floating-point operations of convolutions and products, two a multiply-add.
        megabytes: Bytes / 10^6 that convolutions read and write, if everything between them is fused into them: each
            reads its input and weights once and writes its output once.
    """

    flops: float
    megabytes: float

    def floor_ms(self, flops_per_second: float, bytes_per_second: float) -> float:
        """Returns the milliseconds that a device of these rates needs at least."""
        return 1e3 * max(self.flops / flops_per_second, 1e6 * self.megabytes / bytes_per_second)


def network_cost(network: DenseHybrid, size: tuple[int, int], dtype: torch.dtype, closed_set: bool = False) -> Cost:
    """Counts without computing anything (on the meta device).

    Args:
        network: The model.
        size: (height, width) of its input.
        dtype: Of activations and weights.
        closed_set: Leave the dataset posterior out.
    """
    module: nn.Module = copy.deepcopy(network.network if closed_set else network).to("meta").eval()
    counted = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal counted
        values = inputs[0].numel() + output.numel() + sum(parameter.numel() for parameter in layer.parameters())
        counted += values * dtype.itemsize

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(torch.empty(1, 3, *size, device="meta"))
    return Cost(float(counter.get_total_flops()), counted / 1e6)
