"""The choice of a level: quantiles, candidates, scores on levels, and the best of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from densehybrid_ros.datasets.evaluation_set import EvaluationFrame
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.curves import CurveMetrics
from densehybrid_ros.evaluation.dense_scores import FrameScorer, ScoredFrame
from densehybrid_ros.evaluation.levels import (
    PLAIN,
    best_level,
    candidates,
    inlier_quantiles,
    level_name,
    offsets,
    on_levels,
)
from densehybrid_ros.networks import DenseHybrid, build_network

CPU = torch.device("cpu")


def scored(scores: np.ndarray, label: np.ndarray) -> ScoredFrame:
    frame = EvaluationFrame("one", np.zeros((*label.shape, 3), np.uint8), label)
    return ScoredFrame(0, frame, {PLAIN: torch.from_numpy(scores)}, torch.zeros(label.shape, dtype=torch.uint8))


def test_quantiles_are_those_of_known_pixels() -> None:
    scores = np.linspace(-100, 0, 101, dtype=np.float32).repeat(16).reshape(101, 16)
    scores = scores.repeat(4, axis=0)
    label = np.zeros(scores.shape, np.uint8)
    assert inlier_quantiles([scored(scores, label)]) == (-50, -25, -10)
    label[scores > -50] = 1
    assert inlier_quantiles([scored(scores, label)])[2] == -55
    with pytest.raises(InputError, match="no pixel that is labelled as known"):
        inlier_quantiles([scored(scores, np.ones_like(label))])


def test_candidates_are_all_combinations_with_the_midpoints_of_the_set_that_scores_highest() -> None:
    levels = candidates([(-120.0, -110.0, -100.0), (-160.0, -118.0, -88.0)], [0.3, 0.6], [2, 4])
    assert len(levels) == len({level_name(level) for level in levels}) == 12
    assert {level.midpoint for level in levels} == {-160.0, -118.0, -88.0}
    assert {level.softness for level in levels} == {10.0}
    assert {(level.share, level.reach) for level in levels} == {(0.3, 2), (0.3, 4), (0.6, 2), (0.6, 4)}


def test_scores_on_a_level_are_those_of_a_model_that_has_it() -> None:
    torch.manual_seed(0)
    model = DenseHybrid(build_network("light", 19)).eval()
    model.network.classifier.conv.weight.data *= 3e4  # scores of random weights are nearly the same everywhere
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    frame = EvaluationFrame("one", image, np.zeros((64, 96), np.uint8))
    levels = candidates([(-8.0, -6.0, -3.0)], [0.5], [1, 3])
    maps = offsets(levels)
    scorer = FrameScorer(model, CPU, [PLAIN, "likelihood", *maps], model_scores=maps)
    (made,) = on_levels([scorer(0, frame)], levels)
    plain = FrameScorer(model, CPU, [PLAIN, "likelihood"])(0, frame).scores
    for name in (PLAIN, "likelihood"):
        assert torch.equal(made.scores[name], plain[name])
    for level in levels:
        model.level = level
        expected = FrameScorer(model, CPU, [PLAIN])(0, frame).scores[PLAIN]
        torch.testing.assert_close(made.scores[level_name(level)], expected, atol=1e-4, rtol=1e-4)
        assert float((expected - plain[PLAIN]).abs().max()) > 0.05


def test_the_best_mean_wins_unless_no_level_is_better() -> None:
    levels = candidates([(-6.0, -4.0, -1.0)], [0.3, 0.6], [2])[2:]

    def figures(plain: float, *values: float) -> dict[str, CurveMetrics]:
        named = dict(zip([level_name(level) for level in levels], values, strict=True))
        return {name: CurveMetrics(value) for name, value in {PLAIN: plain, **named}.items()}

    sets = {"a": figures(0.5, 0.6, 0.5, 0.4, 0.3), "b": figures(0.5, 0.5, 0.7, 0.4, 0.3)}
    assert best_level(sets, levels) == levels[1]
    assert best_level({"a": figures(0.5, 0.6, 0.6, 0.6, 0.6)}, levels).share == 0.3
    assert best_level({"a": figures(0.7, 0.6, 0.7, 0.6, 0.6)}, levels) is None
