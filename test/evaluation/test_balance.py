"""The weight of the posterior: scores, choice, and the same scores from the weights that are written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from densehybrid_ros.evaluation.balance import Balance, balances, best_balance, make_trainable
from densehybrid_ros.evaluation.curves import CurveMetrics
from densehybrid_ros.networks import DenseHybrid, LoadedModel, ModelCard, ScoreLevel, build_network
from densehybrid_ros.scores import hybrid, likelihood, posterior


def test_weight_one_is_the_hybrid_and_the_extremes_rank_like_its_halves() -> None:
    torch.manual_seed(0)
    logits, heads = 10 * torch.randn(1, 5, 8, 8), torch.randn(1, 2, 8, 8)
    assert torch.equal(Balance().hybrid(logits, heads), hybrid(logits, heads))
    for weight, half in ((1e-6, likelihood), (1e6, posterior)):
        made = Balance(weight).hybrid(logits, heads).flatten()
        half_of_them = heads[:, 1].flatten() < heads[:, 0].flatten()  # elsewhere ln P(d_out|x) has come to 0
        expected = half(logits, heads).flatten()
        assert torch.equal(made[half_of_them].argsort(), expected[half_of_them].argsort())


def test_where_outliers_are_rare_what_is_surely_unknown_is_ranked_by_both_halves() -> None:
    logits = torch.zeros(1, 3, 1, 3)
    heads = torch.tensor([[[0.0, 0.0, 0.0]], [[-4.0, 30.0, 40.0]]])[None]
    plain, rare = (Balance(2.0, rarity).hybrid(logits, heads).flatten() for rarity in (0.0, 100.0))
    assert plain[2] - plain[1] < 1e-6  # ln P(d_out|x) is 0 for both
    assert float(rare[2] - rare[1]) == pytest.approx(20.0)  # nats of odds, in the weight
    assert float(rare[1] - rare[0]) == pytest.approx(68.0)


def test_a_balanced_model_has_the_score_and_can_be_had_back() -> None:
    torch.manual_seed(0)
    model = DenseHybrid(build_network("light", 19)).eval()
    image, balance = torch.rand(1, 3, 64, 96), Balance(8.0, 5.0)
    with torch.inference_mode():
        before = model(image)
        expected = balance.hybrid(before.logits, before.posterior)
    balance.apply(model)
    with torch.inference_mode():
        after = model(image)
    torch.testing.assert_close(hybrid(after.logits, after.posterior), expected)
    assert torch.equal(after.logits, before.logits)
    balance.undo(model)
    with torch.inference_mode():
        torch.testing.assert_close(model(image).posterior, before.posterior)


def test_the_best_mean_wins_and_of_equal_ones_that_which_changes_least() -> None:
    tried = [Balance(0.25), Balance(), Balance(8.0), Balance(1.0, 20.0)]

    def figures(*values: float) -> dict[str, CurveMetrics]:
        return {balance.name: CurveMetrics(value) for balance, value in zip(tried, values, strict=True)}

    assert best_balance({"a": figures(0.5, 0.6, 0.9, 0.1), "b": figures(0.5, 0.9, 0.7, 0.1)}, tried) == tried[2]
    assert best_balance({"a": figures(0.9, 0.6, 0.1, 0.6), "b": figures(0.5, 0.9, 0.7, 0.9)}, tried) == tried[1]
    assert best_balance({"a": figures(0.5, 0.4, 0.5, 0.4)}, tried) == tried[0]
    assert best_balance({"a": figures(0.5, 0.4, 0.5, 0.6)}, tried) == tried[3]
    with pytest.raises(KeyError):
        best_balance({"a": figures(0.5, 0.4, 0.5, 0.4)}, [Balance(2.0)])


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ([], []),
        ([{"stage": "open_set"}], []),
        ([{"stage": "balance", "posterior_weight": 8.0}, {"stage": "open_set"}], []),
        ([{"stage": "open_set"}, {"stage": "balance", "posterior_weight": 8.0}, {"stage": "refine"}], [Balance(8.0)]),
        (
            [
                {"stage": "balance", "posterior_weight": 2.0, "rarity": 1.0},
                {"stage": "average"},
                {"stage": "balance", "posterior_weight": 3.0},
            ],
            [Balance(2.0, 1.0), Balance(3.0)],
        ),
        (
            [
                {"stage": "balance", "posterior_weight": 2.0},
                {"stage": "average", "posterior_as_trained": True},
                {"stage": "balance", "posterior_weight": 3.0},
            ],
            [Balance(3.0)],
        ),
    ],
)
def test_the_balances_are_those_since_the_last_training(stages: list, expected: list) -> None:
    assert balances(ModelCard("light", "light", details={"training": stages})) == expected


def test_a_model_is_trained_on_with_the_heads_that_it_was_trained_with() -> None:
    torch.manual_seed(0)
    network = DenseHybrid(build_network("light", 19)).eval()
    image, made = torch.rand(1, 3, 64, 96), [Balance(8.0), Balance(1.5, 100.0)]
    with torch.inference_mode():
        before = network.heads(image)
    for balance in made:
        balance.apply(network)
    network.level = ScoreLevel(0.5, 1, -3.0, 2.0)
    stages = [{"stage": "balance", "posterior_weight": each.weight, "rarity": each.rarity} for each in made]
    card = ModelCard("light", "light", details={"training": stages})
    make_trainable(LoadedModel(network, card, Path("light.safetensors")))
    assert network.level is None
    with torch.inference_mode():
        torch.testing.assert_close(network(image).posterior, before.posterior, atol=1e-4, rtol=1e-4)
