# SPDX-License-Identifier: Apache-2.0
"""Plain crops are windows of the frames, the same however many processes cut them."""

from __future__ import annotations

import pytest
import torch
from tiny import CPU, colored_store, settings

from densehybrid_ros.datasets.training_frames import FrameStore
from densehybrid_ros.training.batches import CropTask, PlainCrops, plain_crops, stream
from densehybrid_ros.training.crops import CropConfig

CROPS = CropConfig(height=16, width=24, scale=(1.0, 1.0), color_jitter=0.0, blur_probability=0.0, noise=0.0)


@pytest.fixture
def store() -> FrameStore:
    images = torch.randint(0, 256, (3, 3, 40, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return FrameStore(images, torch.zeros((3, 40, 48), dtype=torch.uint8))


def maker(store: FrameStore, **changes: object) -> PlainCrops | None:
    return plain_crops(settings(stage="flow", batch_size=8, **{"crops": CROPS, **changes}), [(store, 1.0)], CPU)


def test_every_crop_is_a_window_of_a_frame_mirrored_or_not(store: FrameStore) -> None:
    windows = store.images.unfold(2, 16, 1).unfold(3, 24, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 16, 24)
    batch = maker(store).batch(CropTask(0, 0, 8))
    crops = (batch.images * 255).round().to(torch.uint8)
    mirrored = []
    for crop in crops:
        found = [(windows == way).flatten(1).all(1).any().item() for way in (crop, crop.flip(-1))]
        assert any(found)
        mirrored.append(found[1])
    assert 0 < sum(mirrored) < len(crops)
    assert batch.images.dtype == torch.float32
    assert (batch.labels == 255).all()


def test_two_processes_cut_the_crops_of_one(store: FrameStore) -> None:
    whole = maker(store).batch(CropTask(5, 0, 8)).images
    halves = [maker(store).batch(CropTask(5, first, 4)).images for first in (0, 4)]
    assert torch.equal(whole, torch.cat(halves))
    assert not torch.equal(whole, maker(store).batch(CropTask(6, 0, 8)).images)


def test_they_are_streamed_without_threads(store: FrameStore) -> None:
    tasks = [CropTask(step, 0, 8) for step in range(3)]
    for task, batch in zip(tasks, stream(maker(store), tasks, workers=2), strict=True):
        assert torch.equal(batch.images, maker(store).batch(task).images)


@pytest.mark.parametrize(
    "crops",
    [CropConfig(height=16, width=24), CropConfig(64, 24, (1.0, 1.0), None, 0.0, 0.0, 0.0)],
    ids=["augmented", "larger than a frame"],
)
def test_other_crops_are_made_the_long_way(crops: CropConfig) -> None:
    assert maker(colored_store(), crops=crops) is None
