# SPDX-License-Identifier: Apache-2.0
"""Recipes: what is drawn from a source, how large and how often."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from densehybrid_ros.datasets.negative_sets import (
    RECIPES,
    NegativePicture,
    NegativeSet,
    Region,
    draw_box,
    draw_masks,
    draw_object,
    regions_of_ids,
)
from densehybrid_ros.errors import InputError

CROP = (96, 128)
COLORS = np.array([0, 10, 61, 133, 250], np.uint8)


class Quarters(NegativeSet):
    """One picture whose four quarters are classes, each of one colour, and one triangular object."""

    name = "quarters"

    def __init__(self, objects: bool = True, classes: bool = True) -> None:
        labels = np.kron(np.array([[1, 2], [3, 4]]), np.ones((40, 60), int))
        image = np.stack([np.take(COLORS, labels)] * 3, axis=2)
        triangle = np.triu(np.full((20, 20), 255, np.uint8))
        self._picture = NegativePicture(
            "quarters.png",
            image,
            (Region(5, 10, triangle),) if objects else (),
            regions_of_ids(labels) if classes else (),
        )

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> NegativePicture:
        return self._picture


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_cutouts_fit_the_crop_and_repeat_with_the_seed(name: str) -> None:
    first = [RECIPES[name](Quarters(), CROP, rng(seed)) for seed in range(20)]
    second = [RECIPES[name](Quarters(), CROP, rng(seed)) for seed in range(20)]
    for one, other in zip(first, second, strict=True):
        if one is None or other is None:
            assert one is other
            continue
        assert torch.equal(one, other)
        assert one.dtype == torch.uint8
        assert one.shape[0] == 4
        assert one.shape[1] <= CROP[0]
        assert one.shape[2] <= CROP[1]
        assert (one[3] >= 128).any()


def test_an_object_comes_with_its_mask_and_size_else_a_class() -> None:
    cutout = draw_object(Quarters(), CROP, rng())
    np.testing.assert_array_equal(cutout[3].numpy(), np.triu(np.full((20, 20), 255)))
    assert (cutout[0] == 10).all()
    assert draw_object(Quarters(objects=False), CROP, rng()).shape == (4, 40, 60)
    with pytest.raises(InputError, match=r"quarters\.png: like 19 others without an object; take"):
        draw_object(Quarters(objects=False, classes=False), CROP, rng())


def is_rectangle(alpha: torch.Tensor) -> bool:
    rows, columns = torch.nonzero(alpha.any(1)).flatten(), torch.nonzero(alpha.any(0)).flatten()
    return bool((alpha[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == 255).all())


def test_masks_are_rectangles_or_unions_of_classes() -> None:
    source, rectangles = Quarters(), 0
    for seed in range(100):
        cutout = draw_masks(source, CROP, rng(seed))
        assert cutout.shape == (4, 36, 36)  # 3/8 of 96
        assert set(cutout[3].unique().tolist()) <= {0, 255}
        inside = cutout[3] == 255
        if is_rectangle(cutout[3]) and {int(inside.any(dim).sum()) for dim in (0, 1)} <= {16, 24, 32}:
            rectangles += 1
            continue
        shares = [float((cutout[0][inside] == int(value)).float().mean()) for value in COLORS[1:]]
        assert sorted(shares)[1] < 0.05  # no third class; borders are a mixture and count for none
    assert 25 < rectangles < 75  # half of them
    assert is_rectangle(draw_masks(Quarters(objects=False, classes=False), CROP, rng())[3])


def test_boxes_take_one_to_fifteen_percent_and_half_of_the_crops() -> None:
    cutouts = [draw_box(Quarters(), (512, 512), rng(seed)) for seed in range(300)]
    pasted = [cutout for cutout in cutouts if cutout is not None]
    assert 110 < len(pasted) < 190
    sides = sorted({cutout.shape[1] for cutout in pasted})
    assert sides[0] == round(0.01 * 512)
    assert sides[-1] == round(0.15 * 512)
    assert len(sides) == 15
    assert all(cutout.shape[1] == cutout.shape[2] for cutout in pasted)  # the box is a square
    assert all(set(cutout[3].unique().tolist()) <= {0, 255} for cutout in pasted)
    largest = max(pasted, key=lambda cutout: cutout.shape[1])
    assert 0.4 < (largest[3] == 255).float().mean() < 0.6  # the triangle, not its box
