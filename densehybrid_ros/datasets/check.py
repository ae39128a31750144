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
from densehybrid_ros.datasets.negative_set import NegativeSet
from densehybrid_ros.datasets.taxonomy import VOID
from densehybrid_ros.errors import InputError
from densehybrid_ros.progress import progress

Found = TypeVar("Found")
_UNKNOWN = 256  # counted beside the train ids


@dataclass
class SeenFrames:
    """What a look through labelled frames has found.

    Attributes:
        faults: One line each, naming the file and the value; empty where all is well.
        sizes: (width, height) -> number of frames.
        pixels: Train id -> number of pixels, 255 = void; 256 = real unknowns.
    """

    faults: list[str] = field(default_factory=list)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    pixels: Counter[int] = field(default_factory=Counter)

    @property
    def unknown(self) -> int:
        """Number of pixels of unknown ids."""
        return self.pixels[_UNKNOWN]

    def add(self, other: SeenFrames) -> None:
        """Adds what another look has found."""
        self.faults += other.faults
        self.sizes.update(other.sizes)
        self.pixels.update(other.pixels)


def check_frames(frames: LabelledSet, stop_after: int = 10) -> SeenFrames:
    """Reads frames with their labels, in threads; after ``stop_after`` faults the rest is left unread."""

    def look(index: int) -> SeenFrames:
        try:
            frame = frames[index]
        except InputError as error:
            return SeenFrames([str(error)])
        assert frame.semantic is not None
        counts = np.bincount(frame.semantic.ravel(), minlength=_UNKNOWN)
        pixels = Counter({int(value): int(counts[value]) for value in np.flatnonzero(counts)})
        if frame.anomaly is not None:
            pixels[_UNKNOWN] = int(np.count_nonzero(frame.anomaly == ANOMALY))
        return SeenFrames([], Counter([frame.image.shape[1::-1]]), pixels)

    seen = SeenFrames()
    for found in _in_threads(look, len(frames), frames.name):
        seen.add(found)
        if len(seen.faults) >= stop_after:
            break
    if seen.sizes and not seen.faults and not any(0 <= value < VOID for value in +seen.pixels):
        void = "all are 255 (void); check the labels"
        seen.faults.append(f"{frames.name}: none of {len(frames)} frames has a labelled pixel: {void}")
    return seen


def check_negatives(pictures: NegativeSet, stop_after: int = 10) -> list[str]:
    """Reads a source of negatives; returns its faults, one line each."""

    def look(index: int) -> list[str]:
        try:
            pictures[index]
        except InputError as error:
            return [str(error)]
        return []

    faults: list[str] = []
    for found in _in_threads(look, len(pictures), pictures.name):
        faults += found
        if len(faults) >= stop_after:
            break
    return faults


def _in_threads(look: Callable[[int], Found], count: int, name: str) -> Iterator[Found]:
    pool = ThreadPoolExecutor()
    try:
        yield from progress(pool.map(look, range(count)), f"check {name}", total=count)
    finally:
        pool.shutdown(cancel_futures=True)
