"""Crops and mixed-content images: geometry, labels, and repeatability."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from densehybrid_ros.datasets.training_frames import FrameStore
from densehybrid_ros.training.crops import Batch, CropConfig, gaussian_blur, random_crops
from densehybrid_ros.training.losses import INLIER, NEITHER, OUTLIER
from densehybrid_ros.training.mixed_content import PasteConfig, paste_negatives, without_negatives

PLAIN = CropConfig(height=48, width=64, color_jitter=0.0, blur_probability=0.0, noise=0.0)


@pytest.fixture
def store() -> FrameStore:
    """Frames whose label can be read off the image: class 3 is pure green, class 7 pure blue."""
    labels = torch.full((4, 80, 120), 3, dtype=torch.uint8)
    labels[:, 30:, 50:] = 7
    images = torch.zeros((4, 3, 80, 120), dtype=torch.uint8)
    images[:, 1][labels == 3] = 255
    images[:, 2][labels == 7] = 255
    return FrameStore(images, labels)


@pytest.fixture
def square() -> torch.Tensor:
    """A red cut-out, twice as wide as high."""
    cutout = torch.zeros((4, 40, 80), dtype=torch.uint8)
    cutout[0], cutout[3] = 255, 255
    return cutout


def test_labels_stay_on_their_pixels(store: FrameStore) -> None:
    batch = random_crops(store, np.arange(4), PLAIN, np.random.default_rng(1))
    for label, channel in ((3, 1), (7, 2)):
        mask = batch.labels == label
        assert mask.any()
        assert (batch.images[:, channel][mask] > 0.4).float().mean() > 0.97  # less at the blended border alone


def test_a_shrunken_frame_is_padded_with_void(store: FrameStore) -> None:
    config = CropConfig(height=80, width=120, scale=(0.5, 0.5), color_jitter=0.0, blur_probability=0.0, noise=0.0)
    batch = random_crops(store, np.arange(4), config, np.random.default_rng(1))
    assert batch.images.shape == (4, 3, 80, 120)
    assert ((batch.labels != 255).sum((1, 2)) == 40 * 60).all()


def test_the_same_seed_gives_the_same_batch(store: FrameStore, square: torch.Tensor) -> None:
    def draw(seed: int) -> tuple[torch.Tensor, ...]:
        rng = np.random.default_rng(seed)
        crops = random_crops(store, np.arange(4), CropConfig(height=48, width=64), rng)
        return paste_negatives(crops, [square], PasteConfig(size=(16.0, 40.0)), rng)

    assert all(torch.equal(a, b) for a, b in zip(draw(5), draw(5), strict=True))
    assert not torch.equal(draw(5)[0], draw(6)[0])


def test_pasted_pixels_are_void_and_outlier(store: FrameStore, square: torch.Tensor) -> None:
    config = PasteConfig(probability=1.0, count=(1, 1), size=(20.0, 20.0), match_probability=0.0, blur_probability=0.0)
    rng = np.random.default_rng(3)
    crops = random_crops(store, np.arange(4), PLAIN, rng)
    mixed = paste_negatives(crops, [square], config, rng)
    outlier = mixed.origin == OUTLIER
    assert (outlier.sum((1, 2)) == 10 * 20).all()  # geometry preserved: 20 long, 10 high
    assert (mixed.labels[outlier] == 255).all()
    assert (mixed.images[:, 0][outlier] > 0.5).all()  # red
    inlier = mixed.origin == INLIER
    assert (mixed.labels[inlier] != 255).all()
    assert (mixed.images[:, 0][inlier] < 0.5).all()


def test_half_transparent_borders_teach_nothing() -> None:
    cutout = torch.full((4, 20, 20), 255, dtype=torch.uint8)
    cutout[3, :, :10] = 64  # alpha of a quarter: neither object nor scene
    config = PasteConfig(probability=1.0, count=(1, 1), size=(20.0, 20.0), match_probability=0.0, blur_probability=0.0)
    rng = np.random.default_rng(3)
    crops = Batch(torch.zeros((4, 3, 48, 64)), torch.full((4, 48, 64), 3, dtype=torch.uint8))
    mixed = paste_negatives(crops, [cutout], config, rng)
    assert ((mixed.origin == OUTLIER).sum((1, 2)) == 200).all()
    assert ((mixed.origin == NEITHER).sum((1, 2)) == 200).all()
    assert (mixed.labels[mixed.origin == NEITHER] == 255).all()


def test_sizes_cover_the_range_and_stay_inside(store: FrameStore, square: torch.Tensor) -> None:
    config = PasteConfig(probability=1.0, count=(1, 1), size=(16.0, 400.0), match_probability=0.0)
    rng = np.random.default_rng(0)
    counts = []
    for _ in range(40):
        mixed = paste_negatives(random_crops(store, np.arange(4), PLAIN, rng), [square], config, rng)
        counts += (mixed.origin == OUTLIER).sum((1, 2)).tolist()
    assert min(counts) <= 16 * 10
    assert max(counts) == 48 * 64  # larger than the crop: cut off at its border


def test_without_cutouts_or_luck_nothing_is_pasted(store: FrameStore, square: torch.Tensor) -> None:
    crops = random_crops(store, np.arange(4), PLAIN, np.random.default_rng(1))
    plain = without_negatives(crops)
    for cutouts, probability in (([], 1.0), ([square], 0.0)):
        mixed = paste_negatives(
            Batch(crops.images.clone(), crops.labels.clone()),
            cutouts,
            PasteConfig(probability=probability),
            np.random.default_rng(2),
        )
        assert all(torch.equal(a, b) for a, b in zip(mixed, plain, strict=True))


def test_blur_keeps_a_constant_and_the_mean() -> None:
    constant = torch.full((3, 9, 11), 0.3)
    torch.testing.assert_close(gaussian_blur(constant, 1.0), constant)
    impulse = torch.zeros((1, 21, 21))
    impulse[0, 10, 10] = 1
    assert float(gaussian_blur(impulse, 1.5).sum()) == pytest.approx(1, abs=1e-5)
