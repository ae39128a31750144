# SPDX-License-Identifier: Apache-2.0
"""Frames to train on, held whole in memory as bytes: decoded once, augmented on the device; objects cut out of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.datasets.evaluation_set import ANOMALY, EvaluationFrame
from densehybrid_ros.datasets.labelled_set import LabelledSet
from densehybrid_ros.errors import InputError
from densehybrid_ros.progress import progress

UNKNOWN = 254
"""Train id of real unknowns, where they are told from what is ignored."""
KNOWN = 253
"""Train id of what is known, but has no label of a class: an inlier that the closed-set loss leaves out."""
OVERVIEW_STEP = 4
"""Every how many pixels of a frame its overview has one."""
_PICK = (slice(OVERVIEW_STEP // 2, None, OVERVIEW_STEP),) * 2
# Train ids that are cut out together: riders with what they ride.
_GROUPS: tuple[tuple[int, ...], ...] = ((6,), (7,), (11,), (12, 17, 18), (13,), (14,), (15,), (16,))
_SMALLEST_SIDE, _SMALLEST_AREA = 8, 150
_LARGEST_SHARE = 0.12  # of the frame
_FEATHER = 0.8  # pixels by which the edge is softened
_CHOICE_SEED = 0
_STEP = 2  # of the coarse maps in which regions are looked for

_GROUP_OF = np.array([next((n for n, ids in enumerate(_GROUPS) if i in ids), 255) for i in range(256)], np.uint8)


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
    first = frames[0].image.shape[:2]
    images = np.empty((len(frames), 3, *first), np.uint8)
    labels = np.empty((len(frames), *first), np.uint8)
    description = f"load frames of {frames.name}"

    def load(index: int) -> None:
        frame = frames[index]
        (height, width), (rows, columns) = first, frame.image.shape[:2]
        if (height, width) != (rows, columns):
            mend = "resize them, or name the set in data.sets, which reads frames of any size"
            sizes = f"frame {index} is {columns}x{rows}, the first {width}x{height}"
            raise InputError(f"{description}: {sizes}; {mend}")
        images[index] = frame.image.transpose(2, 0, 1)
        labels[index] = training_labels(frame, with_unknown)

    with ThreadPoolExecutor() as pool:
        for _ in progress(pool.map(load, range(len(frames))), description, total=len(frames)):
            pass
    return FrameStore(torch.from_numpy(images), torch.from_numpy(labels))


class KnownObject(NamedTuple):
    """A connected region of some classes."""

    pixels: np.ndarray  # uint8 [h, w, 4], RGB and alpha, of its bounding box
    labels: np.ndarray  # uint8 [h, w], train ids
    top: int  # Row of the frame in which it begins


def cut_known_objects(store: FrameStore, per_group: int = 150) -> list[KnownObject]:
    """Cuts objects out of frames of the Cityscapes classes.

    At most ``per_group`` of each group of classes, so that the rare ones are pasted as often.
    """
    coarse = store.labels[:, ::_STEP, ::_STEP].contiguous().cpu().numpy()

    def regions(index: int) -> list[tuple[int, int, tuple[int, int, int, int]]]:
        groups = _GROUP_OF[coarse[index]]
        return [(group, index, box) for group in range(len(_GROUPS)) for box in _boxes(groups == group)]

    found: dict[int, list[tuple[int, tuple[int, int, int, int]]]] = {}
    with ThreadPoolExecutor() as pool:
        for parts in progress(pool.map(regions, range(len(store))), "find known objects", total=len(store)):
            for group, index, box in parts:
                found.setdefault(group, []).append((index, box))
    rng = np.random.default_rng(_CHOICE_SEED)
    objects = []
    for group in sorted(found):
        places = found[group]
        for chosen in rng.permutation(len(places))[:per_group]:
            objects.append(_cut(store, _GROUPS[group], *places[chosen]))
    return objects


def _boxes(mask: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Returns (left, top, width, height) in the frame of the regions of a coarse mask that lie within it whole."""
    if not mask.any():
        return []
    _, _, figures, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    boxes = []
    for left, top, width, height, area in figures[1:].tolist():
        inside = left > 0 and top > 0 and left + width < mask.shape[1] and top + height < mask.shape[0]
        large = min(width, height) * _STEP >= _SMALLEST_SIDE and area * _STEP**2 >= _SMALLEST_AREA
        if inside and large and area <= _LARGEST_SHARE * mask.size:
            boxes.append((left * _STEP, top * _STEP, width * _STEP, height * _STEP))
    return boxes


def _cut(store: FrameStore, ids: tuple[int, ...], index: int, box: tuple[int, int, int, int]) -> KnownObject:
    left, top, width, height = box
    rows, columns = slice(top, top + height), slice(left, left + width)
    labels = store.labels[index, rows, columns].cpu().numpy()
    _, regions = cv2.connectedComponents(np.isin(labels, ids).astype(np.uint8), connectivity=8)
    numbers = np.bincount(regions.ravel())
    mask = regions == 1 + int(numbers[1:].argmax())  # the box may cut into neighbours; the largest is the one it is of
    alpha = cv2.GaussianBlur(mask.astype(np.float32) * 255, (0, 0), _FEATHER, borderType=cv2.BORDER_CONSTANT)
    image = store.images[index, :, rows, columns].permute(1, 2, 0).cpu().numpy()
    most = np.uint8(np.bincount(labels[mask]).argmax())
    return KnownObject(
        np.dstack([image, alpha.round().astype(np.uint8)]), np.where(mask, labels, most), top
    )  # the soft edge is the object's
