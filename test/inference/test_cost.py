# SPDX-License-Identifier: Apache-2.0
"""Work of a network, against a count by hand."""

from __future__ import annotations

import pytest
import torch
from tiny_network import tiny_model

from densehybrid_ros.inference.cost import network_cost
from densehybrid_ros.networks import DenseHybrid, build_network


def test_operations_and_bytes_of_the_tiny_network() -> None:
    cost = network_cost(tiny_model(), (32, 48), torch.float16)
    cells = 8 * 12
    assert cost.flops == 2 * cells * (4 * 4 * 3 * 8 + 8 * 5 + 8 * 2)
    weights = (4 * 4 * 3 * 8 + 8) + (8 * 5 + 5) + (8 * 2 + 2)
    values = 32 * 48 * 3 + 8 * cells + (8 + 5) * cells + (8 + 2) * cells + weights
    assert cost.megabytes == pytest.approx(2 * values / 1e6)
    closed = network_cost(tiny_model(), (32, 48), torch.float16, closed_set=True)
    assert cost.flops - closed.flops == 2 * cells * 8 * 2
    assert cost.floor_ms(1e12, 1e9) == pytest.approx(1e3 * max(cost.flops / 1e12, 2 * values / 1e9))


def test_ldn121_needs_what_the_paper_says() -> None:
    with torch.device("meta"):
        network = DenseHybrid(build_network("ldn121", 19))
    cost = network_cost(network, (1024, 2048), torch.float16)
    assert cost.flops / 2e9 == pytest.approx(202, rel=0.05)  # table 7 counts multiply-adds
