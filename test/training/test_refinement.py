"""Which rounds are kept, and what is made of them."""

from __future__ import annotations

import pytest
import torch

from densehybrid_ros.networks import DenseHybrid, build_network
from densehybrid_ros.training.refinement import Refinement, mean_figure

KEY = "posterior_head.conv.bias"


def model(value: float) -> DenseHybrid:
    """A model whose posterior's bias is ``value``."""
    torch.manual_seed(0)
    made = DenseHybrid(build_network("light", 19))
    with torch.no_grad():
        made.state_dict()[KEY].fill_(value)
    return made


def bias(of: DenseHybrid) -> float:
    return float(of.state_dict()[KEY][0])


def near_three(candidate: DenseHybrid) -> dict[str, float]:
    """Best at 3; two sets that differ by a constant."""
    distance = abs(bias(candidate) - 3)
    return {"a": 100 - distance, "b": 50 - distance}


def test_the_best_share_of_a_round_is_kept_where_it_is_better() -> None:
    refinement = Refinement(model(0), near_three, (0.25, 0.5, 1.0))
    assert refinement.figures == {"a": 97, "b": 47}
    first = refinement.offer(model(5))  # means of 1.25, 2.5 and 5
    assert (first.number, first.share, first.kept) == (1, 0.5, True)
    assert bias(refinement.model) == pytest.approx(2.5)
    assert not refinement.model.training
    second = refinement.offer(model(-4))
    assert (second.number, second.share, second.kept) == (2, 0.25, False)
    assert bias(refinement.model) == pytest.approx(2.5)
    assert refinement.figures == first.figures == pytest.approx({"a": 99.5, "b": 49.5})
    assert mean_figure(second.figures) == pytest.approx(75 - (3 - (0.75 * 2.5 - 1)))
    assert refinement.rounds == [first, second]


def test_a_better_mean_that_is_not_accepted_is_left() -> None:
    asked = []

    def accept(candidate: DenseHybrid) -> bool:
        asked.append(bias(candidate))
        return False

    refinement = Refinement(model(0), near_three, (1.0,), accept)
    assert not refinement.offer(model(2)).kept
    assert not refinement.offer(model(-1)).kept
    assert asked == [2]  # one that is no better is not asked about
    assert bias(refinement.model) == 0
