"""The weight of the posterior: scores, choice, and the same scores from the weights that are written."""

from __future__ import annotations

import pytest
import torch

from densehybrid_ros.evaluation.balance import best_weight, score_name, weigh_posterior, weighted_hybrid
from densehybrid_ros.evaluation.curves import CurveMetrics
from densehybrid_ros.networks import DenseHybrid, build_network
from densehybrid_ros.scores import hybrid, likelihood, posterior


def test_weight_one_is_the_hybrid_and_the_extremes_rank_like_its_halves() -> None:
    torch.manual_seed(0)
    logits, heads = 10 * torch.randn(1, 5, 8, 8), torch.randn(1, 2, 8, 8)
    assert torch.equal(weighted_hybrid(1.0, logits, heads), hybrid(logits, heads))
    for weight, half in ((1e-6, likelihood), (1e6, posterior)):
        made = weighted_hybrid(weight, logits, heads).flatten()
        half_of_them = heads[:, 1].flatten() < heads[:, 0].flatten()  # elsewhere ln P(d_out|x) has come to 0
        expected = half(logits, heads).flatten()
        assert torch.equal(made[half_of_them].argsort(), expected[half_of_them].argsort())


def test_a_model_with_weighted_head_has_the_weighted_score() -> None:
    torch.manual_seed(0)
    model = DenseHybrid(build_network("light", 19)).eval()
    image = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        before = model(image)
        expected = weighted_hybrid(8.0, before.logits, before.posterior)
    weigh_posterior(model, 8.0)
    with torch.inference_mode():
        after = model(image)
    torch.testing.assert_close(hybrid(after.logits, after.posterior), expected)
    assert torch.equal(after.logits, before.logits)


def test_the_best_mean_wins_and_of_equal_ones_that_nearest_to_one() -> None:
    def figures(*values: float) -> dict[str, CurveMetrics]:
        return {score_name(weight): CurveMetrics(value) for weight, value in zip((0.25, 1.0, 8.0), values, strict=True)}

    weights = [0.25, 1.0, 8.0]
    assert best_weight({"a": figures(0.5, 0.6, 0.9), "b": figures(0.5, 0.9, 0.7)}, weights) == 8.0
    assert best_weight({"a": figures(0.9, 0.6, 0.1), "b": figures(0.5, 0.9, 0.7)}, weights) == 1.0
    assert best_weight({"a": figures(0.5, 0.4, 0.5)}, weights) == 0.25
    with pytest.raises(KeyError):
        best_weight({"a": figures(0.5, 0.4, 0.5)}, [2.0])
