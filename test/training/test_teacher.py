"""Hints and distillation from a frozen teacher of another architecture."""

from __future__ import annotations

import pytest
import torch

from densehybrid_ros.networks import DenseHybrid, HybridOutput, build_network
from densehybrid_ros.scores.hybrid import hybrid
from densehybrid_ros.training.teacher import HintedModel, hint_loss, lesson, rescaled, score_halves, score_loss


@pytest.fixture(scope="module")
def teacher() -> DenseHybrid:
    torch.manual_seed(0)
    return DenseHybrid(build_network("light", 5)).eval().requires_grad_(False)


def test_hints_have_the_shape_of_the_teachers_features(teacher: DenseHybrid) -> None:
    student = DenseHybrid(build_network("ldn121", 5))
    images = torch.rand(2, 3, 64, 96)
    hinted = HintedModel(student, teacher, images[:1])
    output, hints = hinted(images)
    learnt = lesson(teacher, images, with_features=True)
    assert [hint.shape for hint in hints] == [feature.shape for feature in learnt.features]
    assert output.logits.shape == learnt.logits.shape == (2, 5, 16, 24)
    hint_loss(hints, learnt.features).backward()
    assert student.network.stem[0].weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_a_hinted_model_computes_what_the_model_does(teacher: DenseHybrid) -> None:
    student = DenseHybrid(build_network("light", 5)).eval()
    images = torch.rand(1, 3, 64, 64)
    output, _ = HintedModel(student, teacher, images).eval()(images)
    for made, expected in zip(output, student(images), strict=True):
        torch.testing.assert_close(made, expected)


def test_the_loss_is_zero_for_equal_directions_and_two_for_opposite_ones() -> None:
    features = [torch.rand(1, 4, 3, 3) + 0.1, torch.rand(1, 2, 2, 2) + 0.1]
    assert float(hint_loss([3 * part for part in features], features)) == pytest.approx(0, abs=1e-5)
    assert float(hint_loss([-part for part in features], features)) == pytest.approx(2, abs=1e-5)


def test_a_lesson_without_features_is_the_logits_alone(teacher: DenseHybrid) -> None:
    images = torch.rand(1, 3, 64, 64)
    short, full = (lesson(teacher, images, with_features) for with_features in (False, True))
    assert short.features == []
    torch.testing.assert_close(short.logits, full.logits)
    assert short.halves is None


def test_the_halves_make_the_hybrid_score() -> None:
    output = HybridOutput(torch.randn(2, 5, 3, 4), torch.randn(2, 2, 3, 4))
    likelihood, odds = score_halves(output).unbind(1)
    torch.testing.assert_close(torch.nn.functional.logsigmoid(odds) - likelihood, hybrid(*output))


@pytest.mark.parametrize("with_features", [False, True])
def test_a_lesson_at_scales_is_the_mean_of_those_at_each(teacher: DenseHybrid, with_features: bool) -> None:
    images = torch.rand(2, 3, 64, 128)
    learnt = lesson(teacher, images, with_features, (0.5, 1.0, 2.0), with_score=True)
    assert learnt.halves is not None
    assert learnt.keenest is not None
    logits, halves = [], []
    for size in ((32, 64), (64, 128), (128, 256)):
        small = size < (64, 128)
        output = teacher(torch.nn.functional.interpolate(images, size, mode="bilinear", antialias=small))
        for found, values in ((logits, output.logits), (halves, score_halves(output))):
            found.append(torch.nn.functional.interpolate(values, (16, 32), mode="bilinear"))
    torch.testing.assert_close(learnt.logits, sum(logits) / 3, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(learnt.halves, sum(halves) / 3, atol=1e-4, rtol=1e-4)
    likelihood, odds = torch.stack(halves).unbind(2)
    torch.testing.assert_close(learnt.keenest[:, 0], likelihood.min(0).values, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(learnt.keenest[:, 1], odds.max(0).values, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("scale", "size"), [(0.5, (32, 64)), (1.4, (96, 192)), (0.1, (32, 32)), (2.0, (128, 256))])
def test_sides_are_multiples_of_the_stride(scale: float, size: tuple[int, int]) -> None:
    made = rescaled(torch.full((1, 3, 64, 128), 0.25), scale)
    assert made.shape[2:] == size
    torch.testing.assert_close(made, torch.full_like(made, 0.25))


def test_the_loss_of_the_score_is_relative_and_counts_outliers_and_others_alike() -> None:
    learnt = torch.tensor([[0.0, 10.0, 0.0, -90.0], [1.0, -1.0, 1.0, 6.0]]).view(1, 2, 1, 4)
    origin = torch.tensor([[[0, 0, 255, 1]]], dtype=torch.uint8)
    own = learnt.clone()
    assert float(score_loss(own, learnt, origin)) == 0
    own[0, 0, 0, 3] += 30.0  # ln p of the one outlier, which is far out
    assert float(score_loss(own, learnt, origin)) == pytest.approx(0.3)
    own[0, 1, 0, 0] -= 3.0  # log-odds of one of three others
    assert float(score_loss(own, learnt, origin)) == pytest.approx(0.3 + 0.2)


def test_on_outliers_the_keenest_may_be_learnt_and_weights_count() -> None:
    learnt, keenest = torch.zeros(1, 2, 1, 3), torch.zeros(1, 2, 1, 3)
    keenest[:, 0] = -30.0  # ln p: a distance of 30 / (10 + 30) from 0
    origin = torch.tensor([[[0, 1, 1]]], dtype=torch.uint8)
    own = torch.zeros(1, 2, 1, 3)
    assert float(score_loss(own, learnt, origin)) == 0
    assert float(score_loss(own, learnt, origin, keenest)) == pytest.approx(0.75)
    own[0, 0, 0, 1] = -30.0  # one of the two outliers has learnt it
    assert float(score_loss(own, learnt, origin, keenest)) == pytest.approx(0.375)
    assert float(score_loss(own, learnt, origin, keenest, torch.tensor([[[9.0, 3.0, 1.0]]]))) == pytest.approx(0.1875)


def test_a_batch_without_outliers_gives_a_finite_gradient() -> None:
    halves = torch.randn(1, 2, 2, 2, requires_grad=True)
    score_loss(halves, torch.zeros(1, 2, 2, 2), torch.zeros(1, 8, 8, dtype=torch.uint8)).backward()
    assert halves.grad is not None
    assert torch.isfinite(halves.grad).all()
