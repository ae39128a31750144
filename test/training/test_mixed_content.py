# SPDX-License-Identifier: Apache-2.0
"""Crops and mixed-content images: geometry, labels, and repeatability."""

from __future__ import annotations

import gc
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from densehybrid_ros.datasets.training_frames import KNOWN, UNKNOWN, FrameStore, Overview
from densehybrid_ros.training.batches import BatchMaker, CropTask, stream
from densehybrid_ros.training.crops import (
    Batch,
    Crop,
    CropConfig,
    CropContext,
    Photometry,
    draw_photometry,
    gaussian_blur,
    recolor,
)
from densehybrid_ros.training.losses import INLIER, NEITHER, OUTLIER
from densehybrid_ros.training.mixed_content import DrawOverlay, lay_over, void_as_negatives, without_pasting
from densehybrid_ros.training.pasting import PasteConfig, _matched, _put, cutout_overlays, empty_canvas, recipe_overlays

CPU = torch.device("cpu")
PLAIN = CropConfig(height=48, width=64, color_jitter=0.0, blur_probability=0.0, noise=0.0)
SCENE = CropContext(
    (48, 64),
    Crop(slice(0, 48), slice(0, 64), (48, 64), (0, 0), False, Photometry()),
    Overview(np.zeros((12, 16, 3), np.uint8), np.zeros((12, 16), np.uint8)),
)


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


def crops_of(store: FrameStore, config: CropConfig, count: int = 4, seed: int = 1) -> Batch:
    mixed = BatchMaker(seed, config, [(store, 1.0)], CPU).batch(CropTask(0, 0, count))
    return Batch(mixed.images, mixed.labels)


def overlays_of(cutout: torch.Tensor, config: PasteConfig) -> DrawOverlay:
    return cutout_overlays(lambda size, rng: cutout, config)


def test_labels_stay_on_their_pixels(store: FrameStore) -> None:
    batch = crops_of(store, PLAIN, 8)
    for label, channel in ((3, 1), (7, 2)):
        mask = batch.labels == label
        assert mask.any()
        assert (batch.images[:, channel][mask] > 0.4).float().mean() > 0.97  # less at the blended border alone


def test_a_shrunken_frame_is_padded_with_void(store: FrameStore) -> None:
    config = CropConfig(height=80, width=120, scale=(0.5, 0.5), color_jitter=0.0, blur_probability=0.0, noise=0.0)
    batch = crops_of(store, config)
    assert batch.images.shape == (4, 3, 80, 120)
    assert ((batch.labels != 255).sum((1, 2)) == 40 * 60).all()


def test_a_crop_depends_on_its_place_and_not_on_who_makes_it(store: FrameStore, square: torch.Tensor) -> None:
    """What several processes and threads rely on."""
    maker = BatchMaker(5, CropConfig(height=48, width=64), [(store, 1.0)], CPU, overlays_of(square, PasteConfig()))
    whole = maker.batch(CropTask(2, 0, 6))
    parts = [maker.batch(CropTask(2, first, 3)) for first in (0, 3)]
    for index in range(3):
        assert torch.equal(whole[index], torch.cat([part[index] for part in parts]))
    tasks = [CropTask(step, 0, 6) for step in range(4)]
    inline, threads = (list(stream(maker, tasks, workers)) for workers in (0, 3))
    for first, second in zip(inline, threads, strict=True):
        torch.testing.assert_close(first.images, second.images, atol=1e-5, rtol=0)
        assert torch.equal(first.origin, second.origin)
    assert not torch.equal(inline[0].images, inline[1].images)


def test_an_error_in_a_thread_is_raised_at_its_batch(store: FrameStore) -> None:
    def broken(context: CropContext, rng: np.random.Generator) -> None:
        raise ValueError("no negative")

    maker = BatchMaker(5, PLAIN, [(store, 1.0)], CPU, broken)
    with pytest.raises(ValueError, match="no negative"):
        next(stream(maker, [CropTask(0, 0, 2)], 2))


