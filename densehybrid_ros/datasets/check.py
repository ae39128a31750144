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

    # One line each, naming the file and the value; empty where all is well
    faults: list[str] = field(default_factory=list)
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
    for found in _in_threads(look, len(frames), frames.name):
        if isinstance(found, InputError):
            seen.faults.append(str(found))
            if len(seen.faults) >= stop_after:
                break
            continue
        size, counts, unknown = found
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
    for found in _in_threads(pictures.__getitem__, len(pictures), pictures.name):
        if isinstance(found, InputError):
            faults.append(str(found))
            if len(faults) >= stop_after:
                break
    return faults


def _in_threads(look: Callable[[int], Found], count: int, name: str) -> Iterator[Found | InputError]:
    """Yields what a look at each number gives, or its InputError."""

    def looked(index: int) -> Found | InputError:
        try:
            return look(index)
        except InputError as error:
            return error

    pool = ThreadPoolExecutor()
    try:
        yield from progress(pool.map(looked, range(count)), f"check {name}", total=count)
    finally:
        pool.shutdown(cancel_futures=True)
