"""Data sets for training by name: frames with labels, and sources of negatives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from densehybrid_ros.datasets.ade20k import open_ade20k
from densehybrid_ros.datasets.coco import open_coco
from densehybrid_ros.datasets.mapillary_vistas import open_mapillary_vistas
from densehybrid_ros.datasets.negative_folder import open_negative_folder
from densehybrid_ros.datasets.negative_set import NegativeSet
from densehybrid_ros.datasets.training_set import TrainingSet
from densehybrid_ros.datasets.training_sources import (
    open_cityscapes_640_training,
    open_cityscapes_training,
    open_street_hazards_training,
)
from densehybrid_ros.datasets.wilddash import open_wilddash2
from densehybrid_ros.errors import InputError

TRAINING_SETS: dict[str, Callable[[Path, str], TrainingSet]] = {
    "cityscapes": open_cityscapes_training,
    "cityscapes_640": open_cityscapes_640_training,
    "mapillary_vistas": open_mapillary_vistas,
    "wilddash2": open_wilddash2,
    "street_hazards": open_street_hazards_training,
}
"""Name -> function that opens a split of the data set below a folder."""

NEGATIVE_SETS: dict[str, Callable[[Path], NegativeSet]] = {
    "folder": open_negative_folder,
    "ade20k": open_ade20k,
    "coco": open_coco,
}
"""Name -> function that opens the source of negatives below a folder."""


def open_training_set(name: str, root: Path, split: str = "train") -> TrainingSet:
    """Opens a data set to train or to validate on; only folders are listed, no picture is read.

    Args:
        name: Key of ``TRAINING_SETS``.
        root: The folder that the data set was unpacked to; docs/datasets.md shows the layout of each.
        split: ``train`` or ``val``; the official names of other data sets are translated.

    Raises:
        InputError: There is no such data set or split, a folder is missing, or a frame lacks its label.
    """
    if name not in TRAINING_SETS:
        raise InputError(f"data.dataset={name}: unknown; choose one of {', '.join(TRAINING_SETS)}")
    if split not in ("train", "val"):
        raise InputError(f"split {split}: unknown; choose train or val")
    return TRAINING_SETS[name](root, split)


def open_negatives(name: str, root: Path) -> NegativeSet:
    """Opens a source of negatives; only folders and the table of objects are read, no picture.

    Draw from it with a recipe of ``negative_recipes.RECIPES``.

    Args:
        name: Key of ``NEGATIVE_SETS``.
        root: The folder that the data set was unpacked to; docs/datasets.md shows the layout of each.

    Raises:
        InputError: There is no such source, a folder is missing or empty, or a table can't be read.
    """
    if name not in NEGATIVE_SETS:
        raise InputError(f"negatives.dataset={name}: unknown; choose one of {', '.join(NEGATIVE_SETS)}")
    return NEGATIVE_SETS[name](root)
