# SPDX-License-Identifier: Apache-2.0
"""Objects of known classes, cut out of labelled frames: what is pasted as an inlier, and more of the rare classes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from densehybrid_ros.datasets.training_frames import FrameStore
from densehybrid_ros.progress import progress

# Train ids that are cut out together: riders with what they ride.
_GROUPS: tuple[tuple[int, ...], ...] = ((6,), (7,), (11,), (12, 17, 18), (13,), (14,), (15,), (16,))
_SMALLEST_SIDE, _SMALLEST_AREA = 8, 150
_LARGEST_SHARE = 0.12  # of the frame
_FEATHER = 0.8  # pixels by which the edge is softened
_CHOICE_SEED = 0
_STEP = 2  # of the coarse maps in which regions are looked for
_NO_GROUP = 255

_GROUP_OF = np.full(256, _NO_GROUP, np.uint8)
for _number, _ids in enumerate(_GROUPS):
    _GROUP_OF[list(_ids)] = _number


@dataclass(frozen=True)
class KnownObject:
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
