"""Averaging models that share an origin."""

from __future__ import annotations

import pytest
import torch

from densehybrid_ros.errors import InputError
from densehybrid_ros.networks import DenseHybrid, build_network
from densehybrid_ros.training.averaging import Ingredient, average_models


def light(seed: int) -> DenseHybrid:
    torch.manual_seed(seed)
    return DenseHybrid(build_network("light", 19))


def test_weights_are_averaged_and_an_untrained_head_stays_out() -> None:
    first, second, origin = light(1), light(2), light(3)
    mean = average_models([Ingredient(first, 2, True), Ingredient(second, 1, True), Ingredient(origin, 1, False)])
    states = [model.state_dict() for model in (first, second, origin)]
    for key, value in mean.items():
        a, b, c = (state[key] for state in states)
        if not value.is_floating_point():
            assert torch.equal(value, a)
        elif key.startswith("posterior_head."):
            torch.testing.assert_close(value, (2 * a + b) / 3)
        else:
            torch.testing.assert_close(value, (2 * a + b + c) / 4)


def test_a_single_model_stays_as_it_is() -> None:
    model = light(1)
    mean = average_models([Ingredient(model, 0.3, True)])
    for key, value in model.state_dict().items():
        torch.testing.assert_close(mean[key], value)


@pytest.mark.parametrize(
    ("shares", "heads", "message"),
    [
        ((1, -1), (True, True), "negative"),
        ((0, 0), (True, True), "all zero"),
        ((1, 0), (False, True), "posterior head"),
    ],
)
def test_impossible_means_are_refused(shares: tuple, heads: tuple, message: str) -> None:
    model = light(1)
    with pytest.raises(InputError, match=message):
        average_models([Ingredient(model, share, head) for share, head in zip(shares, heads, strict=True)])


def test_another_architecture_is_refused() -> None:
    other = DenseHybrid(build_network("ldn121", 19))
    with pytest.raises(InputError, match="architecture"):
        average_models([Ingredient(light(1), 1, True), Ingredient(other, 1, True)])
