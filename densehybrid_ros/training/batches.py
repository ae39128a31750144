"""Batches of a run: drawn by seed, step and place in the batch, prepared ahead by processes, finished on the device.

Preparing a crop is a few milliseconds of Python. In threads it would hold the interpreter against the thread that
launches the training step's kernels, and the GPU would wait.
"""

from __future__ import annotations

import gc
import math
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from densehybrid_ros.datasets.labelled_set import LabelledSet
from densehybrid_ros.datasets.training_frames import (
    OVERVIEW_STEP,
    FrameStore,
    Overview,
    overview_of,
    training_labels,
)
from densehybrid_ros.training.crops import Crop, CropConfig, cut_batch, draw_crop
from densehybrid_ros.training.mixed_content import DrawLayer, MixedBatch, lay_over, void_as_negatives
from densehybrid_ros.training.rare_classes import RareClasses
from densehybrid_ros.training.scene import Scene
from densehybrid_ros.training.side_stream import side_stream

_FINISHED_AHEAD = 2
_PREPARED_AHEAD = 4

Item = TypeVar("Item")
Source = FrameStore | LabelledSet
"""Frames in memory, or in files."""


class Job(NamedTuple):
    """A part of a step's batch: crops ``first`` to ``first + size``."""

    step: int
    first: int
    size: int


class Sample(NamedTuple):
    """A crop before it is computed.

    Attributes:
        source: Number of the source of its frame.
        frame: Number of the frame there.
        crop: What is made of it.
        image: uint8 [3, r, c], the window of the frame; None where the source holds its frames in memory.
        label: uint8 [r, c], likewise.
        layer: What is laid over it.
    """

    source: int
    frame: int
    crop: Crop
    image: Tensor | None
    label: Tensor | None
    layer: Tensor | None


class Maker(Protocol):
    """Makes the batches of a run: a ``BatchMaker``, or ``PlainCrops``, which is too quick to need processes."""

    device: torch.device

    def batch(self, job: Job) -> MixedBatch:
        """Makes a batch here and now."""


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
        with_unknown: bool = False,
    ) -> None:
        """Keeps what is drawn from.

        Args:
            seed: Of the run.
            crops: How crops are drawn.
            sources: Frames with their share of the crops.
            device: Where crops are computed.
            negatives: What is pasted; None = nothing.
            void_is_outlier: Whether void pixels are the negatives.
            with_unknown: Whether real unknowns of frames in files are negatives. Frames in memory say it themselves.
        """
        self.seed = seed
        self.crops = crops
        self.sources = [source for source, _ in sources]
        shares = np.array([share for _, share in sources], float)
        self._cumulative = np.cumsum(shares / shares.sum())
        self.device = device
        self.negatives = negatives
        self.void_is_outlier = void_is_outlier
        self.with_unknown = with_unknown
        stores = [source if isinstance(source, FrameStore) else None for source in self.sources]
        if negatives is not None or crops.rare_share > 0:
            for store in stores:
                _ = store.overview if store else None  # made here, once, for all processes
        self._rare = [
            RareClasses(store.overview.labels) if store and crops.rare_share > 0 else None for store in stores
        ]

    def prepare(self, step: int, place: int) -> Sample:
        """Draws one crop of a step, and reads its pixels where they lie in a file; touches no GPU."""
        rng = np.random.default_rng([self.seed, step, place])
        number = int(np.searchsorted(self._cumulative, rng.random(), side="right"))
        number = min(number, len(self.sources) - 1)
        source, rare = self.sources[number], self._rare[number]
        index, focus = int(rng.integers(len(source))), None
        image: Tensor | None = None
        label: Tensor | None = None
        overview: Overview | None = None
        if isinstance(source, FrameStore):
            if rare is not None and rng.random() < self.crops.rare_share:
                index, row, column = rare.draw(rng)
                focus = (row * OVERVIEW_STEP, column * OVERVIEW_STEP)
            frame = (int(source.labels.shape[1]), int(source.labels.shape[2]))
            if self.negatives is not None:
                overview = Overview(*(part[index] for part in source.overview))
            crop = draw_crop(frame, self.crops, rng, focus)
        else:
            read = source[index]
            labels = training_labels(read, self.with_unknown)
            overview = overview_of(read.image, labels)
            crop = draw_crop((labels.shape[0], labels.shape[1]), self.crops, rng)
            pixels = read.image[crop.rows, crop.columns].transpose(2, 0, 1)
            image = torch.from_numpy(np.ascontiguousarray(pixels))
            label = torch.from_numpy(np.ascontiguousarray(labels[crop.rows, crop.columns]))
        layer = None
        if self.negatives is not None and overview is not None:
            layer = self.negatives(Scene((self.crops.height, self.crops.width), crop, overview), rng)
        return Sample(number, index, crop, image, label, layer)

    def finish(self, samples: Sequence[Sample]) -> MixedBatch:
        """Computes the batch on the device."""
        windows = [self._window(sample) for sample in samples]
        batch = cut_batch(windows, [sample.crop for sample in samples], self.crops)
        if self.void_is_outlier:
            return void_as_negatives(batch)
        layers = [sample.layer for sample in samples]
        return lay_over(batch, layers)

    def batch(self, job: Job) -> MixedBatch:
        """Makes a batch here and now."""
        return self.finish([self.prepare(job.step, job.first + place) for place in range(job.size)])

    def _window(self, sample: Sample) -> tuple[Tensor, Tensor]:
        if sample.image is not None and sample.label is not None:
            return tuple(part.to(self.device, non_blocking=True) for part in (sample.image, sample.label))  # type: ignore[return-value]
        source, crop = self.sources[sample.source], sample.crop
        assert isinstance(source, FrameStore)
        part = (sample.frame, ..., crop.rows, crop.columns)
        return source.images[part].to(self.device), source.labels[part].to(self.device)


