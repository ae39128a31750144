"""Data sets for evaluation by name; adding one is a function and a line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from densehybrid_ros.datasets.anomaly_sets import (
    open_fishyscapes_lost_and_found,
    open_fishyscapes_static,
    open_road_anomaly,
    open_smiyc_track,
    open_street_hazards,
)
from densehybrid_ros.datasets.cityscapes import open_cityscapes, open_cityscapes_640, open_cityscapes_void
from densehybrid_ros.datasets.evaluation_set import EvaluationSet
from densehybrid_ros.datasets.label_folders import open_folder
from densehybrid_ros.datasets.lost_and_found import open_lost_and_found, open_lost_and_found_no_known
from densehybrid_ros.errors import InputError

EVALUATION_SETS: dict[str, Callable[[Path], EvaluationSet]] = {
    "folder": open_folder,
    "road_anomaly21_val": open_folder,
    "road_obstacle21_val": open_folder,
    "lost_and_found_sample": open_folder,
    "smiyc_anomaly": open_smiyc_track,
    "smiyc_obstacle": open_smiyc_track,
    "smiyc_lost_and_found_no_known": open_lost_and_found_no_known,
    "fishyscapes_lost_and_found": open_fishyscapes_lost_and_found,
    "fishyscapes_static": open_fishyscapes_static,
    "road_anomaly": open_road_anomaly,
    "street_hazards": open_street_hazards,
    "cityscapes": open_cityscapes,
    "cityscapes_640": open_cityscapes_640,
    "cityscapes_void": open_cityscapes_void,
    "lost_and_found": open_lost_and_found,
}
"""Name -> function that opens the data set below a folder."""


def open_evaluation_set(name: str, root: Path) -> EvaluationSet:
    """Opens a data set by name.

    Raises:
        InputError: There is no such data set, or its files are not below ``root``.
    """
    if name not in EVALUATION_SETS:
        raise InputError(f"--dataset {name}: unknown; choose one of {', '.join(EVALUATION_SETS)}")
    return EVALUATION_SETS[name](root)


def open_evaluation_sets(names: str, root: Path) -> dict[str, EvaluationSet]:
    """Opens the data set ``names`` in ``root``, or several, separated by commas, each in a folder of its name there.

    Raises:
        InputError: One of them is unknown or not there.
    """
    chosen = list(dict.fromkeys(name for name in names.split(",") if name))
    return {name: open_evaluation_set(name, root / name if len(chosen) > 1 else root) for name in chosen or [names]}
