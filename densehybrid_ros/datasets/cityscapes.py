# SPDX-License-Identifier: Apache-2.0
"""Cityscapes: its 19 classes, its void classes as unknowns, and the stretched 640x640 edition."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from densehybrid_ros.datasets.evaluation_set import ANOMALY, IGNORE, INLIER, FrameFiles, check_sizes, pair_folders
from densehybrid_ros.datasets.labelled_set import TRAIN_IDS, LabelledSet
from densehybrid_ros.datasets.pictures import read_labels
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES, VOID

_TRAIN_IDS = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10}
_TRAIN_IDS |= {24: 11, 25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
_LICENSE_PLATE = 255  # label id -1, stored in 8 bits
_LABEL_IDS = range(34)
TRAIN_ID_OF_LABEL_ID = {value: _TRAIN_IDS.get(value, VOID) for value in (*_LABEL_IDS, _LICENSE_PLATE)}
"""Value in ``*_labelIds.png`` -> train id, 255 = void (cityscapesScripts, labels.py)."""
_NEVER_UNKNOWN = {0, 1, 2, 3, _LICENSE_PLATE}  # unlabeled, ego vehicle, rectification border, out of roi
_ANOMALY_OF_LABEL_ID = (
    dict.fromkeys(_LABEL_IDS, ANOMALY) | dict.fromkeys(_TRAIN_IDS, INLIER) | dict.fromkeys(_NEVER_UNKNOWN, IGNORE)
)
_REAL_UNKNOWNS = {105: 5, 129: 29, 130: 30}
"""Value among train ids -> label id of things that are no class: dynamic, caravan, trailer."""
_OWN_CAR, _OWN_CAR_ID = 101, 1  # value among train ids; label id "ego vehicle"
_CAR = _TRAIN_IDS[26]


def open_cityscapes(root: Path, split: str = "val", void_is_unknown: bool = False) -> LabelledSet:
    """Opens ``leftImg8bit/SPLIT/CITY/*_leftImg8bit.png`` with ``gtFine/SPLIT/CITY/*_gtFine_labelIds.png``.

    ``void_is_unknown`` takes the void classes as anomalies, except unlabeled, ego vehicle, rectification border, out
    of roi and license plate, which are ignored (paper, table 3).

    Raises:
        InputError: A folder is missing, or an image lacks its labels.
    """
    hint = "give the folder that holds leftImg8bit/ and gtFine/"
    endings = "_leftImg8bit", "_gtFine_labelIds"
    files = pair_folders(root / "leftImg8bit" / split, root / "gtFine" / split, hint, "*/*", endings)
    anomaly = _ANOMALY_OF_LABEL_ID if void_is_unknown else None
    return LabelledSet("cityscapes", files, CITYSCAPES_CLASSES, TRAIN_ID_OF_LABEL_ID, anomaly)


def open_cityscapes_640(root: Path, split: str = "val") -> LabelledSet:
    """Opens ``SPLIT/image/NAME.jpg`` with ``SPLIT/label/NAME.png``: squares that get their 2:1 geometry back.

    Where ``SPLIT/void/NAME.png`` give the original label ids of void pixels, dynamic things, caravans and trailers are
    anomalies and other void is ignored. The own car is ignored in ``val`` and a car in ``train``, so that a network
    learns to know it. For ``val``, ``root`` may also be the folder of the split itself.

    Raises:
        InputError: A folder is missing, or an image lacks its labels.
    """
    folder = root if split == "val" and (root / "image").is_dir() else root / split
    hint = "give the folder that holds train/ and val/, each with image/ and label/"
    files = pair_folders(folder / "image", folder / "label", hint)
    if not (folder / "void").is_dir():
        return LabelledSet("cityscapes_640", files, CITYSCAPES_CLASSES, TRAIN_IDS, stretched=True)
    semantic = TRAIN_IDS | dict.fromkeys(_REAL_UNKNOWNS, VOID) | {_OWN_CAR: _CAR if split == "train" else VOID}
    anomaly = {value: INLIER if name != VOID else IGNORE for value, name in TRAIN_IDS.items()}
    anomaly |= dict.fromkeys(_REAL_UNKNOWNS, ANOMALY) | {_OWN_CAR: IGNORE}
    return LabelledSet("cityscapes_640", files, CITYSCAPES_CLASSES, semantic, anomaly, True, _labels_and_void)


def _labels_and_void(files: FrameFiles) -> np.ndarray:
    """Reads train ids, and the numbers of real unknowns and the own car where the picture of void pixels has them."""
    labels = read_labels(files.label)
    path = files.label.parents[1] / "void" / files.label.name
    if not path.is_file():
        return labels
    void = read_labels(path)
    check_sizes(labels, files.label, void, path)
    labels = labels.copy()
    for value, label_id in (*_REAL_UNKNOWNS.items(), (_OWN_CAR, _OWN_CAR_ID)):
        labels[(void == label_id) & (labels == VOID)] = value
    return labels
