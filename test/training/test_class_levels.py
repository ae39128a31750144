"""Weights that let classes count alike, and scores brought to one level over the classes."""

from __future__ import annotations

import pytest
import torch

from densehybrid_ros.training.class_levels import class_weights, evened
from densehybrid_ros.training.losses import mask_at

ROAD, SIGN, RIDER, VOID = 0, 7, 12, 255


@pytest.fixture
def labels() -> torch.Tensor:
    """3/4 road, 1/8 signs, 1/8 void, each in whole squares of 4x4 pixels."""
    labels = torch.full((1, 16, 32), ROAD, dtype=torch.uint8)
    labels[:, :4, :16], labels[:, 4:8, :16] = SIGN, VOID
    return labels


def test_at_share_zero_all_pixels_count_alike(labels: torch.Tensor) -> None:
    torch.testing.assert_close(class_weights(labels, 0.0), torch.ones(labels.shape))


def test_at_share_one_classes_count_nearly_alike_and_void_as_before(labels: torch.Tensor) -> None:
    weights = class_weights(labels, 1.0)
    assert weights.dtype == torch.float32
    assert (weights[labels == VOID] == 1).all()
    road, sign = (float(weights[labels == train_id].sum()) for train_id in (ROAD, SIGN))
    assert sign == pytest.approx(road, rel=0.03)
    half = class_weights(labels, 0.5)
    torch.testing.assert_close(half, weights**0.5)


def test_a_very_rare_class_does_not_outweigh_the_rest() -> None:
    labels = torch.full((1, 64, 256), ROAD, dtype=torch.uint8)
    labels[0, 0, 0] = RIDER  # one of 1,024 pixels looked at
    weights = class_weights(labels, 1.0)
    assert 100 < float(weights[0, 0, 0]) < 250
    assert torch.isfinite(class_weights(torch.full((1, 8, 8), VOID, dtype=torch.uint8), 1.0)).all()


def test_labels_are_taken_at_the_nearest_pixel(labels: torch.Tensor) -> None:
    assert torch.equal(mask_at(labels, (4, 8)), labels[:, ::4, ::4])


def halves_by_class(labels: torch.Tensor) -> torch.Tensor:
    """ln p: road 20, signs 4, void -9; log-odds: road -6, signs 0, void 3; each with some spread."""
    torch.manual_seed(0)
    halves = torch.empty(1, 2, *labels.shape[1:])
    for train_id, means in ((ROAD, (20.0, -6.0)), (SIGN, (4.0, 0.0)), (VOID, (-9.0, 3.0))):
        for half, mean in enumerate(means):
            halves[:, half][labels == train_id] = mean
    return halves + 0.1 * torch.randn(halves.shape)


def test_only_what_is_more_unknown_than_the_mean_is_moved_and_only_to_the_mean(labels: torch.Tensor) -> None:
    halves = halves_by_class(labels)
    even = evened(halves, labels, 1.0)
    known = labels != VOID
    for half in (0, 1):
        mean = halves[:, half][known].mean()
        moved = even[:, half][labels == SIGN]
        torch.testing.assert_close(moved.mean(), mean, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(moved - moved.mean(), (part := halves[:, half][labels == SIGN]) - part.mean())
        for untouched in (ROAD, VOID):
            torch.testing.assert_close(even[:, half][labels == untouched], halves[:, half][labels == untouched])


def test_a_share_of_the_way(labels: torch.Tensor) -> None:
    halves = halves_by_class(labels)
    torch.testing.assert_close(evened(halves, labels, 0.0), halves)
    torch.testing.assert_close(
        evened(halves, labels, 0.5), 0.5 * (halves + evened(halves, labels, 1.0)), atol=1e-4, rtol=1e-4
    )
    void = torch.full_like(labels, VOID)
    torch.testing.assert_close(evened(halves, void, 1.0), halves)