def test_sources_are_drawn_by_their_shares(store: FrameStore) -> None:
    void = FrameStore(store.images, torch.full_like(store.labels, 255))
    config = CropConfig(height=8, width=8, scale=(1.0, 2.0), color_jitter=0.0, noise=0.0)
    mixed = BatchMaker(3, config, [(store, 0.75), (void, 0.25)], CPU).batch(CropTask(0, 0, 400))
    assert 0.15 < (mixed.labels == 255).all(2).all(1).float().mean() < 0.35


def test_pasted_pixels_are_void_and_outlier(store: FrameStore, square: torch.Tensor) -> None:
    config = PasteConfig(probability=1.0, count=(1, 1), size=(20.0, 20.0), match_probability=0.0, blur_probability=0.0)
    mixed = BatchMaker(3, PLAIN, [(store, 1.0)], CPU, overlays_of(square, config)).batch(CropTask(0, 0, 4))
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
    overlays = [overlays_of(cutout, config)(SCENE, rng) for _ in range(4)]
    mixed = lay_over(Batch(torch.zeros((4, 3, 48, 64)), torch.full((4, 48, 64), 3, dtype=torch.uint8)), overlays)
    assert ((mixed.origin == OUTLIER).sum((1, 2)) == 200).all()
    assert ((mixed.origin == NEITHER).sum((1, 2)) == 200).all()
    assert (mixed.labels[mixed.origin == NEITHER] == 255).all()


def test_sizes_cover_the_range_and_stay_inside(square: torch.Tensor) -> None:
    config = PasteConfig(probability=1.0, count=(1, 1), size=(16.0, 400.0), match_probability=0.0)
    draw, rng = overlays_of(square, config), np.random.default_rng(0)
    counts = [int((draw(SCENE, rng)[3] > 127).sum()) for _ in range(160)]
    assert min(counts) <= 16 * 10
    assert max(counts) == 48 * 64  # larger than the crop: cut off at its border


def test_several_cutouts_lie_over_each_other_as_if_pasted_one_by_one() -> None:
    generator = np.random.default_rng(0)
    scene = generator.random((8, 8, 3)).astype(np.float32)
    canvas, expected = empty_canvas((8, 8)), scene.copy()
    for _ in range(3):
        cutout = generator.random((8, 8, 4)).astype(np.float32)
        _put(canvas, cutout, 0, 0, 255, 0.0)
        expected = (1 - cutout[..., 3:]) * expected + cutout[..., 3:] * cutout[..., :3]
    color, alpha = canvas[..., :3].astype(np.float32) / 255, canvas[..., 3:4].astype(np.float32) / 255
    np.testing.assert_allclose((1 - alpha) * scene + alpha * color, expected, atol=0.02)  # kept as bytes


def test_without_luck_nothing_is_pasted(store: FrameStore, square: torch.Tensor) -> None:
    crops = crops_of(store, PLAIN)
    assert overlays_of(square, PasteConfig(probability=0.0))(SCENE, np.random.default_rng(2)) is None
    mixed = lay_over(Batch(crops.images.clone(), crops.labels.clone()), [None] * 4)
    assert mixed.weights is None
    assert all(torch.equal(a, b) for a, b in zip(mixed[:3], without_pasting(crops)[:3], strict=True))


def test_a_recipe_is_pasted_as_it_is(square: torch.Tensor) -> None:
    overlay = recipe_overlays(lambda size, rng: square[:, :10, :20])(SCENE, np.random.default_rng(2))
    opaque = overlay[3] == 255
    assert int(opaque.sum()) == 10 * 20
    assert (overlay[0][opaque] == 255).all()
    assert recipe_overlays(lambda size, rng: None)(SCENE, np.random.default_rng(2)) is None


def test_void_pixels_can_be_the_negatives() -> None:
    labels = torch.full((1, 4, 4), 3, dtype=torch.uint8)
    labels[:, :2] = 255
    mixed = void_as_negatives(Batch(torch.zeros(1, 3, 4, 4), labels))
    assert (mixed.origin[:, :2] == OUTLIER).all()
    assert (mixed.origin[:, 2:] == INLIER).all()


