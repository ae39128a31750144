"""Layers: known objects, and the weights of negatives."""

from __future__ import annotations

import numpy as np
import torch

from densehybrid_ros.datasets.known_objects import KnownObject
from densehybrid_ros.datasets.training_frames import Overview
from densehybrid_ros.training.crops import Batch, Crop, Photometry
from densehybrid_ros.training.losses import INLIER, OUTLIER
from densehybrid_ros.training.mixed_content import WEIGHT_STEP, lay_over
from densehybrid_ros.training.pasting import PasteConfig, cutout_layers
from densehybrid_ros.training.scene import Scene

SIZE = (200, 400)
SQUARE = torch.full((4, 40, 40), 255, dtype=torch.uint8)
PLAIN = {"probability": 1.0, "count": (1, 1), "match_probability": 0.0, "blur_probability": 0.0}


CROP = Crop(slice(0, 200), slice(0, 400), SIZE, (0, 0), False, Photometry())
WHOLE = Scene(SIZE, CROP, Overview(np.full((50, 100, 3), 90, np.uint8), np.zeros((50, 100), np.uint8)))


def test_known_objects_are_inliers_with_their_class_in_the_rows_of_their_own_frame() -> None:
    pixels = np.full((20, 10, 4), 255, np.uint8)
    item = KnownObject(pixels, np.full((20, 10), 11, np.uint8), top=100)
    config = PasteConfig(probability=0.0, known_count=1)
    draw = cutout_layers(lambda size, rng: None, config, [item])
    layers = [draw(WHOLE, np.random.default_rng(seed)) for seed in range(12)]
    found = [layer for layer in layers if layer is not None]
    assert 0 < len(found) < 12  # up to one: sometimes none
    batch = Batch(torch.zeros(len(found), 3, *SIZE), torch.full((len(found), *SIZE), 2, dtype=torch.uint8))
    mixed = lay_over(batch, found)
    person = mixed.labels == 11
    assert person.any((1, 2)).all()
    assert (mixed.origin[person] == INLIER).all()
    assert not (mixed.origin == OUTLIER).any()
    assert abs(int(torch.nonzero(person.any(0).any(1)).max()) - 119) <= 1


def test_small_negatives_weigh_more() -> None:
    layers = [
        cutout_layers(lambda size, rng: SQUARE, PasteConfig(**PLAIN, size=(side, side), balance=0.5))(
            WHOLE, np.random.default_rng(0)
        )
        for side in (8.0, 64.0)
    ]
    weights = [int(layer[5][layer[3] > 127].max()) / WEIGHT_STEP for layer in layers]
    assert weights == [4.0, 0.5]  # (1024 / 64)^0.5 and (1024 / 4096)^0.5
    mixed = lay_over(Batch(torch.zeros(2, 3, *SIZE), torch.zeros(2, *SIZE, dtype=torch.uint8)), layers)
    outlier = mixed.origin == OUTLIER
    assert [float(mixed.weights[i][outlier[i]].unique()) for i in (0, 1)] == weights
