# SPDX-License-Identifier: Apache-2.0
"""What surrounds an update: the moving average follows the model where it lies."""

from __future__ import annotations

import copy

import torch
from tiny import TinyNetwork

from densehybrid_ros.networks import DenseHybrid
from densehybrid_ros.training.optimization import MovingAverage


def test_the_average_follows_weights_statistics_and_counters() -> None:
    torch.manual_seed(0)
    model = DenseHybrid(TinyNetwork())
    average = MovingAverage(model, decay=0.9)
    expected: dict[str, torch.Tensor] = {}
    for number in range(4):
        with torch.no_grad():
            for value in model.state_dict().values():
                value.add_(torch.rand_like(value) if value.is_floating_point() else 1)
        decay = min(0.9, (1 + number) / (10 + number)) if number else 0.0
        for name, value in model.state_dict().items():
            mixed = value.is_floating_point() and number
            expected[name] = expected[name].lerp(value, 1 - decay) if mixed else value.clone()
        average.update()
    for name, value in average.module.state_dict().items():
        torch.testing.assert_close(value, expected[name])


def test_a_resumed_average_goes_on_with_the_model_it_was_made_for() -> None:
    torch.manual_seed(0)
    model = DenseHybrid(TinyNetwork())
    first = MovingAverage(model, decay=0.9)
    first.update()
    second = MovingAverage(model, decay=0.9)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    with torch.no_grad():
        for value in model.parameters():
            value.add_(1)
    first.update()
    second.update()
    for name, value in first.module.state_dict().items():
        assert torch.equal(value, second.module.state_dict()[name])
    assert second.updates == 2
