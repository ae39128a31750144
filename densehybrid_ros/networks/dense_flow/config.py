# SPDX-License-Identifier: Apache-2.0
"""Shapes of a DenseFlow, and the named ones."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FlowConfig:
    """The shape of a DenseFlow. Its name L-k says L = sum of units x modules, k = ``noise_channels``.

    Attributes:
        units: Number of units in each of the three blocks.
        modules: Number of invertible modules (ActNorm, 1x1 convolution, coupling) in each unit of a block.
        noise_channels: k, channels of noise that are appended between two units of a block.
        width: Channels of the first convolution of a coupling network.
        growth: Channels that each of its dense layers adds.
        layers: Number of its dense layers.
    """

    units: tuple[int, ...]
    modules: tuple[int, ...]
    noise_channels: int
    width: int = 48
    growth: int = 24
    layers: int = 3

    def __post_init__(self) -> None:
        if len(self.units) != len(self.modules):
            raise ValueError(f"units {self.units} and modules {self.modules}: one entry each for every block")

    @property
    def stride(self) -> int:
        """Images need sides that are multiples of this: every block halves them."""
        return 2 ** len(self.units)


FLOWS: dict[str, FlowConfig] = {
    "dense_flow_45_6": FlowConfig(units=(5, 3, 1), modules=(3, 5, 15), noise_channels=6),
    "dense_flow_25_6": FlowConfig(units=(3, 2, 1), modules=(3, 4, 8), noise_channels=6),
    "dense_flow_tiny": FlowConfig(units=(2, 1, 1), modules=(1, 1, 2), noise_channels=2, width=8, growth=8, layers=1),
}
"""Name in a configuration -> shape. The paper names 45-6; 25-6 is the smaller one of the authors' later work, tiny is
for tests and CPUs. Widths of the coupling networks are this project's choice: the paper gives none."""
