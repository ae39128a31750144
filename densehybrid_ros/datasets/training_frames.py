"""Frames to train on, held whole in memory as bytes: decoded once, augmented on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.datasets.evaluation_set import ANOMALY, EvaluationFrame
from densehybrid_ros.datasets.labelled_set import LabelledSet
from densehybrid_ros.errors import InputError
from densehybrid_ros.progress import progress

OVERVIEW_STEP = 4
"""Every how many pixels of a frame its overview has one."""


class Overview(NamedTuple):
    """Frames in a fourth of their size, on the CPU, for what is decided before pixels are computed.

    Attributes:
        colors: uint8 [..., H/4, W/4, 3], RGB.
        labels: uint8 [..., H/4, W/4], train ids, 255 = void.
    """

    colors: np.ndarray
    labels: np.ndarray


def overview_of(image: np.ndarray, label: np.ndarray) -> Overview:
    """Takes every fourth pixel of a frame, uint8 [H, W, 3], and of its labels, uint8 [H, W]."""
    pick = (slice(OVERVIEW_STEP // 2, None, OVERVIEW_STEP),) * 2
    return Overview(image[pick], label[pick])


@dataclass
class FrameStore:
    """Frames of one size with their labels.

    Attributes:
        images: uint8 [N, 3, H, W], RGB.
        labels: uint8 [N, H, W], train ids, 255 = void.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> FrameStore:
        """Returns the store with its tensors on ``device``."""
        return FrameStore(self.images.to(device), self.labels.to(device))

    @cached_property
    def overview(self) -> Overview:
        """All frames in a fourth of their size, uint8 [N, H/4, W/4, 3] and [N, H/4, W/4]."""
        pick = (..., *(slice(OVERVIEW_STEP // 2, None, OVERVIEW_STEP),) * 2)
        colors = self.images[pick].permute(0, 2, 3, 1).contiguous()
        return Overview(colors.cpu().numpy(), self.labels[pick].contiguous().cpu().numpy())


UNKNOWN = 254
"""Train id of real unknowns, where they are told from what is ignored."""
KNOWN = 253
"""Train id of what is known, but has no label of a class: an inlier that the closed-set loss leaves out."""


def training_labels(frame: EvaluationFrame, with_unknown: bool) -> np.ndarray:
    """Returns the train ids of a frame, uint8 [H, W]; real unknowns are ``UNKNOWN`` if asked for, else void."""
    assert frame.semantic is not None
    if not with_unknown or frame.anomaly is None:
        return frame.semantic
    return np.where(frame.anomaly == ANOMALY, np.uint8(UNKNOWN), frame.semantic)


def hold_in_memory(frames: LabelledSet, with_unknown: bool = False) -> FrameStore:
    """Reads all frames of a set, in threads; they must be of one size.

    Args:
        frames: The set.
        with_unknown: Whether real unknowns keep their number, ``UNKNOWN``; else they are void.

    Raises:
        InputError: A file can't be read or does not fit.
    """

    def pair(index: int) -> tuple[np.ndarray, np.ndarray]:
        frame = frames[index]
        return np.ascontiguousarray(frame.image.transpose(2, 0, 1)), training_labels(frame, with_unknown)

    with ThreadPoolExecutor() as pool:
        return _collect(pair, range(len(frames)), pool, f"load frames of {frames.name}")


def render_frames(count: int, seed: int, height: int, width: int) -> FrameStore:
    """Renders single scenes of the project's own road, without unknown objects.

    Args:
        count: Number of scenes.
        seed: Seed of the first; the others follow.
        height: Rows of a frame.
        width: Columns of a frame.
    """
    jobs = [(seed + index, height, width) for index in range(count)]
    # Fork would copy a process that already holds CUDA and its threads.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        return _collect(_rendered_pair, jobs, pool, "render frames")


def _collect(
    load: Callable[[Any], tuple[np.ndarray, np.ndarray]], jobs: Sequence[Any], pool: Executor, description: str
) -> FrameStore:
    """Gathers what ``load`` makes of each job: uint8 [3, H, W] and uint8 [H, W]."""
    images: Tensor | None = None
    for index, (image, label) in enumerate(progress(pool.map(load, jobs), description, total=len(jobs))):
        if images is not None and images.shape[2:] != label.shape:
            (height, width), (rows, columns) = images.shape[2:], label.shape
            mend = "resize them, or name the set in data.sets, which reads frames of any size"
            raise InputError(f"{description}: frame {index} is {columns}x{rows}, those before {width}x{height}; {mend}")
        if images is None:
            images = torch.empty((len(jobs), *image.shape), dtype=torch.uint8)
            labels = torch.empty((len(jobs), *label.shape), dtype=torch.uint8)
        images[index] = torch.from_numpy(image)
        labels[index] = torch.from_numpy(label)
    assert images is not None
    return FrameStore(images, labels)


def _rendered_pair(job: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    from densehybrid_ros.datasets.rendered_road import render_scene  # imported in the worker processes alone

    cv2.setNumThreads(1)  # the pool already fills the cores
    seed, height, width = job
    frame = render_scene(seed, width=width, height=height, unknown_objects=False)
    return np.ascontiguousarray(frame.image.transpose(2, 0, 1)), frame.semantic