def test_matching_draws_colours_towards_the_scene() -> None:
    generator = np.random.default_rng(0)
    cutout = np.dstack([generator.uniform(0.6, 1.0, (8, 8, 3)), np.ones((8, 8))]).astype(np.float32)
    around = generator.uniform(0.2, 0.3, (50, 3)).astype(np.float32)
    matched = _matched(cutout, around, 1.0)
    np.testing.assert_allclose(matched.mean((0, 1)), around.mean(0), atol=1e-3)
    assert matched.std() < cutout[..., :3].std()
    np.testing.assert_array_equal(_matched(cutout, around[:0], 1.0), cutout[..., :3])


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


def test_a_third_of_a_turn_of_the_hue_moves_the_channels_on_and_leaves_greys() -> None:
    images = torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(2))
    images[1] = images[1, :1]
    turned = recolor(images.clone(), [Photometry(hue=120.0), Photometry(hue=77.0)])
    torch.testing.assert_close(turned[0], images[0].roll(1, dims=0))
    torch.testing.assert_close(turned[1], images[1])


def test_hues_are_drawn_last_and_within_their_range() -> None:
    """What else is drawn for a crop is the same with and without, so that older runs can be repeated."""
    plain, turned = CropConfig(), CropConfig(hue_jitter=30.0)
    drawn = [draw_photometry(config, np.random.default_rng(3)) for config in (plain, turned)]
    assert drawn[0].hue == 0
    assert replace(drawn[1], hue=0.0) == drawn[0]
    hues = [draw_photometry(turned, np.random.default_rng(seed)).hue for seed in range(200)]
    assert -30 <= min(hues) < -25
    assert 25 < max(hues) <= 30


def test_processes_live_on_where_opencv_had_threads(store: FrameStore, square: torch.Tensor) -> None:
    """A forked process would wait for ever for the threads that OpenCV had before."""
    cv2.setNumThreads(4)
    cv2.resize(np.zeros((1200, 1600, 3), np.uint8), (3200, 2400), interpolation=cv2.INTER_LINEAR)  # starts them
    maker = BatchMaker(5, PLAIN, [(store, 1.0)], CPU, overlays_of(square, PasteConfig(probability=1.0)))
    assert len(list(stream(maker, [CropTask(step, 0, 2) for step in range(3)], 2))) == 3
    assert cv2.getNumThreads() == 4


class _Mark:
    """Writes into a file which process freed it."""

    def __init__(self, file: Path) -> None:
        self.file, self.itself = file, self

    def __del__(self) -> None:
        with self.file.open("a") as file:
            file.write(f"{os.getpid()}\n")


def test_processes_free_nothing_that_was_there_before_them(
    store: FrameStore, square: torch.Tensor, tmp_path: Path
) -> None:
    file = tmp_path / "freed"

    def collecting(size: tuple[int, int], rng: np.random.Generator) -> torch.Tensor:
        gc.collect()
        return square

    maker = BatchMaker(5, PLAIN, [(store, 1.0)], CPU, cutout_overlays(collecting, PasteConfig(probability=1.0)))
    gc.disable()
    try:
        _Mark(file)
        assert len(list(stream(maker, [CropTask(step, 0, 2) for step in range(3)], 2))) == 3
    finally:
        gc.enable()
    gc.collect()
    assert file.read_text() == f"{os.getpid()}\n"


def test_what_is_known_without_a_class_is_an_inlier_without_a_label() -> None:
    labels = torch.tensor([[[KNOWN, UNKNOWN, 255, 3]]], dtype=torch.uint8)
    mixed = without_pasting(Batch(torch.zeros(1, 3, 1, 4), labels))
    assert mixed.origin.tolist() == [[[INLIER, OUTLIER, NEITHER, INLIER]]]
    assert mixed.labels.tolist() == [[[255, 255, 255, 3]]]
