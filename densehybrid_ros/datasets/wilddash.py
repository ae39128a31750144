# SPDX-License-Identifier: Apache-2.0
"""WildDash 2 (Zendel et al. 2022), panoptic or semantic labels, with the classes of Cityscapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from densehybrid_ros.datasets.evaluation_set import FrameFiles, index_by_stem, pair_files, require_folder
from densehybrid_ros.datasets.label_mappings import WILDDASH_NAMES, wilddash_train_id
from densehybrid_ros.datasets.label_values import TRAIN_IDS
from densehybrid_ros.datasets.labelled_set import LabelledSet
from densehybrid_ros.datasets.pictures import read_id_colors
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES, VOID
from densehybrid_ros.errors import InputError

_VALIDATION_EVERY = 5
_UNLABELLED = 0  # value of pixels that belong to no segment
_HINT = "give the folder that holds images/ and panoptic/ with panoptic.json, or images/ and labels/"


def open_wilddash2(root: Path, split: str) -> LabelledSet:
    """Opens the public part of WildDash 2.

    The labels of ``images/NAME.jpg`` are ``panoptic/NAME.png`` with ``panoptic.json`` (COCO's format) or, where
    that is missing, category ids in ``labels/NAME.png`` or ``labels/NAME_labelIds.png``. There is no official split:
    every fifth frame by name is for validation.

    Raises:
        InputError: A folder is missing, the table can't be read or has an unknown category, or an image lacks its
            labels.
    """
    image_folder = require_folder(root / "images", _HINT)
    images = index_by_stem(image_folder, "*")
    names = sorted(images)
    chosen = [name for index, name in enumerate(names) if (index % _VALIDATION_EVERY == 0) == (split == "val")]
    images = {name: images[name] for name in chosen}
    table = root / "panoptic.json"
    label_folder = root / ("panoptic" if table.is_file() else "labels")
    labels = index_by_stem(require_folder(label_folder, _HINT), "*")
    labels = {name.removesuffix("_labelIds"): path for name, path in labels.items()}
    files = pair_files(images, labels, image_folder, label_folder)
    if table.is_file():
        return LabelledSet("wilddash2", files, CITYSCAPES_CLASSES, TRAIN_IDS, read=_read_table(table, files))
    ids = {value: wilddash_train_id(name) for value, name in enumerate(WILDDASH_NAMES)}
    known = {value: train_id for value, train_id in ids.items() if train_id is not None}
    return LabelledSet("wilddash2", files, CITYSCAPES_CLASSES, known)


class PanopticLabels:
    """Reads COCO's panoptic pictures: the colour of a pixel is the id of its segment, which has a category.

    Args:
        segments: Name of the picture -> ids of its segments, uint32 and sorted, and their train ids, uint8.
    """

    def __init__(self, segments: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
        self._segments = segments

    def __call__(self, files: FrameFiles) -> np.ndarray:
        """Reads the labels of a frame, uint8 [H, W].

        Raises:
            InputError: The picture can't be read or holds an id that is none of its segments.
        """
        values = read_id_colors(files.label)
        ids, train_ids = self._segments[files.label.name]
        places = np.searchsorted(ids, values).clip(max=len(ids) - 1)
        foreign = ids[places] != values
        if foreign.any():
            value = int(values[foreign].min())
            raise InputError(f"{files.label}: label value {value} is no segment of this frame in panoptic.json")
        return train_ids[places]


def _read_table(table: Path, files: list[FrameFiles]) -> PanopticLabels:
    try:
        content = json.loads(table.read_text(encoding="utf-8"))
        categories = {int(item["id"]): str(item["name"]) for item in content["categories"]}
        by_picture = {str(item["file_name"]): item["segments_info"] for item in content["annotations"]}
        pairs = {name: [(int(s["id"]), int(s["category_id"])) for s in found] for name, found in by_picture.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{table}: not in COCO's panoptic format ({error!r:.80})") from error
    train_ids: dict[int, int] = {}
    for category, name in categories.items():
        train_id = wilddash_train_id(name)
        if train_id is None:
            raise InputError(
                f"{table}: category {category} is {name!r}, which is in no table; add it to label_mappings.py"
            )
        train_ids[category] = train_id
    missing = next((item.label for item in files if item.label.name not in pairs), None)
    if missing is not None:
        raise InputError(f"{missing}: {table} has no annotation of it; get both from the same release")
    return PanopticLabels({item.label.name: _lookup(pairs[item.label.name], train_ids, item.label) for item in files})


def _lookup(segments: list[tuple[int, int]], train_ids: dict[int, int], picture: Path) -> tuple[Any, Any]:
    found = {_UNLABELLED: VOID}
    for segment, category in segments:
        if category not in train_ids:
            raise InputError(
                f"{picture}: segment {segment} is of category {category}, which panoptic.json does not list"
            )
        found[segment] = train_ids[category]
    ids = sorted(found)
    return np.array(ids, np.uint32), np.array([found[item] for item in ids], np.uint8)
