"""Looks through data sets before training starts, so that a bad file is found in minutes, not after hours."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import numpy as np

from densehybrid_ros.datasets.negative_set import NegativeSet
from densehybrid_ros.datasets.taxonomy import VOID
from densehybrid_ros.datasets.training_set import TrainingFrame, TrainingSet
from densehybrid_ros.errors import InputError
from densehybrid_ros.progress import progress

_VOID_ALONE = "all are 255 (void)"


def check_training_set(frames: TrainingSet, stop_after: int = 10) -> list[str]:
    """Reads frames with their labels, in threads, and collects what is wrong with them.

    Args:
        frames: The set.
        stop_after: Number of faults after which the rest is left unread.

    Returns:
        One line a fault, naming the file and the value; empty where all is well.
    """
    return _check(frames, stop_after, f"check {frames.name}")


def check_negatives(pictures: NegativeSet, stop_after: int = 10) -> list[str]:
    """Does the same for a source of negatives."""
    return _check(pictures, stop_after, f"check {pictures.name}")


def _check(items: TrainingSet | NegativeSet, stop_after: int, description: str) -> list[str]:
    count = len(items)
    faults: list[str] = []
    labelled = not count
    pool = ThreadPoolExecutor()
    try:
        for fault in progress(pool.map(_fault, repeat(items), range(count)), description, total=count):
            labelled |= fault != _VOID_ALONE
            if fault and fault != _VOID_ALONE:
                faults.append(fault)
            if len(faults) >= stop_after:
                break
    finally:
        pool.shutdown(cancel_futures=True)
    if not labelled:
        faults.append(f"{items.name}: none of {count} frames has a labelled pixel: {_VOID_ALONE}; check the labels")
    return faults


def _fault(items: TrainingSet | NegativeSet, index: int) -> str:
    try:
        item = items[index]
    except InputError as error:
        return str(error)
    return _VOID_ALONE if isinstance(item, TrainingFrame) and np.all(item.label == VOID) else ""
