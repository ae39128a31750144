# SPDX-License-Identifier: Apache-2.0
"""Looks through data sets before training starts, so that a bad file is found in minutes, not after hours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from densehybrid_ros.datasets.evaluation_set import ANOMALY
from densehybrid_ros.datasets.labelled_set import LabelledSet
from densehybrid_ros.datasets.negative_sets import NegativeSet
from densehybrid_ros.datasets.taxonomy import VOID
from densehybrid_ros.errors import InputError
from densehybrid_ros.progress import progress

Found = TypeVar("Found")


@dataclass
class SeenFrames:
    """What a look through labelled frames has found."""

    faults: list[str] = field(default_factory=list)  # One line each, naming the file and the value
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)  # (width, height) -> number of frames
    pixels: Counter[int] = field(default_factory=Counter)  # Train id -> number of pixels, 255 = void
    unknown: int = 0  # Number of pixels of unknown ids


def check_frames(frames: LabelledSet, stop_after: int = 10) -> SeenFrames:
    """Reads frames with their labels, in threads; after ``stop_after`` faults the rest is left unread."""

    def look(index: int) -> tuple[tuple[int, int], np.ndarray, int]:
        frame = frames[index]
        assert frame.semantic is not None
        unknown = 0 if frame.anomaly is None else np.count_nonzero(frame.anomaly == ANOMALY)
        return frame.image.shape[1::-1], np.bincount(frame.semantic.ravel()), int(unknown)

    seen = SeenFrames()
    for size, counts, unknown in _in_threads(look, len(frames), frames.name, seen.faults, stop_after):
        seen.sizes[size] += 1
        seen.pixels.update({value: int(counts[value]) for value in np.flatnonzero(counts).tolist()})
        seen.unknown += unknown
    if seen.sizes and not seen.faults and set(seen.pixels) <= {VOID}:
        void = "all are 255 (void); check the labels"
        seen.faults.append(f"{frames.name}: none of {len(frames)} frames has a labelled pixel: {void}")
    return seen


def check_negatives(pictures: NegativeSet, stop_after: int = 10) -> list[str]:
    """Reads a source of negatives; returns its faults, one line each."""
    faults: list[str] = []
    for _ in _in_threads(pictures.__getitem__, len(pictures), pictures.name, faults, stop_after):
        pass
    return faults


def _in_threads(
    look: Callable[[int], Found], count: int, name: str, faults: list[str], stop_after: int
) -> Iterator[Found]:
    """Yields what a look at each number gives; what is wrong is added to ``faults``, and so many of them end it."""

    def looked(index: int) -> Found | InputError:
        try:
            return look(index)
        except InputError as error:
            return error

    pool = ThreadPoolExecutor()
    try:
        for found in progress(pool.map(looked, range(count)), f"check {name}", total=count):
            if not isinstance(found, InputError):
                yield found
                continue
            faults.append(str(found))
            if len(faults) >= stop_after:
                return
    finally:
        pool.shutdown(cancel_futures=True)
