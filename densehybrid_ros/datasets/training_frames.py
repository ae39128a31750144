# SPDX-License-Identifier: Apache-2.0
"""Frames to train on, held whole in memory as bytes: decoded once, augmented on the device."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.datasets.evaluation_set import ANOMALY, EvaluationFrame
from densehybrid_ros.datasets.labelled_set import LabelledSet
from densehybrid_ros.errors import InputError
from densehybrid_ros.progress import progress

OVERVIEW_STEP = 4
"""Every how many pixels of a frame its overview has one."""
_PICK = (slice(OVERVIEW_STEP // 2, None, OVERVIEW_STEP),) * 2


class Overview(NamedTuple):
    """Frames in a fourth of their size, on the CPU, for what is decided before pixels are computed."""

    colors: np.ndarray  # uint8 [..., H/4, W/4, 3], RGB
    labels: np.ndarray  # uint8 [..., H/4, W/4], train ids, 255 = void


def overview_of(image: np.ndarray, label: np.ndarray) -> Overview:
    """Takes every fourth pixel of a frame, uint8 [H, W, 3], and of its labels, uint8 [H, W]."""
    return Overview(image[_PICK], label[_PICK])


@dataclass
class FrameStore:
    """Frames of one size with their labels."""

    images: Tensor  # uint8 [N, 3, H, W], RGB
    labels: Tensor  # uint8 [N, H, W], train ids, 255 = void

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> FrameStore:
        """Returns the store with its tensors on ``device``."""
        return FrameStore(self.images.to(device), self.labels.to(device))

    @cached_property
    def overview(self) -> Overview:
        """All frames in a fourth of their size, uint8 [N, H/4, W/4, 3] and [N, H/4, W/4]."""
        colors = self.images[(..., *_PICK)].permute(0, 2, 3, 1).contiguous()
        return Overview(colors.cpu().numpy(), self.labels[(..., *_PICK)].contiguous().cpu().numpy())


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

    store: FrameStore | None = None
    description = f"load frames of {frames.name}"
    with ThreadPoolExecutor() as pool:
        pairs = pool.map(pair, range(len(frames)))
        for index, (image, label) in enumerate(progress(pairs, description, total=len(frames))):
            if store is None:
                shapes = (image.shape, label.shape)
                store = FrameStore(*(torch.empty((len(frames), *shape), dtype=torch.uint8) for shape in shapes))
            if store.labels.shape[1:] != label.shape:
                (height, width), (rows, columns) = store.labels.shape[1:], label.shape
                mend = "resize them, or name the set in data.sets, which reads frames of any size"
                sizes = f"frame {index} is {columns}x{rows}, those before {width}x{height}"
                raise InputError(f"{description}: {sizes}; {mend}")
            store.images[index], store.labels[index] = torch.from_numpy(image), torch.from_numpy(label)
    assert store is not None
    return store
