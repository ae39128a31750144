# SPDX-License-Identifier: Apache-2.0
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
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from densehybrid_ros.datasets.labelled_set import LabelledSet
from densehybrid_ros.datasets.taxonomy import VOID
from densehybrid_ros.datasets.training_frames import OVERVIEW_STEP, FrameStore, Overview, overview_of, training_labels
from densehybrid_ros.training.config import TrainConfig
from densehybrid_ros.training.crops import Crop, CropConfig, CropContext, RareClasses, cut_batch, draw_crop
from densehybrid_ros.training.losses import NEITHER
from densehybrid_ros.training.mixed_content import DrawOverlay, MixedBatch, lay_over, void_as_negatives

_FINISHED_AHEAD = 2
_PREPARED_AHEAD = 4
_STEPS_AHEAD = 2  # what the host may launch before the GPU has come so far: each step's batch takes memory meanwhile

Source = FrameStore | LabelledSet
"""Frames in memory, or in files."""


def frame_tensors(source: Source, index: int) -> tuple[Tensor, Tensor]:
    """Returns a frame's image, uint8 [3, H, W] RGB, and its label, uint8 [H, W] train ids."""
    if isinstance(source, FrameStore):
        return source.images[index], source.labels[index]
    frame = source[index]
    assert frame.semantic is not None
    return torch.from_numpy(frame.image.transpose(2, 0, 1).copy()), torch.from_numpy(frame.semantic)


class CropTask(NamedTuple):
    """A part of a step's batch: crops ``first`` to ``first + size``."""

    step: int
    first: int
    size: int


class Sample(NamedTuple):
    """A crop before it is computed: number of its source, frame there, what is made of it and laid over it.

    ``image``, uint8 [3, r, c], and ``label``, uint8 [r, c], are the window of the frame; None where the source holds
    its frames in memory.
    """

    source: int
    frame: int
    crop: Crop
    image: Tensor | None
    label: Tensor | None
    overlay: Tensor | None


@dataclass(eq=False)
class BatchMaker:
    """Makes the crops of a run. Crop ``i`` of step ``n`` depends on the seed, n and i alone."""

    seed: int  # Of the run
    crops: CropConfig  # How crops are drawn
    shares: Sequence[tuple[Source, float]]  # Frames with their share of the crops
    device: torch.device  # Where crops are computed
    negatives: DrawOverlay | None = None  # What is pasted; None = nothing
    void_is_outlier: bool = False  # Whether void pixels are the negatives
    with_unknown: bool = False  # Whether real unknowns of frames in files are; frames in memory say it themselves

    def __post_init__(self) -> None:
        self._sources = [source for source, _ in self.shares]
        shares = np.array([share for _, share in self.shares], float)
        self._cumulative = np.cumsum(shares / shares.sum())
        self._rare: list[RareClasses | None] = []
        for source in self._sources:
            rare = None
            if isinstance(source, FrameStore) and (self.negatives is not None or self.crops.rare_share > 0):
                labels = source.overview.labels  # made here, once, for all processes
                rare = RareClasses(labels) if self.crops.rare_share > 0 else None
            self._rare.append(rare)

    def prepare(self, step: int, place: int) -> Sample:
        """Draws one crop of a step, and reads its pixels where they lie in a file; touches no GPU."""
        rng = np.random.default_rng([self.seed, step, place])
        number = int(np.searchsorted(self._cumulative, rng.random(), side="right"))
        number = min(number, len(self._sources) - 1)
        source, rare = self._sources[number], self._rare[number]
        index, focus = int(rng.integers(len(source))), None
        image = label = overview = None
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
        overlay = None
        if self.negatives is not None and overview is not None:
            overlay = self.negatives(CropContext((self.crops.height, self.crops.width), crop, overview), rng)
        return Sample(number, index, crop, image, label, overlay)

    def samples(self, task: CropTask) -> list[Sample]:
        """Draws the crops of a task; touches no GPU."""
        return [self.prepare(task.step, task.first + place) for place in range(task.size)]

    def finish(self, samples: Sequence[Sample]) -> MixedBatch:
        """Computes the batch on the device."""
        windows = [self._window(sample) for sample in samples]
        images, labels = cut_batch(windows, [sample.crop for sample in samples], self.crops)
        if self.void_is_outlier:
            return void_as_negatives(images, labels)
        return lay_over(images, labels, [sample.overlay for sample in samples])

    def batch(self, task: CropTask) -> MixedBatch:
        """Makes a batch here and now."""
        return self.finish(self.samples(task))

    def _window(self, sample: Sample) -> tuple[Tensor, Tensor]:
        if sample.image is not None and sample.label is not None:
            image, label = sample.image, sample.label
            return image.to(self.device, non_blocking=True), label.to(self.device, non_blocking=True)
        source, crop = self._sources[sample.source], sample.crop
        assert isinstance(source, FrameStore)
        part = (sample.frame, ..., crop.rows, crop.columns)
        return source.images[part].to(self.device), source.labels[part].to(self.device)


