"""Frames to train on, held whole in memory as bytes: decoded once, augmented on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.datasets.taxonomy import VOID
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


def load_cityscapes_640(root: Path, split: str, limit: int | None = None) -> FrameStore:
    """Loads ``cityscapes_640``: frames stored as 640x640 and stretched, given back their 2:1 geometry (1280x640).

    Args:
        root: The folder that holds ``train`` and ``val``, each with ``image/*.jpg`` and ``label/*.png``.
        split: ``train`` or ``val``.
        limit: Evenly spread subset of at most this many frames.

    Raises:
        InputError: The folder is missing or empty, a frame lacks its label, or a file can't be read.
    """
    folder = root / split / "image"
    images = sorted(folder.glob("*.jpg"))
    if not images:
        raise InputError(f"{folder}: no .jpg frames; point data.cityscapes_640 at the folder with train/ and val/")
    if limit is not None and limit < len(images):
        images = [images[i] for i in np.linspace(0, len(images) - 1, limit).round().astype(int)]
    pairs = [(path, root / split / "label" / f"{path.stem}.png") for path in images]
    for image, label in pairs:
        if not label.is_file():
            raise InputError(f"{image}: its label {label} is missing")
    with ThreadPoolExecutor() as pool:
        return _collect(_stretched_pair, pairs, pool, f"load {split} frames")


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
    load: Callable[[tuple], tuple[np.ndarray, np.ndarray]],
    jobs: Sequence[tuple],
    pool: Executor,
    description: str,
) -> FrameStore:
    """Gathers what ``load`` makes of each job: uint8 [3, H, W] and uint8 [H, W]."""
    images: Tensor | None = None
    for index, (image, label) in enumerate(progress(pool.map(load, jobs), description, total=len(jobs))):
        if images is None:
            images = torch.empty((len(jobs), *image.shape), dtype=torch.uint8)
            labels = torch.empty((len(jobs), *label.shape), dtype=torch.uint8)
        images[index] = torch.from_numpy(image)
        labels[index] = torch.from_numpy(label)
    assert images is not None
    return FrameStore(images, labels)


def _stretched_pair(paths: tuple[Path, Path]) -> tuple[np.ndarray, np.ndarray]:
    image = cv2.imread(str(paths[0]), cv2.IMREAD_COLOR)
    label = cv2.imread(str(paths[1]), cv2.IMREAD_GRAYSCALE)
    if image is None or label is None:
        raise InputError(f"{paths[0 if image is None else 1]}: not a readable image")
    if image.shape[:2] != label.shape:
        raise InputError(f"{paths[1]}: label of {label.shape} does not fit its frame of {image.shape[:2]}")
    size = (2 * image.shape[0], image.shape[0])
    bad = label[(label > 18) & (label != VOID)]
    if bad.size:
        raise InputError(f"{paths[1]}: label value {bad[0]} is not a train id (0..18, 255)")
    image = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2RGB)
    label = cv2.resize(label, size, interpolation=cv2.INTER_NEAREST)
    return np.ascontiguousarray(image.transpose(2, 0, 1)), label


def _rendered_pair(job: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    from densehybrid_ros.datasets.rendered_road import render_scene  # imported in the worker processes alone

    cv2.setNumThreads(1)  # the pool already fills the cores
    seed, height, width = job
    frame = render_scene(seed, width=width, height=height, unknown_objects=False)
    return np.ascontiguousarray(frame.image.transpose(2, 0, 1)), frame.semantic
