"""Other paint, other light: what changes, and what stays."""

from __future__ import annotations

import pytest
import torch

from densehybrid_ros.training.appearance import Appearance, change_appearance

CHANGES = [
    Appearance(1, paint=1.0),
    Appearance(2, lit=True),
    Appearance(3, tint=0.4),
    Appearance(4, filter=0.7),
    Appearance(5, 0.5, True, 0.2, 0.3),
]


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(5, 3, 32, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def labels() -> torch.Tensor:
    labels = torch.zeros((5, 32, 64), dtype=torch.uint8)
    labels[:, 10:], labels[:, :, 60:] = 7, 255
    return labels


def test_without_changes_nothing_changes(images: torch.Tensor, labels: torch.Tensor) -> None:
    assert torch.equal(change_appearance(images.clone(), labels, [Appearance(seed) for seed in range(5)]), images)


def test_what_an_image_becomes_depends_on_itself_alone(images: torch.Tensor, labels: torch.Tensor) -> None:
    together = change_appearance(images.clone(), labels, CHANGES)
    for index, change in enumerate(CHANGES):
        alone = change_appearance(images[index : index + 1].clone(), labels[index : index + 1], [change])
        torch.testing.assert_close(together[index], alone[0])
        assert (together[index] - images[index]).abs().mean() > 0.01


def test_another_seed_is_another_change(images: torch.Tensor, labels: torch.Tensor) -> None:
    for change in CHANGES:
        same = images[:1].expand(2, -1, -1, -1).clone()
        other = Appearance(change.seed + 10, change.paint, change.lit, change.tint, change.filter)
        first, second = change_appearance(same, labels[:2], [change, other])
        assert (first - second).abs().mean() > 0.01


def test_paint_is_one_for_a_class_in_a_cell_and_differs_between_them(labels: torch.Tensor) -> None:
    color = torch.tensor([0.6, 0.3, 0.2]).view(1, 3, 1, 1)
    painted = change_appearance(color.expand(1, 3, 32, 64).clone(), labels[:1], [Appearance(8, paint=1.0)])[0]
    found = {name: {tuple(c.tolist()) for c in painted[:, labels[0] == name].round(decimals=4).T} for name in (0, 7)}
    assert not found[0] & found[7]
    # Cells are a quarter of the height and an eighth of the width, and begin anywhere: what is cut off at one side
    # is at the other, in the same cell. Ten rows meet two or three of four rows of cells, 22 all four.
    assert 2 * 8 <= len(found[0]) <= 3 * 8
    assert len(found[7]) == 4 * 8


def test_paint_leaves_greys_grey_and_the_mean_of_a_colour_but_for_brightness(labels: torch.Tensor) -> None:
    images = torch.rand(1, 1, 32, 64).expand(1, 3, 32, 64).clone()
    images[:, 0, :, 30:] += 0.3
    painted = change_appearance(images.clone(), labels[:1], [Appearance(9, paint=1.0)])
    greys = painted[0, :, :, :30]
    torch.testing.assert_close(greys, greys[:1].expand_as(greys))
    ratio = painted.mean(1) / images.mean(1)
    assert len(ratio.round(decimals=3).unique()) <= 3 * 32 + 2  # one a class and cell


def test_light_is_the_same_for_all_channels_and_leaves_something_to_see(labels: torch.Tensor) -> None:
    images = torch.full((1, 3, 32, 64), 0.5)
    darker = 0
    for seed in range(40):
        factor = change_appearance(images.clone(), labels[:1], [Appearance(seed, lit=True)])[0] / 0.5
        torch.testing.assert_close(factor, factor[:1].expand_as(factor))
        assert float(factor.min()) >= 0.2 - 1e-4
        assert float(factor.max()) <= 2.5 + 1e-4
        assert float(factor.max()) <= 1 + 1e-4 or float(factor.min()) >= 1 - 1e-4
        darker += bool(factor.min() < 1 - 1e-4)
    assert 20 <= darker <= 36  # 7 in 10


def test_a_tint_keeps_the_order_of_a_channels_values(images: torch.Tensor, labels: torch.Tensor) -> None:
    tinted = change_appearance(images.clone(), labels, [Appearance(seed, tint=0.4) for seed in range(5)])
    for before, after in zip(images.flatten(0, 1), tinted.flatten(0, 1), strict=True):
        assert torch.equal(before.flatten().argsort(), after.flatten().argsort())
    assert (tinted.amax((2, 3)) <= 1.5).all()  # e^0.4


def test_a_filter_keeps_mean_and_contrast_and_mixes_by_its_share(images: torch.Tensor, labels: torch.Tensor) -> None:
    whole, half = (
        change_appearance(images.clone(), labels, [Appearance(seed, filter=share) for seed in range(5)])
        for share in (1.0, 0.5)
    )
    torch.testing.assert_close(whole.mean((2, 3)), images.mean((2, 3)), atol=1e-4, rtol=0)
    torch.testing.assert_close(whole.std((2, 3)), images.std((2, 3)), atol=1e-4, rtol=0)
    torch.testing.assert_close(half, (whole + images) / 2)