class PlainCrops:
    """Makes crops as they are, cut from frames in memory by one kernel a batch: what a flow learns from.

    A step of a flow is short, and 64 crops made one by one would take as long as the step itself. Crop ``i`` of step
    ``n`` depends on the configuration, n and i alone. Labels are void: there is nothing to learn from them.
    """

    def __init__(self, config: TrainConfig, images: Tensor, device: torch.device) -> None:
        self.device, self._images = device, images
        self._seed, self._total = config.seed, config.batch_size
        self._size = (config.crops.height, config.crops.width)

    def batch(self, task: CropTask) -> MixedBatch:
        """Cuts a batch, mirrored or not at random."""
        rng = np.random.default_rng([self._seed, task.step])
        images, size = self._images, self._size
        ranges = (len(images), images.shape[2] - size[0] + 1, images.shape[3] - size[1] + 1, 2)
        drawn = np.stack([rng.integers(stop, size=self._total) for stop in ranges])
        drawn = drawn[:, task.first : task.first + task.size]
        index, top, left, flip = torch.from_numpy(drawn).to(self.device, non_blocking=True).view(4, -1, 1).unbind(0)
        across = torch.arange(size[1], device=self.device)
        rows = top + torch.arange(size[0], device=self.device)
        columns = left + torch.where(flip > 0, size[1] - 1 - across, across)
        channels = torch.arange(images.shape[1], device=self.device)
        crops = images[index[:, :, None, None], channels[:, None, None], rows[:, None, :, None], columns[:, None, None]]
        shape = (task.size, *size)
        labels, origin = (torch.full(shape, value, dtype=torch.uint8, device=self.device) for value in (VOID, NEITHER))
        return MixedBatch(crops.float() / 255, labels, origin)


def plain_crops(
    config: TrainConfig, sources: Sequence[tuple[Source, float]], device: torch.device
) -> PlainCrops | None:
    """Returns the maker of plain crops where the run wants nothing else and all its frames lie in one store."""
    height, width, store = config.crops.height, config.crops.width, sources[0][0]
    plain = CropConfig(height, width, scale=(1.0, 1.0), color_jitter=0.0, blur_probability=0.0, noise=0.0)
    if config.crops != plain or len(sources) > 1 or not isinstance(store, FrameStore):
        return None
    padded = store.images.shape[2] < height or store.images.shape[3] < width
    return None if padded else PlainCrops(config, store.images, device)


BatchSource = BatchMaker | PlainCrops
"""Makes the batches of a run, here and now; the latter is too quick to need processes."""


