"""Hints and distillation from a frozen teacher of another architecture."""

from __future__ import annotations

import pytest
import torch

from densehybrid_ros.networks import DenseHybrid, build_network
from densehybrid_ros.training.teacher import HintedModel, hint_loss, lesson


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
