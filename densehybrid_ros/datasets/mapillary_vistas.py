# SPDX-License-Identifier: Apache-2.0
"""Mapillary Vistas (Neuhold et al. 2017), versions 1.1, 1.2 and 2.0, with the classes of Cityscapes."""

from __future__ import annotations

import json
from pathlib import Path

from densehybrid_ros.datasets.evaluation_set import index_by_stem, pair_files, require_folder
from densehybrid_ros.datasets.label_mappings import mapillary_train_id
from densehybrid_ros.datasets.labelled_set import LabelledSet
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.errors import InputError

_SPLITS = {"train": "training", "val": "validation"}
_VERSIONS = (("config_v1.2.json", "v1.2"), ("config_v2.0.json", "v2.0"), ("config.json", ""))
"""Configuration -> folder of the version within a split. A release may hold two; the authors trained on 1.2."""


def open_mapillary_vistas(root: Path, split: str) -> LabelledSet:
    """Opens ``{training,validation}/images/KEY.jpg`` with ``{training,validation}/[VERSION/]labels/KEY.png``.

    Which value is which class stands in ``config_v1.2.json``, ``config_v2.0.json`` or ``config.json`` (1.1); the first
    of these whose labels are there is taken. Labels are PNGs with a palette; their values are its indices.

    Raises:
        InputError: A folder or the configuration is missing, the configuration has an unknown class, or an image lacks
            its labels.
    """
    hint = "give the folder that holds training/, validation/ and config_v1.2.json, config_v2.0.json or config.json"
    folder = require_folder(root / _SPLITS[split], hint)
    config, label_folder = _version(root, folder, hint)
    image_folder = require_folder(folder / "images", hint)
    pairs = pair_files(index_by_stem(image_folder, "*"), index_by_stem(label_folder, "*"), image_folder, label_folder)
    return LabelledSet("mapillary_vistas", pairs, CITYSCAPES_CLASSES, _train_ids(config))


def _version(root: Path, folder: Path, hint: str) -> tuple[Path, Path]:
    found = [(root / config, folder / version / "labels") for config, version in _VERSIONS if (root / config).is_file()]
    if not found:
        raise InputError(f"{root}: has no config_v1.2.json, config_v2.0.json or config.json; {hint}")
    for config, labels in found:
        if labels.is_dir():
            return config, labels
    raise InputError(f"{found[0][1]}: no such folder, though {found[0][0].name} is there; {hint}")


def _train_ids(config: Path) -> dict[int, int]:
    """Reads label value -> train id from a configuration: the value is the place in its list of labels."""
    try:
        names = [str(label["name"]) for label in json.loads(config.read_text(encoding="utf-8"))["labels"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{config}: no configuration of Mapillary Vistas ({error!r:.80})") from error
    table = {}
    for value, name in enumerate(names):
        train_id = mapillary_train_id(name)
        if train_id is None:
            raise InputError(f"{config}: label {value} is {name!r}, which is in no table; add it to label_mappings.py")
        table[value] = train_id
    return table
