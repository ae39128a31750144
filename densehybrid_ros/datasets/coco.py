# SPDX-License-Identifier: Apache-2.0
"""COCO (Lin et al. 2014) as negatives: the instances of ``instances_*.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from densehybrid_ros.datasets.coco_masks import decode_counts, fill_polygons, parse_counts
from densehybrid_ros.datasets.evaluation_set import require_folder
from densehybrid_ros.datasets.negative_set import NegativePicture, NegativeSet, Region
from densehybrid_ros.datasets.pictures import read_color
from densehybrid_ros.errors import InputError

_SPLITS = ("train2017", "val2017", "train2014", "val2014")


class _Instance(NamedTuple):
    """One annotation: either polygons, each float64 [n, 2] of x and y, or the run lengths of a mask."""

    polygons: tuple[np.ndarray, ...]
    runs: np.ndarray | None


class _Picture(NamedTuple):
    file: Path
    height: int
    width: int
    instances: tuple[_Instance, ...]


class Coco(NegativeSet):
    """Pictures with one object or more; crowds (``iscrowd``) are left out."""

    name = "coco"

    def __init__(self, pictures: Sequence[_Picture]) -> None:
        self._pictures = list(pictures)

    def __len__(self) -> int:
        """Returns the number of pictures."""
        return len(self._pictures)

    def __getitem__(self, index: int) -> NegativePicture:
        """Reads a picture and draws the masks of its objects."""
        picture = self._pictures[index]
        image = read_color(picture.file)
        if image.shape[:2] != (picture.height, picture.width):
            size = f"{image.shape[1]}x{image.shape[0]}"
            raise InputError(f"{picture.file}: is {size}, but its annotation says {picture.width}x{picture.height}")
        regions = [_region(item, picture) for item in picture.instances]
        return NegativePicture(str(picture.file), image, tuple(region for region in regions if region is not None))


def open_coco(root: Path) -> Coco:
    """Opens ``annotations/instances_train2017.json`` with ``train2017/*.jpg``, or else the first split that is there.

    Raises:
        InputError: Neither table nor pictures are there, or the table can't be read or names a picture that is missing.
    """
    hint = "give the folder that holds annotations/instances_train2017.json and train2017/"
    folder = require_folder(root / "annotations", hint)
    split = next((name for name in _SPLITS if (folder / f"instances_{name}.json").is_file()), None)
    if split is None:
        raise InputError(f"{folder}: holds no instances_train2017.json; {hint}")
    pictures = require_folder(root / split, hint)
    return Coco(_read_table(folder / f"instances_{split}.json", pictures))


def _read_table(table: Path, folder: Path) -> list[_Picture]:
    try:
        content = json.loads(table.read_text(encoding="utf-8"))
        instances: dict[int, list[_Instance]] = {}
        for item in content["annotations"]:
            if not item.get("iscrowd", 0):
                instances.setdefault(item["image_id"], []).append(_instance(item["segmentation"]))
        images = [(item, tuple(instances.get(item["id"], ()))) for item in content["images"]]
        pictures = [
            _Picture(folder / item["file_name"], int(item["height"]), int(item["width"]), found)
            for item, found in images
            if found
        ]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(f"{table}: not in the format of COCO's instances ({error!r:.80})") from error
    if not pictures:
        raise InputError(f"{table}: names no picture with an object")
    there = {path.name for path in folder.iterdir()}
    missing = next((picture.file for picture in pictures if picture.file.name not in there), None)
    if missing is not None:
        raise InputError(f"{missing}: is missing, but {table} names it; unpack all pictures of the split")
    return pictures


def _instance(segmentation: Any) -> _Instance:
    if isinstance(segmentation, dict):
        return _Instance((), parse_counts(segmentation["counts"]))
    polygons = tuple(np.array(polygon, np.float64).reshape(-1, 2) for polygon in segmentation)
    return _Instance(polygons, None)


def _region(instance: _Instance, picture: _Picture) -> Region | None:
    """Draws an object's mask and cuts it to its box; None where no pixel is covered."""
    size = (picture.height, picture.width)
    if instance.runs is None:
        mask = fill_polygons(instance.polygons, size)
    else:
        try:
            mask = decode_counts(instance.runs, size)
        except ValueError as error:
            raise InputError(f"{picture.file}: the mask of an object in it is malformed ({error})") from error
    left, top, width, height = cv2.boundingRect(mask)
    if not width:
        return None
    return Region(top, left, mask[top : top + height, left : left + width].copy())
