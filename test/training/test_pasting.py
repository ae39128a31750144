"""Layers: sizes on the road, known objects, shapes, weights and shadows."""

from __future__ import annotations

import numpy as np
import torch

from densehybrid_ros.datasets.known_objects import KnownObject
from densehybrid_ros.datasets.training_frames import Overview
from densehybrid_ros.training.crops import Batch, Crop, Photometry
from densehybrid_ros.training.losses import INLIER, NEITHER, OUTLIER
from densehybrid_ros.training.mixed_content import WEIGHT_STEP, lay_over
from densehybrid_ros.training.pasting import PasteConfig, _random_shape, _shadow, _vary, cutout_layers
from densehybrid_ros.training.scene import CAMERA_HEIGHT, HORIZON, Scene

SIZE = (200, 400)
SQUARE = torch.full((4, 40, 40), 255, dtype=torch.uint8)
PLAIN = {"probability": 1.0, "count": (1, 1), "match_probability": 0.0, "blur_probability": 0.0}


def road(stretch: float = 1.0) -> Scene:
    """A whole frame as its crop; road in its lower half."""
    labels = np.full((50, 100), 10, np.uint8)
    labels[25:] = 0
    crop = Crop(slice(0, 200), slice(0, 400), SIZE, (0, 0), False, Photometry())
    return Scene(SIZE, crop, SIZE, Overview(np.full((50, 100, 3), 90, np.uint8), labels), stretch)


def test_on_the_road_a_metre_has_the_size_that_perspective_asks_for() -> None:
    config = PasteConfig(**PLAIN, road_share=1.0, metres=(0.5, 0.5))
    draw = cutout_layers(lambda size, rng: SQUARE, config)
    heights = set()
    for seed in range(40):
        rows = torch.nonzero((draw(road(), np.random.default_rng(seed)).pixels[3] > 127).any(1)).flatten()
        foot, height = int(rows[-1]) + 1, len(rows)
        if foot == SIZE[0]:
            continue  # cut off at the border
        assert abs(height - max(4, 0.5 * (foot - HORIZON * 200) / CAMERA_HEIGHT)) <= 1.5
        heights.add(height)
    assert len(heights) > 5


def test_known_objects_are_inliers_with_their_class_in_the_rows_of_their_own_frame() -> None:
    pixels = np.full((20, 10, 4), 255, np.uint8)
    item = KnownObject(pixels, np.full((20, 10), 11, np.uint8), top=100)
    config = PasteConfig(probability=0.0, known_count=1)
    draw = cutout_layers(lambda size, rng: None, config, [item])
    layers = [draw(road(), np.random.default_rng(seed)) for seed in range(12)]
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
            Scene(SIZE), np.random.default_rng(0)
        )
        for side in (8.0, 64.0)
    ]
    weights = [int(layer.pixels[5][layer.pixels[3] > 127].max()) / WEIGHT_STEP for layer in layers]
    assert weights == [4.0, 0.5]  # (1024 / 64)^0.5 and (1024 / 4096)^0.5
    mixed = lay_over(Batch(torch.zeros(2, 3, *SIZE), torch.zeros(2, *SIZE, dtype=torch.uint8)), layers)
    outlier = mixed.origin == OUTLIER
    assert [float(mixed.weights[i][outlier[i]].unique()) for i in (0, 1)] == weights


def test_a_negative_gets_the_coarseness_of_a_stretched_frame() -> None:
    stripes = np.zeros((64, 64, 4), np.uint8)
    stripes[:, ::2, :3], stripes[..., 3] = 255, 255
    sharp, coarse = (
        _vary(stripes, 1.0, detail, 0.0, np.random.default_rng(0))[..., :3].std(1).mean()
        for detail in ((1.0, 1.0), (1.0, 2.0))
    )
    assert coarse < 0.2 * sharp


def test_shapes_are_shapes_and_shadows_teach_nothing() -> None:
    generator = np.random.default_rng(0)
    for _ in range(12):
        shape = _random_shape(np.full((20, 20, 4), 255, np.uint8), generator)
        assert shape.dtype == np.uint8
        assert set(np.unique(shape[..., 3])) <= {0, 255}
        assert (shape[..., 3] == 255).mean() > 0.2
    for _ in range(12):
        shadow, _, _ = _shadow((30, 20), generator)
        assert 0.03 < shadow[..., 3].max() <= 0.45  # below what counts as an object
    config = PasteConfig(**PLAIN, road_share=1.0, metres=(0.8, 0.8), shadow_share=1.0)
    layer = cutout_layers(lambda size, rng: SQUARE, config)(road(), np.random.default_rng(3))
    mixed = lay_over(Batch(torch.ones(1, 3, *SIZE), torch.zeros(1, *SIZE, dtype=torch.uint8)), [layer])
    shaded = (layer.pixels[3] > 13) & (layer.pixels[3] < 127)
    assert shaded.any()
    assert (mixed.origin[0][shaded] == NEITHER).all()
