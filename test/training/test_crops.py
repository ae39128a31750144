# SPDX-License-Identifier: Apache-2.0
"""Crops: geometry, colours, rare classes, and what is known of a crop before its pixels are computed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import CPU

from densehybrid_ros.datasets.training_frames import FrameStore, Overview
from densehybrid_ros.training.batches import BatchMaker, CropTask
from densehybrid_ros.training.crops import (
    Crop,
    CropConfig,
    CropContext,
    Photometry,
    RareClasses,
    draw_crop,
    draw_photometry,
    gaussian_blur,
    recolor,
)
from densehybrid_ros.training.mixed_content import MixedBatch

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


def crops_of(store: FrameStore, config: CropConfig, count: int) -> MixedBatch:
    return BatchMaker(1, config, [(store, 1.0)], CPU).batch(CropTask(0, 0, count))


def test_labels_stay_on_their_pixels_and_a_shrunken_frame_is_padded_with_void(store: FrameStore) -> None:
    batch = crops_of(store, PLAIN, 8)
    for label, channel in ((3, 1), (7, 2)):
        mask = batch.labels == label
        assert mask.any()
        assert (batch.images[:, channel][mask] > 0.4).float().mean() > 0.97  # less at the blended border alone
    batch = crops_of(store, replace(PLAIN, height=80, width=120, scale=(0.5, 0.5)), 4)
    assert batch.images.shape == (4, 3, 80, 120)
    assert ((batch.labels != 255).sum((1, 2)) == 40 * 60).all()


def test_rare_classes_are_drawn_more_often_and_a_crop_shows_its_focus() -> None:
    labels = np.zeros((10, 40, 50), np.uint8)
    labels[3, 5:10, 20:24] = 7  # 20 of 20,000 pixels
    labels[4:, :3] = 255
    rare, rng = RareClasses(labels), np.random.default_rng(0)
    drawn = [rare.draw(rng) for _ in range(200)]
    assert sum(labels[place] == 7 for place in drawn) > 100
    assert all(labels[place] != 255 for place in drawn)
    index, row, column = RareClasses(np.full((3, 4, 5), 255, np.uint8)).draw(rng)  # frames without labels
    assert (0 <= index < 3, row, column) == (True, 0, 0)
    for _ in range(100):
        focus = (int(rng.integers(80)), int(rng.integers(120)))
        crop = draw_crop((80, 120), CropConfig(height=32, width=32, scale=(0.3, 3.0)), rng, focus)
        assert crop.rows.start <= focus[0] < crop.rows.stop
        assert crop.columns.start <= focus[1] < crop.columns.stop


def test_blur_keeps_a_constant_and_the_mean() -> None:
    constant = torch.full((3, 9, 11), 0.3)
    torch.testing.assert_close(gaussian_blur(constant, 1.0), constant)
    impulse = torch.zeros((1, 21, 21))
    impulse[0, 10, 10] = 1
    assert float(gaussian_blur(impulse, 1.5).sum()) == pytest.approx(1, abs=1e-5)


def test_recolouring_a_batch_is_that_of_each_image() -> None:
    images = torch.rand(5, 3, 12, 16, generator=torch.Generator().manual_seed(1))
    changes = [
        Photometry(),
        Photometry(sharpen=1.0),
        Photometry((1.2, 0.8, 1.3, 0.9), noise=0.05, noise_seed=7),
        Photometry((0.9, 1.1, 0.7, 1.2), 0.8),
        Photometry(hue=120.0),
    ]
    together = recolor(images.clone(), changes)
    for index, change in enumerate(changes):
        torch.testing.assert_close(together[index : index + 1], recolor(images[index : index + 1].clone(), [change]))
    torch.testing.assert_close(together[0], images[0])
    torch.testing.assert_close(together[4], images[4].roll(1, dims=0))  # a third of a turn moves the channels on
    grey = images[:1, :1].expand(1, 3, -1, -1)
    torch.testing.assert_close(recolor(grey.clone(), [Photometry(hue=77.0)]), grey)


def test_hues_are_drawn_last_and_within_their_range() -> None:
    """What else is drawn for a crop is the same with and without, so that older runs can be repeated."""
    plain, turned = CropConfig(), CropConfig(hue_jitter=30.0)
    drawn = [draw_photometry(config, np.random.default_rng(3)) for config in (plain, turned)]
    assert replace(drawn[1], hue=0.0) == drawn[0]
    hues = [draw_photometry(turned, np.random.default_rng(seed)).hue for seed in range(200)]
    assert -30 <= min(hues) < -25
    assert 25 < max(hues) <= 30


@pytest.mark.parametrize("flip", [False, True])
def test_colours_around_a_place_are_the_frames(flip: bool) -> None:
    """A frame of 400x800, red from row 240 on, blue above it and green in its leftmost 120 columns."""
    colors = np.zeros((100, 200, 3), np.uint8)
    colors[60:, :, 0], colors[:60, :, 2] = 255, 255
    colors[:, :30] = (0, 255, 0)
    crop = Crop(slice(200, 400), slice(100, 300), (200, 200), (0, 0), flip, Photometry())
    shown = CropContext((200, 200), crop, Overview(colors, np.zeros((100, 200), np.uint8)))
    places = {"below": (150, 100), "above": (10, 100), "left": (100, 197 if flip else 2)}
    found = {name: shown.colors(*place, 5).mean(0).tolist() for name, place in places.items()}
    assert found == {"below": [1, 0, 0], "above": [0, 0, 1], "left": [0, 1, 0]}
    assert shown.colors(-900, 100, 5).shape == (0, 3)
