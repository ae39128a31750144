"""Crops as they are, cut from frames in memory by one kernel a batch: what a flow learns from.

A step of a flow is short, and 64 crops made one by one would take as long as the step itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.datasets.taxonomy import VOID
from densehybrid_ros.datasets.training_frames import FrameStore
from densehybrid_ros.training.batches import Job, Source
from densehybrid_ros.training.config import TrainConfig
from densehybrid_ros.training.crops import CropConfig
from densehybrid_ros.training.losses import NEITHER
from densehybrid_ros.training.mixed_content import MixedBatch


class PlainCrops:
    """Makes the crops of a run. Crop ``i`` of step ``n`` depends on the configuration, n and i alone."""

    def __init__(self, config: TrainConfig, store: FrameStore, device: torch.device) -> None:
        """Keeps what is cut from; the store lies on ``device``."""
        self.device = device
        self._store = store
        self._seed, self._total = config.seed, config.batch_size
        self._size = (config.crops.height, config.crops.width)

    def batch(self, job: Job) -> MixedBatch:
        """Cuts a batch, mirrored or not at random. Its labels are void: there is nothing to learn from them."""
        rng = np.random.default_rng([self._seed, job.step])
        images, size = self._store.images, self._size
        drawn = np.stack(
            [
                rng.integers(len(images), size=self._total),
                rng.integers(images.shape[2] - size[0] + 1, size=self._total),
                rng.integers(images.shape[3] - size[1] + 1, size=self._total),
                rng.integers(2, size=self._total),
            ]
        )[:, job.first : job.first + job.size]
        index, top, left, flip = torch.from_numpy(drawn).to(self.device, non_blocking=True).view(4, -1, 1).unbind(0)
        across = torch.arange(size[1], device=self.device)
        rows = top + torch.arange(size[0], device=self.device)
        columns = left + torch.where(flip > 0, size[1] - 1 - across, across)
        channels = torch.arange(images.shape[1], device=self.device)
        crops = images[index[:, :, None, None], channels[:, None, None], rows[:, None, :, None], columns[:, None, None]]
        shape = (job.size, *size)
        return MixedBatch(crops.float() / 255, self._full(shape, VOID), self._full(shape, NEITHER))

    def _full(self, shape: tuple[int, ...], value: int) -> Tensor:
        return torch.full(shape, value, dtype=torch.uint8, device=self.device)


def plain_crops(
    config: TrainConfig, sources: Sequence[tuple[Source, float]], device: torch.device
) -> PlainCrops | None:
    """Returns the maker of plain crops where the run wants nothing else and all its frames lie in one store."""
    plain = CropConfig(
        config.crops.height, config.crops.width, scale=(1.0, 1.0), color_jitter=0.0, blur_probability=0.0, noise=0.0
    )
    store = sources[0][0]
    if config.crops != plain or len(sources) > 1 or not isinstance(store, FrameStore):
        return None
    if store.images.shape[2] < plain.height or store.images.shape[3] < plain.width:
        return None  # the frames must be padded
    return PlainCrops(config, store, device)
