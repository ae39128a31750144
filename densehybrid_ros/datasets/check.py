"""Looks through data sets before training starts, so that a bad file is found in minutes, not after hours."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import numpy as np

from densehybrid_ros.datasets.negative_set import NegativeSet
from densehybrid_ros.datasets.training_set import TrainingSet
from densehybrid_ros.errors import InputError
from densehybrid_ros.progress import progress


def check_training_set(frames: TrainingSet, limit: int | None = None, stop_after: int = 10) -> list[str]:
    """Reads frames with their labels, in threads, and collects what is wrong with them.

    Args:
        frames: The set.
        limit: Evenly spread subset of at most this many frames; None reads all.
        stop_after: Number of faults after which the rest is left unread.

    Returns:
        One line a fault, naming the file and the value; empty where all is well.
    """
    return _check(frames, limit, stop_after, f"check {frames.name}")


def check_negatives(pictures: NegativeSet, limit: int | None = None, stop_after: int = 10) -> list[str]:
    """Does the same for a source of negatives."""
    return _check(pictures, limit, stop_after, f"check {pictures.name}")


def _check(items: TrainingSet | NegativeSet, limit: int | None, stop_after: int, description: str) -> list[str]:
    count = len(items) if limit is None else min(limit, len(items))
    indices = np.linspace(0, len(items) - 1, count).round().astype(int).tolist()
    faults: list[str] = []
    pool = ThreadPoolExecutor()
    try:
        for fault in progress(pool.map(_fault, repeat(items), indices), description, total=count):
            if fault:
                faults.append(fault)
            if len(faults) >= stop_after:
                break
    finally:
        pool.shutdown(cancel_futures=True)
    return faults


def _fault(items: TrainingSet | NegativeSet, index: int) -> str:
    try:
        items[index]
    except InputError as error:
        return str(error)
    return ""
