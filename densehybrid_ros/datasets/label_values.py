# SPDX-License-Identifier: Apache-2.0
"""What the numbers of label pictures mean, and one line on those that mean nothing or say too little."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from densehybrid_ros.datasets.evaluation_set import ANOMALY, IGNORE, INLIER
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES, VOID
from densehybrid_ros.errors import InputError, name_some

ANOMALY_VALUES = {0: INLIER, 1: ANOMALY, 255: IGNORE}
"""Label values of SegmentMeIfYouCan, Fishyscapes and of any folder of masks."""
TRAIN_IDS = {value: value for value in (*range(len(CITYSCAPES_CLASSES)), VOID)}
"""Label values that are train ids of Cityscapes already."""
ANOMALY_MEND = "save inliers as 0 and anomalies as 1; 255 means ignore"
_NEAREST = "resize and save labels without smoothing"
_LABEL_IDS = range(34)  # of Cityscapes


def translate_labels(labels: np.ndarray, table: Mapping[int, int], path: Path, mend: str = "") -> np.ndarray:
    """Replaces the values of a label map.

    Args:
        labels: uint8 [H, W].
        table: Value in the file -> value of the result (0..255).
        path: The file, for the message.
        mend: What to do about values that the table lacks, for the message; by default what fits the table.

    Raises:
        InputError: The map holds values that the table lacks; the message names the lowest.
    """
    known = np.zeros(256, dtype=bool)
    lookup = np.zeros(256, dtype=np.uint8)
    for value, result in table.items():
        known[value] = True
        lookup[value] = result
    foreign = np.flatnonzero((np.bincount(labels.ravel(), minlength=256) > 0) & ~known).tolist()
    if foreign:
        several = f"values {name_some(foreign)} are not those" if len(foreign) > 1 else f"value {foreign[0]} is not one"
        mend = mend or _mend(foreign, table)
        raise InputError(f"{path}: label {several} of this data set ({_ranges(table)}); {mend}")
    return lookup[labels]


def anomaly_values(labels: np.ndarray) -> set[int]:
    """Returns which of 0 (inlier), 1 (anomaly) and 255 (ignore) an anomaly label, uint8 [H, W], holds."""
    return {value for value in (INLIER, ANOMALY, IGNORE) if np.any(labels == value)}


def what_is_lacking(found: Collection[int]) -> str:
    """Says why a data set with only these anomaly labels has no figures of anomalies; empty where it has them."""
    if {INLIER, ANOMALY} <= set(found):
        return ""
    kind = "an inlier" if ANOMALY in found else "an anomaly" if INLIER in found else "labelled"
    names = {INLIER: "inlier", ANOMALY: "anomaly", IGNORE: "ignore"}
    values = ", ".join(f"{value} ({name})" for value, name in names.items() if value in found)
    return f"no pixel is {kind}; the labels hold {values} alone; {ANOMALY_MEND}"


def _mend(foreign: list[int], table: Mapping[int, int]) -> str:
    if table == TRAIN_IDS and foreign[-1] in _LABEL_IDS:
        return "these are label ids of Cityscapes: save train ids"
    return f"{ANOMALY_MEND}; {_NEAREST}" if table == ANOMALY_VALUES else f"check which data set it is; {_NEAREST}"


def _ranges(table: Mapping[int, int]) -> str:
    """Writes sorted values with runs shortened: 0..18, 255."""
    parts: list[list[int]] = []
    for value in sorted(table):
        if parts and value == parts[-1][1] + 1:
            parts[-1][1] = value
        else:
            parts.append([value, value])
    return ", ".join(str(low) if low == high else f"{low}..{high}" for low, high in parts)
