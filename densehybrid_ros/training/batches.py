"""Batches of a run: drawn by seed, step and place in the batch, prepared ahead by threads, finished on the device."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.datasets.training_frames import FrameStore
from densehybrid_ros.datasets.training_set import TrainingSet
from densehybrid_ros.training.crops import Crop, CropConfig, cut_batch, draw_crop
from densehybrid_ros.training.mixed_content import (
    DrawLayer,
    Layer,
    MixedBatch,
    lay_over,
    void_as_negatives,
    without_negatives,
)

Source = FrameStore | TrainingSet
"""Frames in memory, or in files."""


class Job(NamedTuple):
    """A part of a step's batch: crops ``first`` to ``first + size``."""

    step: int
    first: int
    size: int


class Sample(NamedTuple):
    """A crop before it is computed.

    Attributes:
        image: uint8 [3, r, c], the window of the frame.
        label: uint8 [r, c].
        crop: What is made of it.
        layer: Negatives to lay over it.
    """

    image: Tensor
    label: Tensor
    crop: Crop
    layer: Layer | None


class BatchMaker:
    """Makes the crops of a run. Crop ``i`` of step ``n`` depends on the seed, n and i alone."""

    def __init__(
        self,
        seed: int,
        crops: CropConfig,
        sources: Sequence[tuple[Source, float]],
        device: torch.device,
        negatives: DrawLayer | None = None,
        void_is_outlier: bool = False,
    ) -> None:
        """Keeps what is drawn from.

        Args:
            seed: Of the run.
            crops: How crops are drawn.
            sources: Frames with their share of the crops.
            device: Where crops are computed.
            negatives: What is pasted; None = nothing.
            void_is_outlier: Whether void pixels are the negatives.
        """
        self.seed = seed
        self.crops = crops
        self.sources = [source for source, _ in sources]
        shares = np.array([share for _, share in sources], float)
        self._cumulative = np.cumsum(shares / shares.sum())
        self.device = device
        self.negatives = negatives
        self.void_is_outlier = void_is_outlier

    def prepare(self, step: int, place: int) -> Sample:
        """Draws one crop of a step and reads its pixels; safe to call from several threads."""
        rng = np.random.default_rng([self.seed, step, place])
        number = int(np.searchsorted(self._cumulative, rng.random(), side="right"))
        source = self.sources[min(number, len(self.sources) - 1)]
        index = int(rng.integers(len(source)))
        if isinstance(source, FrameStore):
            image, label = source.images[index], source.labels[index]
            crop = draw_crop((image.shape[1], image.shape[2]), self.crops, rng)
            window, window_label = image[:, crop.rows, crop.columns], label[crop.rows, crop.columns]
        else:
            frame = source[index]
            crop = draw_crop(frame.label.shape[:2], self.crops, rng)
            pixels = frame.image[crop.rows, crop.columns].transpose(2, 0, 1)
            window = self._pinned(torch.from_numpy(np.ascontiguousarray(pixels)))
            window_label = self._pinned(torch.from_numpy(np.ascontiguousarray(frame.label[crop.rows, crop.columns])))
        layer = self.negatives((self.crops.height, self.crops.width), rng) if self.negatives else None
        if layer is not None:
            layer = layer._replace(pixels=self._pinned(layer.pixels))
        return Sample(window, window_label, crop, layer)

    def finish(self, samples: Sequence[Sample]) -> MixedBatch:
        """Computes the batch on the device."""
        windows = [
            (sample.image.to(self.device, non_blocking=True), sample.label.to(self.device, non_blocking=True))
            for sample in samples
        ]
        batch = cut_batch(windows, [sample.crop for sample in samples], self.crops)
        if self.void_is_outlier:
            return void_as_negatives(batch)
        layers = [sample.layer for sample in samples]
        return lay_over(batch, layers) if any(layers) else without_negatives(batch)

    def batch(self, job: Job) -> MixedBatch:
        """Makes a batch here and now."""
        return self.finish([self.prepare(job.step, job.first + place) for place in range(job.size)])

    def _pinned(self, tensor: Tensor) -> Tensor:
        return tensor.pin_memory() if self.device.type == "cuda" else tensor


def stream(maker: BatchMaker, jobs: Iterable[Job], workers: int, prefetch: int) -> Generator[MixedBatch, None, None]:
    """Yields the batch of each job; threads prepare the crops of up to ``prefetch`` further ones meanwhile.

    Closing the generator stops the threads. An error of a thread is raised here, at its batch.
    """
    if workers < 1:
        for job in jobs:
            yield maker.batch(job)
        return
    pool = ThreadPoolExecutor(workers, "crops", initializer=_one_thread)
    waiting: deque[list[Future[Sample]]] = deque()
    try:
        for job in jobs:
            waiting.append([pool.submit(maker.prepare, job.step, job.first + place) for place in range(job.size)])
            if len(waiting) > prefetch:
                yield maker.finish([future.result() for future in waiting.popleft()])
        while waiting:
            yield maker.finish([future.result() for future in waiting.popleft()])
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _one_thread() -> None:
    torch.set_num_threads(1)  # the pool already fills the cores
    cv2.setNumThreads(1)
