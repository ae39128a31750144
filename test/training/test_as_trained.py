"""The heads of a model before its balance and its level."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from densehybrid_ros.networks import DenseHybrid, LoadedModel, ModelCard, ScoreLevel, build_network
from densehybrid_ros.training.as_trained import make_trainable

DOUBLED = {"stage": "balance", "posterior_weight": 2.0, "rarity": 1.0}
TRIPLED = {"stage": "balance", "posterior_weight": 3.0}


@pytest.mark.parametrize(
    ("stages", "weight", "rarity"),
    [
        ([], 1.0, 0.0),
        ([DOUBLED, {"stage": "open_set"}], 1.0, 0.0),
        ([{"stage": "open_set"}, DOUBLED, {"stage": "refine"}], 2.0, 1.0),
        ([DOUBLED, {"stage": "average"}, TRIPLED], 6.0, 3.0),
        ([DOUBLED, {"stage": "average", "posterior_as_trained": True}, TRIPLED], 3.0, 0.0),
    ],
)
def test_balances_since_the_last_training_are_undone(stages: list, weight: float, rarity: float) -> None:
    torch.manual_seed(0)
    network = DenseHybrid(build_network("light", 19)).eval()
    image, head = torch.rand(1, 3, 64, 96), network.posterior_head.conv
    with torch.no_grad():
        before = network.heads(image)
        head.weight *= weight
        head.bias *= weight
        head.bias[1] -= rarity
    network.level = ScoreLevel(0.5, 1, -3.0, 2.0)
    card = ModelCard("light", "light", details={"training": stages})
    make_trainable(LoadedModel(network, card, Path("light.safetensors")))
    assert network.level is None
    with torch.no_grad():
        torch.testing.assert_close(network(image).posterior, before.posterior, atol=1e-5, rtol=1e-5)
