# SPDX-License-Identifier: Apache-2.0
"""Batches: the same whoever makes them, drawn from sources by share, and processes that neither hang nor spoil."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny import CPU, CUTOUT, colored_store, settings

from densehybrid_ros.datasets.training_frames import FrameStore
from densehybrid_ros.training.batches import BatchMaker, CropTask, PlainCrops, plain_crops, stream
from densehybrid_ros.training.crops import CropConfig
from densehybrid_ros.training.pasting import PasteConfig, cutout_overlays

WINDOWS = CropConfig(height=16, width=24, scale=(1.0, 1.0), color_jitter=0.0, blur_probability=0.0, noise=0.0)
TASKS = [CropTask(step, 0, 4) for step in range(3)]


def maker(draw: object = lambda size, rng: CUTOUT) -> BatchMaker:
    overlays = cutout_overlays(draw, PasteConfig(probability=1.0))
    return BatchMaker(5, CropConfig(height=32, width=40), [(colored_store(), 1.0)], CPU, overlays)


def test_a_crop_depends_on_its_place_and_not_on_who_makes_it() -> None:
    whole = maker().batch(CropTask(2, 0, 4))
    parts = [maker().batch(CropTask(2, first, 2)) for first in (0, 2)]
    for index in range(4):
        assert torch.equal(whole[index], torch.cat([part[index] for part in parts]))
    here, prepared = (list(stream(maker(), TASKS, workers)) for workers in (0, 2))
    for first, second in zip(here, prepared, strict=True):
        torch.testing.assert_close(first.images, second.images, atol=1e-5, rtol=0)
        assert torch.equal(first.origin, second.origin)
    assert not torch.equal(here[0].images, here[1].images)


def test_an_error_in_a_process_is_raised_at_its_batch() -> None:
    def broken(size: tuple[int, int], rng: np.random.Generator) -> None:
        raise ValueError("no negative")

    with pytest.raises(ValueError, match="no negative"):
        next(stream(maker(broken), TASKS, 2))


def test_sources_are_drawn_by_their_shares() -> None:
    store = colored_store()
    void = FrameStore(store.images, torch.full_like(store.labels, 255))
    mixed = BatchMaker(3, WINDOWS, [(store, 0.75), (void, 0.25)], CPU).batch(CropTask(0, 0, 150))
    assert 0.12 < (mixed.labels == 255).all(2).all(1).float().mean() < 0.4


def test_processes_live_on_where_opencv_had_threads() -> None:
    """A forked process would wait without end for the threads that OpenCV had before."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    try:
        cv2.resize(np.zeros((1200, 1600, 3), np.uint8), (3200, 2400), interpolation=cv2.INTER_LINEAR)  # starts them
        assert len(list(stream(maker(), TASKS, 2))) == 3
        assert cv2.getNumThreads() == 4
    finally:
        cv2.setNumThreads(before)


class _Mark:
    """Writes into a file which process freed it."""

    def __init__(self, file: Path) -> None:
        self.file, self.itself = file, self

    def __del__(self) -> None:
        with self.file.open("a") as file:
            file.write(f"{os.getpid()}\n")


def test_processes_free_nothing_that_was_there_before_them(tmp_path: Path) -> None:
    def collecting(size: tuple[int, int], rng: np.random.Generator) -> torch.Tensor:
        gc.collect()
        return CUTOUT

    gc.disable()
    try:
        _Mark(tmp_path / "freed")
        assert len(list(stream(maker(collecting), TASKS, 2))) == 3
    finally:
        gc.enable()
    gc.collect()
    assert (tmp_path / "freed").read_text() == f"{os.getpid()}\n"


@pytest.fixture
def noise() -> FrameStore:
    images = torch.randint(0, 256, (3, 3, 40, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return FrameStore(images, torch.zeros((3, 40, 48), dtype=torch.uint8))


def plain(store: FrameStore, crops: CropConfig = WINDOWS) -> PlainCrops | None:
    return plain_crops(settings(stage="flow", batch_size=8, crops=crops), [(store, 1.0)], CPU)


def test_a_plain_crop_is_a_window_of_a_frame_mirrored_or_not(noise: FrameStore) -> None:
    windows = noise.images.unfold(2, 16, 1).unfold(3, 24, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 16, 24)
    batch = plain(noise).batch(CropTask(0, 0, 8))
    mirrored = []
    for crop in (batch.images * 255).round().to(torch.uint8):
        found = [(windows == way).flatten(1).all(1).any().item() for way in (crop, crop.flip(-1))]
        assert any(found)
        mirrored.append(found[1])
    assert 0 < sum(mirrored) < 8
    assert (batch.labels == 255).all()


def test_plain_crops_are_the_same_however_many_cut_them(noise: FrameStore) -> None:
    made = [plain(noise).batch(CropTask(step, 0, 8)).images for step in range(3)]
    halves = [plain(noise).batch(CropTask(2, first, 4)).images for first in (0, 4)]
    assert torch.equal(made[2], torch.cat(halves))
    assert not torch.equal(made[1], made[2])
    streamed = stream(plain(noise), [CropTask(step, 0, 8) for step in range(3)], workers=2)
    assert all(torch.equal(first, batch.images) for first, batch in zip(made, streamed, strict=True))
    augmented, larger = CropConfig(height=16, width=24), CropConfig(64, 24, (1.0, 1.0), None, 0.0, 0.0, 0.0)
    assert plain(noise, augmented) is plain(noise, larger) is None  # made the long way
