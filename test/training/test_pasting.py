# SPDX-License-Identifier: Apache-2.0
"""Mixed-content images: what negatives, known objects and patches of road become, and how much each counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from densehybrid_ros.datasets.training_frames import KNOWN, UNKNOWN, KnownObject, Overview
from densehybrid_ros.training.crops import Crop, CropContext, Photometry
from densehybrid_ros.training.losses import INLIER, NEITHER, OUTLIER
from densehybrid_ros.training.mixed_content import WEIGHT_STEP, MixedBatch, lay_over, void_as_negatives, without_pasting
from densehybrid_ros.training.pasting import PasteConfig, cutout_overlays, recipe_overlays

SIZE = (200, 400)
SQUARE = torch.full((4, 40, 40), 255, dtype=torch.uint8)
FLAT = torch.full((4, 40, 80), 255, dtype=torch.uint8)
PLAIN = {"probability": 1.0, "count": (1, 1), "match_probability": 0.0, "blur_probability": 0.0}
CROP = Crop(slice(0, 200), slice(0, 400), SIZE, (0, 0), False, Photometry())


def scene(labels: np.ndarray | None = None, color: int = 90) -> CropContext:
    """What a crop of a grey frame shows; labels are those of the overview, 50x100."""
    labels = np.zeros((50, 100), np.uint8) if labels is None else labels
    return CropContext(SIZE, CROP, Overview(np.full((50, 100, 3), color, np.uint8), labels))


def draw(config: PasteConfig, seed: int = 0, cutout: torch.Tensor | None = SQUARE, context=None, **more):
    overlays = cutout_overlays(lambda size, rng: cutout, config, **more)
    return overlays(context or scene(), np.random.default_rng(seed))


def on_class(overlays: list[torch.Tensor], label: int = 2) -> MixedBatch:
    labels = torch.full((len(overlays), *SIZE), label, dtype=torch.uint8)
    return lay_over(torch.zeros(len(overlays), 3, *SIZE), labels, overlays)


def test_pasted_pixels_are_void_and_outlier_and_keep_their_geometry() -> None:
    config = PasteConfig(**PLAIN, size=(20.0, 20.0))
    mixed = on_class([draw(config, seed, FLAT) for seed in range(3)])
    outlier = mixed.origin == OUTLIER
    assert (outlier.sum((1, 2)) == 10 * 20).all()  # 20 long, 10 high
    assert (mixed.labels[outlier] == 255).all()
    assert (mixed.images[:, 0][outlier] > 0.5).all()
    assert (mixed.labels[mixed.origin == INLIER] == 2).all()
    assert not mixed.images[:, 0][mixed.origin == INLIER].any()


def test_half_transparent_borders_teach_nothing() -> None:
    cutout = SQUARE[:, :20, :20].clone()
    cutout[3, :, :10] = 64  # alpha of a quarter: neither object nor scene
    mixed = on_class([draw(PasteConfig(**PLAIN, size=(20.0, 20.0)), seed, cutout) for seed in range(4)])
    assert ((mixed.origin == OUTLIER).sum((1, 2)) == 200).all()
    assert ((mixed.origin == NEITHER).sum((1, 2)) == 200).all()
    assert (mixed.labels[mixed.origin == NEITHER] == 255).all()


def test_sizes_cover_the_range_and_are_cut_off_at_the_border() -> None:
    config = PasteConfig(**PLAIN, size=(16.0, 1600.0))
    counts = [int((draw(config, seed, FLAT)[3] > 127).sum()) for seed in range(100)]
    assert min(counts) <= 24 * 12
    assert max(counts) == SIZE[0] * SIZE[1]


def test_several_lie_over_each_other_and_without_luck_nothing_is_pasted() -> None:
    config = PasteConfig(**{**PLAIN, "count": (3, 3)}, size=(60.0, 60.0))
    covered = [int((draw(config, seed)[3] > 127).sum()) for seed in range(10)]
    assert max(covered) == 3 * 60 * 60
    assert min(covered) >= 60 * 60
    assert draw(PasteConfig(probability=0.0)) is None
    images = torch.rand(2, 3, *SIZE)
    mixed = lay_over(images.clone(), torch.full((2, *SIZE), 3, dtype=torch.uint8), [None, None])
    assert mixed.weights is None
    assert torch.equal(mixed.images, images)


def test_a_recipe_is_pasted_as_it_is() -> None:
    overlay = recipe_overlays(lambda size, rng: FLAT[:, :10, :20])(scene(), np.random.default_rng(2))
    opaque = overlay[3] == 255
    assert int(opaque.sum()) == 10 * 20
    assert (overlay[0][opaque] == 255).all()
    assert recipe_overlays(lambda size, rng: None)(scene(), np.random.default_rng(2)) is None


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_matching_draws_colours_towards_the_scene(share: float) -> None:
    config = PasteConfig(**{**PLAIN, "match_probability": share}, size=(80.0, 80.0))
    means = [float(overlay[:3][:, overlay[3] > 127].float().mean()) for overlay in (draw(config, n) for n in range(8))]
    assert (np.mean(means) < 200) == bool(share)  # white on a scene of 90


def test_small_negatives_weigh_more() -> None:
    overlays = [draw(PasteConfig(**PLAIN, size=(side, side), balance=0.5)) for side in (8.0, 64.0)]
    weights = [int(overlay[5][overlay[3] > 127].max()) / WEIGHT_STEP for overlay in overlays]
    assert weights == [4.0, 0.5]  # (1024 / 64)^0.5 and (1024 / 4096)^0.5
    mixed = on_class(overlays)
    outlier = mixed.origin == OUTLIER
    assert [float(mixed.weights[i][outlier[i]].unique()) for i in (0, 1)] == weights


def test_known_objects_are_inliers_with_their_class_in_the_rows_of_their_own_frame() -> None:
    item = KnownObject(np.full((20, 10, 4), 255, np.uint8), np.full((20, 10), 11, np.uint8), top=100)
    config = PasteConfig(probability=0.0, known_count=1)
    found = [overlay for seed in range(12) if (overlay := draw(config, seed, None, known=[item])) is not None]
    assert 0 < len(found) < 12  # up to one: sometimes none
    mixed = on_class(found)
    person = mixed.labels == 11
    assert person.any((1, 2)).all()
    assert (mixed.origin[person] == INLIER).all()
    assert not (mixed.origin == OUTLIER).any()
    assert abs(int(torch.nonzero(person.any(0).any(1)).max()) - 119) <= 1


def test_negatives_on_the_ground_stand_there_in_the_size_of_their_distance() -> None:
    labels = np.full((50, 100), 2, np.uint8)
    labels[30:, 25:] = 0  # road: rows from 120, columns from 100 of the frame
    config = PasteConfig(**PLAIN, ground_share=1.0, ground_size=(1.0, 1.0), horizon=0.4)
    feet, sizes, shadows = [], [], 0
    for seed in range(40):
        overlay = draw(config, seed, context=scene(labels), ground=(0, 1))
        solid = np.argwhere(overlay[3].numpy() > 250)
        shadows += bool(((overlay[3] > 10) & (overlay[3] < 120)).sum() > 40)
        left, (bottom, right) = solid.min(0)[1], solid.max(0)
        if left > 0 and right < SIZE[1] - 1:
            feet.append(int(bottom) + 1)
            sizes.append(int(right - left) + 1)
        assert bottom >= 119
        assert (left + right) / 2 >= 98
    expected = (np.array(feet) - 80) / 1.25  # a metre of the 1.25 that the camera is high, 80 being the horizon's row
    assert len(sizes) > 20
    assert np.abs(np.array(sizes) - expected).max() <= 2
    assert 8 < shadows < 32
    nowhere = draw(PasteConfig(**PLAIN, size=(20, 20), ground_share=1.0), ground=(5,))
    assert int((nowhere[3] > 250).sum()) == 400  # no ground: it lies anywhere


def test_patches_of_other_asphalt_are_road_where_the_road_is() -> None:
    labels = np.full((50, 100), 2, np.uint8)
    labels[30:] = 0
    texture = np.random.default_rng(0).integers(80, 120, (60, 90, 3), np.uint8)
    more = {"context": scene(labels), "ground": (0,), "textures": [texture], "road": 0}
    overlays = [draw(PasteConfig(probability=0.0), seed, None, **more) for seed in range(20)]
    found = [overlay for overlay in overlays if overlay is not None]
    assert 5 < len(found) < 20  # up to two: sometimes none
    mixed = on_class(found)
    patch = mixed.labels == 0
    assert patch.any()
    assert (mixed.origin[patch] == INLIER).all()
    assert not (mixed.origin == OUTLIER).any()
    assert not patch[:, :100].any()  # none beside the road, but for the half above the place that was drawn


def test_labels_without_a_class_are_inliers_negatives_or_neither() -> None:
    labels = torch.tensor([[[KNOWN, UNKNOWN, 255, 3]]], dtype=torch.uint8)
    mixed = without_pasting(torch.zeros(1, 3, 1, 4), labels)
    assert mixed.origin.tolist() == [[[INLIER, OUTLIER, NEITHER, INLIER]]]
    assert mixed.labels.tolist() == [[[255, 255, 255, 3]]]
    assert void_as_negatives(mixed.images, labels).origin.tolist() == [[[INLIER, OUTLIER, OUTLIER, INLIER]]]

    labels = torch.zeros(1, *SIZE, dtype=torch.uint8)  # real unknowns are negatives beside what is pasted
    labels[:, :50, :50], labels[:, 50:100, :50] = UNKNOWN, 255
    mixed = lay_over(torch.zeros(1, 3, *SIZE), labels, [draw(PasteConfig(**PLAIN, size=(20, 20)), 3)])
    assert (mixed.origin[:, :50, :50] == OUTLIER).all()
    assert (mixed.origin[:, 50:100, :50] == NEITHER).all()
    assert 0 < int((mixed.origin[:, :, 50:] == OUTLIER).sum()) <= 400
    assert not (mixed.labels == UNKNOWN).any()
