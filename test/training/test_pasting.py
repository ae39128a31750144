# SPDX-License-Identifier: Apache-2.0
"""Layers: known objects, and the weights of negatives."""

from __future__ import annotations

import numpy as np
import torch

from densehybrid_ros.datasets.known_objects import KnownObject
from densehybrid_ros.datasets.training_frames import UNKNOWN, Overview
from densehybrid_ros.training.crops import Batch, Crop, CropContext, Photometry
from densehybrid_ros.training.losses import INLIER, NEITHER, OUTLIER
from densehybrid_ros.training.mixed_content import WEIGHT_STEP, lay_over
from densehybrid_ros.training.pasting import PasteConfig, cutout_overlays

SIZE = (200, 400)
SQUARE = torch.full((4, 40, 40), 255, dtype=torch.uint8)
PLAIN = {"probability": 1.0, "count": (1, 1), "match_probability": 0.0, "blur_probability": 0.0}


CROP = Crop(slice(0, 200), slice(0, 400), SIZE, (0, 0), False, Photometry())
WHOLE = CropContext(SIZE, CROP, Overview(np.full((50, 100, 3), 90, np.uint8), np.zeros((50, 100), np.uint8)))


def test_known_objects_are_inliers_with_their_class_in_the_rows_of_their_own_frame() -> None:
    pixels = np.full((20, 10, 4), 255, np.uint8)
    item = KnownObject(pixels, np.full((20, 10), 11, np.uint8), top=100)
    config = PasteConfig(probability=0.0, known_count=1)
    draw = cutout_overlays(lambda size, rng: None, config, [item])
    overlays = [draw(WHOLE, np.random.default_rng(seed)) for seed in range(12)]
    found = [overlay for overlay in overlays if overlay is not None]
    assert 0 < len(found) < 12  # up to one: sometimes none
    batch = Batch(torch.zeros(len(found), 3, *SIZE), torch.full((len(found), *SIZE), 2, dtype=torch.uint8))
    mixed = lay_over(batch, found)
    person = mixed.labels == 11
    assert person.any((1, 2)).all()
    assert (mixed.origin[person] == INLIER).all()
    assert not (mixed.origin == OUTLIER).any()
    assert abs(int(torch.nonzero(person.any(0).any(1)).max()) - 119) <= 1


def test_small_negatives_weigh_more() -> None:
    overlays = [
        cutout_overlays(lambda size, rng: SQUARE, PasteConfig(**PLAIN, size=(side, side), balance=0.5))(
            WHOLE, np.random.default_rng(0)
        )
        for side in (8.0, 64.0)
    ]
    weights = [int(overlay[5][overlay[3] > 127].max()) / WEIGHT_STEP for overlay in overlays]
    assert weights == [4.0, 0.5]  # (1024 / 64)^0.5 and (1024 / 4096)^0.5
    mixed = lay_over(Batch(torch.zeros(2, 3, *SIZE), torch.zeros(2, *SIZE, dtype=torch.uint8)), overlays)
    outlier = mixed.origin == OUTLIER
    assert [float(mixed.weights[i][outlier[i]].unique()) for i in (0, 1)] == weights


def test_negatives_on_the_ground_stand_there_in_the_size_of_their_distance() -> None:
    labels = np.full((50, 100), 2, np.uint8)
    labels[30:, 25:] = 0  # road: rows from 120, columns from 100 of the frame
    context = WHOLE._replace(overview=WHOLE.overview._replace(labels=labels))
    config = PasteConfig(**PLAIN, ground_share=1.0, ground_size=(1.0, 1.0), horizon=0.4)
    draw = cutout_overlays(lambda size, rng: SQUARE, config, ground=(0, 1))
    feet, sizes, shadows = [], [], 0
    for seed in range(40):
        overlay = draw(context, np.random.default_rng(seed))
        assert overlay is not None
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


def test_patches_of_other_asphalt_are_road_where_the_road_is() -> None:
    labels = np.full((50, 100), 2, np.uint8)
    labels[30:] = 0
    context = WHOLE._replace(overview=WHOLE.overview._replace(labels=labels))
    texture = np.random.default_rng(0).integers(80, 120, (60, 90, 3), np.uint8)
    draw = cutout_overlays(lambda size, rng: None, PasteConfig(probability=0.0), (), (0,), [texture], road=0)
    overlays = [draw(context, np.random.default_rng(seed)) for seed in range(20)]
    found = [overlay for overlay in overlays if overlay is not None]
    assert 5 < len(found) < 20  # up to two: sometimes none
    batch = Batch(torch.zeros(len(found), 3, *SIZE), torch.full((len(found), *SIZE), 2, dtype=torch.uint8))
    mixed = lay_over(batch, found)
    patch = mixed.labels == 0
    assert patch.any()
    assert (mixed.origin[patch] == INLIER).all()
    assert not (mixed.origin == OUTLIER).any()
    assert not patch[:, :100].any()  # none beside the road, but for the half above the place that was drawn


def test_where_there_is_no_ground_negatives_lie_anywhere() -> None:
    config = PasteConfig(**PLAIN, size=(20, 20), ground_share=1.0)
    overlay = cutout_overlays(lambda size, rng: SQUARE, config, ground=(5,))(WHOLE, np.random.default_rng(0))
    assert overlay is not None
    assert int((overlay[3] > 250).sum()) == 400


def test_real_unknowns_are_negatives_beside_what_is_pasted() -> None:
    labels = torch.zeros(1, *SIZE, dtype=torch.uint8)
    labels[:, :50, :50], labels[:, 50:100, :50] = UNKNOWN, 255
    draw = cutout_overlays(lambda size, rng: SQUARE, PasteConfig(**PLAIN, size=(20, 20)))
    mixed = lay_over(Batch(torch.zeros(1, 3, *SIZE), labels), [draw(WHOLE, np.random.default_rng(3))])
    assert (mixed.origin[:, :50, :50] == OUTLIER).all()
    assert (mixed.origin[:, 50:100, :50] == NEITHER).all()
    assert 0 < int((mixed.origin[:, :, 50:] == OUTLIER).sum()) <= 400
    assert not (mixed.labels == UNKNOWN).any()