def stream(maker: Maker, jobs: Iterable[Job], workers: int) -> Generator[MixedBatch, None, None]:
    """Yields the batch of each job; processes prepare the crops of at least four further ones meanwhile.

    On a GPU, a thread finishes the next two batches beside the training step. Without ``workers``, and where ``maker``
    is no ``BatchMaker``, all is done here. Closing the generator stops the processes. An error of one is raised here,
    at its batch.
    """
    if workers < 1 or not isinstance(maker, BatchMaker):
        for job in jobs:
            yield maker.batch(job)
        return
    on_gpu = maker.device.type == "cuda"
    workers = min(workers, len(os.sched_getaffinity(0)))
    loader: DataLoader = DataLoader(
        _Prepared(maker),
        sampler=jobs,
        batch_size=None,
        num_workers=workers,
        collate_fn=_as_it_is,
        prefetch_factor=max(1, math.ceil(_PREPARED_AHEAD / workers)),
        pin_memory=on_gpu,
        multiprocessing_context="fork",  # the frames' overviews and the negatives are shared, not copied
    )
    with _ready_to_fork():
        prepared = iter(loader)
    if not on_gpu:
        for samples in prepared:
            yield _finish(maker, samples)
        return
    with side_stream(maker.device) as aside:
        finished = (aside.submit(partial(_finish, maker, samples)) for samples in prepared)
        for pending in _ahead(finished, _FINISHED_AHEAD):
            yield aside.take(pending)


@contextmanager
def _ready_to_fork() -> Iterator[None]:
    """Keeps from forked processes what would end or stop them.

    OpenCV's threads do not live on there, and would be waited for for ever; and what lies about unused, such as a CUDA
    graph of an earlier run, may only be freed where CUDA was started.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)
    gc.collect()
    gc.freeze()  # a child's collector leaves alone what there is now
    try:
        yield
    finally:
        gc.unfreeze()
        cv2.setNumThreads(threads)


class _Prepared(Dataset):
    """What a ``DataLoader`` reads: the crops of a job, or the error that they met."""

    def __init__(self, maker: BatchMaker) -> None:
        self._maker = maker

    def __getitem__(self, job: Job) -> list[Sample] | Exception:
        try:
            return [self._maker.prepare(job.step, job.first + place) for place in range(job.size)]
        except Exception as error:  # a DataLoader would wrap a traceback around its message
            return error


def _finish(maker: BatchMaker, samples: list[Sample] | Exception) -> MixedBatch:
    if isinstance(samples, Exception):
        raise samples
    return maker.finish(samples)


def _as_it_is(samples: Any) -> Any:
    return samples


def _ahead(items: Iterable[Item], count: int) -> Iterator[Item]:
    """Yields ``items``, having asked for up to ``count`` further ones before."""
    waiting: deque[Item] = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > count:
            yield waiting.popleft()
    yield from waiting