def stream(maker: BatchSource, tasks: Iterable[CropTask], workers: int) -> Generator[MixedBatch, None, None]:
    """Yields the batch of each task; processes prepare the crops of at least four further ones meanwhile.

    On a GPU, a thread finishes the next two batches beside the training step. Without ``workers``, and where ``maker``
    is no ``BatchMaker``, all is done here. Closing the generator stops the processes. An error of one is raised here,
    at its batch.
    """
    if workers < 1 or not isinstance(maker, BatchMaker):
        for task in tasks:
            yield maker.batch(task)
        return
    on_gpu = maker.device.type == "cuda"
    workers = min(workers, len(os.sched_getaffinity(0)))
    loader: DataLoader[Any] = DataLoader(
        _Prepared(maker),
        sampler=tasks,
        batch_size=None,
        num_workers=workers,
        collate_fn=_as_it_is,
        prefetch_factor=max(1, math.ceil(_PREPARED_AHEAD / workers)),
        pin_memory=on_gpu,
        multiprocessing_context="fork",  # the frames' overviews and the negatives are shared, not copied
    )
    with _ready_to_fork():
        prepared: Any = iter(loader)
    try:
        if on_gpu:
            with closing(_finished_aside(maker, prepared)) as batches:
                yield from batches
        else:
            yield from (_finish(maker, samples) for samples in prepared)
    finally:  # not left to the collector: among the garbage of an error, the processes would be waited for in vain
        prepared._shutdown_workers()


@contextmanager
def _ready_to_fork() -> Iterator[None]:
    """Keeps from forked processes what would end or stop them.

    OpenCV's threads do not live on there, and would be waited for without end; and what lies about unused, such as a
    CUDA graph of an earlier run, may only be freed where CUDA was started.
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


class _Prepared(Dataset[Any]):
    """What a ``DataLoader`` reads: the crops of a task, or the error that they met."""

    def __init__(self, maker: BatchMaker) -> None:
        self._maker = maker

    def __getitem__(self, task: CropTask) -> list[Sample] | Exception:
        try:
            return self._maker.samples(task)
        except Exception as error:  # a DataLoader would wrap a traceback around its message
            return error


def _finish(maker: BatchMaker, samples: list[Sample] | Exception) -> MixedBatch:
    if isinstance(samples, Exception):
        raise samples
    return maker.finish(samples)


def _as_it_is(samples: Any) -> Any:
    return samples


def _finished_aside(maker: BatchMaker, prepared: Iterable[Any]) -> Generator[MixedBatch, None, None]:
    """Finishes batches on a GPU beside the training step: launched by a thread of its own, on a stream of its own.

    Crops take hundreds of small kernels, and some of them wait for numbers from the host. On the stream of the training
    step each of these waits would empty the GPU's queue.
    """
    stream = torch.cuda.Stream(maker.device)
    stream.wait_stream(torch.cuda.current_stream(maker.device))  # for what it has launched so far
    waiting: deque[Future[tuple[MixedBatch, torch.cuda.Event]]] = deque()
    steps: deque[torch.cuda.Event] = deque()

    def finish(samples: Any) -> tuple[MixedBatch, torch.cuda.Event]:
        with torch.cuda.stream(stream):
            batch, ready = _finish(maker, samples), torch.cuda.Event()
            ready.record(stream)
        return batch, ready

    def take() -> MixedBatch:
        """Returns the next batch, for use on the caller's stream."""
        batch, ready = waiting.popleft().result()
        current, launched = torch.cuda.current_stream(maker.device), torch.cuda.Event(blocking=True)
        launched.record(current)
        steps.append(launched)
        if len(steps) > _STEPS_AHEAD:
            steps.popleft().synchronize()
        current.wait_event(ready)
        for tensor in batch:
            if tensor is not None:
                tensor.record_stream(current)
        return batch

    pool = ThreadPoolExecutor(1, "side stream")
    try:
        for samples in prepared:
            waiting.append(pool.submit(finish, samples))
            if len(waiting) > _FINISHED_AHEAD:
                yield take()
        while waiting:
            yield take()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
