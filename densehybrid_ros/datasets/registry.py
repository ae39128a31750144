# SPDX-License-Identifier: Apache-2.0
"""Data sets by name, for training and evaluation alike, and sources of negatives; adding one is a line here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from densehybrid_ros.datasets.anomaly_sets import (
    open_fishyscapes,
    open_lost_and_found,
    open_road_anomaly,
    open_smiyc_track,
    open_street_hazards,
)
from densehybrid_ros.datasets.folder import open_folder, open_folder_training
from densehybrid_ros.datasets.labelled_set import LabelledSet
from densehybrid_ros.datasets.negative_sets import NegativeSet, open_ade20k, open_coco, open_negative_folder
from densehybrid_ros.datasets.road_sets import (
    open_cityscapes,
    open_cityscapes_640,
    open_idd_lite,
    open_mapillary_vistas,
    open_wilddash2,
)
from densehybrid_ros.errors import InputError

TRAINING_SETS: dict[str, Callable[..., LabelledSet]] = {
    "folder": open_folder_training,
    "cityscapes": open_cityscapes,
    "cityscapes_640": open_cityscapes_640,
    "idd_lite": open_idd_lite,
    "mapillary_vistas": open_mapillary_vistas,
    "wilddash2": open_wilddash2,
    "street_hazards": open_street_hazards,
}
"""Name -> function that opens the split ``train`` or ``val`` of the data set below a folder."""

EVALUATION_SETS: dict[str, Callable[[Path], LabelledSet]] = {
    **{name: partial(opener, split="val") for name, opener in TRAINING_SETS.items()},
    "folder": open_folder,
    "road_anomaly21_val": open_folder,
    "road_obstacle21_val": open_folder,
    "lost_and_found_sample": open_folder,
    "smiyc_anomaly": open_smiyc_track,
    "smiyc_obstacle": open_smiyc_track,
    "smiyc_lost_and_found_no_known": partial(open_lost_and_found, without_known=True),
    "fishyscapes_lost_and_found": partial(open_fishyscapes, name="fishyscapes_lost_and_found"),
    "fishyscapes_static": partial(open_fishyscapes, name="fishyscapes_static", overlays=True),
    "road_anomaly": open_road_anomaly,
    "street_hazards": open_street_hazards,
    "cityscapes_void": partial(open_cityscapes, void_is_unknown=True),
    "lost_and_found": open_lost_and_found,
}
"""Name -> function that opens what is evaluated of the data set below a folder."""

NEGATIVE_SETS: dict[str, Callable[[Path], NegativeSet]] = {
    "folder": open_negative_folder,
    "ade20k": open_ade20k,
    "coco": open_coco,
}
"""Name -> function that opens the source of negatives below a folder."""


def open_training_set(name: str, root: Path, split: str = "train") -> LabelledSet:
    """Opens the split ``train`` or ``val`` of a data set; only folders are listed, no picture is read.

    Raises:
        InputError: There is no such data set or split, a folder is missing, or a frame lacks its label.
    """
    if name not in TRAINING_SETS:
        raise InputError(f"data.sets.{name}: unknown; choose one of {', '.join(TRAINING_SETS)}")
    if split not in ("train", "val"):
        raise InputError(f"split {split}: unknown; choose train or val")
    return TRAINING_SETS[name](root, split)


def open_evaluation_set(name: str, root: Path) -> LabelledSet:
    """Opens a data set to evaluate by name.

    Raises:
        InputError: There is no such data set, or its files are not below ``root``.
    """
    if name not in EVALUATION_SETS:
        raise InputError(f"--dataset {name}: unknown; choose one of {', '.join(EVALUATION_SETS)}")
    return EVALUATION_SETS[name](root)


def open_evaluation_sets(names: str, root: Path) -> dict[str, LabelledSet]:
    """Opens the data set ``names`` in ``root``, or several, separated by commas, each in a folder of its name there.

    Raises:
        InputError: One of them is unknown or not there.
    """
    chosen = list(dict.fromkeys(name for name in names.split(",") if name))
    return {name: open_evaluation_set(name, root / name if len(chosen) > 1 else root) for name in chosen or [names]}


def open_negatives(name: str, root: Path) -> NegativeSet:
    """Opens a source of negatives, for a recipe of ``negative_sets.RECIPES``; no picture is read.

    Raises:
        InputError: There is no such source, a folder is missing or empty, or a table can't be read.
    """
    if name not in NEGATIVE_SETS:
        raise InputError(f"negatives.dataset={name}: unknown; choose one of {', '.join(NEGATIVE_SETS)}")
    return NEGATIVE_SETS[name](root)
