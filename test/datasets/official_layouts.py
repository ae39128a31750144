# SPDX-License-Identifier: Apache-2.0
"""Writes tiny copies of data sets in their official layouts, for the tests of their readers."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import PIL.Image

HEIGHT, WIDTH = 6, 8


def save_picture(path: Path, picture: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = picture if picture.ndim == 2 else np.ascontiguousarray(picture[:, :, ::-1])
    assert cv2.imwrite(str(path), stored)
    return path


def save_image(path: Path, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Saves a random picture and returns it as RGB (exactly what a PNG gives back)."""
    rgb = np.random.default_rng(len(path.name)).integers(0, 256, (height, width, 3), dtype=np.uint8)
    save_picture(path, rgb)
    return rgb


def label_map(*values: int) -> np.ndarray:
    """A map that repeats ``values`` along its rows."""
    return np.resize(np.array(values, dtype=np.uint8), (HEIGHT, WIDTH))


def save_palette(path: Path, indices: np.ndarray) -> None:
    """Saves a PNG with a palette in which all indices above 1 share a colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = PIL.Image.fromarray(indices, mode="L")
    picture.putpalette([0, 0, 0, 250, 170, 30] + [9, 9, 9] * 254)
    picture.save(path)
    assert PIL.Image.open(path).mode == "P"


def _pairs(root: Path, image: str, label: str, names: tuple[str, ...], labels: np.ndarray) -> Path:
    """Writes an image and its labels for each name, which stands for the star of the patterns."""
    for name in names:
        save_image(root / image.replace("*", name), *labels.shape)
        save_picture(root / label.replace("*", name), labels)
    return root


def cityscapes(root: Path, split: str = "train") -> Path:
    image, label = f"leftImg8bit/{split}/aachen/*_leftImg8bit.png", f"gtFine/{split}/aachen/*_gtFine_labelIds.png"
    return _pairs(root, image, label, ("aachen_000000_000019", "aachen_000001_000019"), label_map(7, 0, 33, 255))


def own_folder(root: Path, split: str = "train") -> Path:
    text = "classes: [{id: 3, name: road, drivable: true}, {id: [7, 8], name: rail}]\nunknown: 9\nignore: 0\n"
    _pairs(root, f"{split}/images/*.jpg", f"{split}/labels/*.png", ("b/1", "b/2"), label_map(3, 7, 9, 0))
    (root / "classes.yaml").write_text(text)
    return root


def cityscapes_640(root: Path, split: str = "train") -> Path:
    labels = np.full((HEIGHT, HEIGHT), 10, np.uint8)
    return _pairs(root, f"{split}/image/*.jpg", f"{split}/label/*.png", ("aachen_0", "ulm_0"), labels)


def cityscapes_640_void(root: Path, split: str = "train") -> Path:
    """The same with a caravan and other void in the upper left corner, and the own car at the foot of each frame."""
    labels, void = np.full((HEIGHT, HEIGHT), 10, np.uint8), np.zeros((HEIGHT, HEIGHT), np.uint8)
    labels[0, :4], void[0, :2], void[0, 2:4] = 255, 29, 4
    labels[-1], void[-1] = 255, 1
    for part, picture in (("label", labels), ("void", void)):
        _pairs(root, f"{split}/image/*.jpg", f"{split}/{part}/*.png", ("aachen_0", "ulm_0"), picture)
    return root


def idd_lite(root: Path, split: str = "train") -> Path:
    labels = np.repeat(np.array([0, 1, 2, 3, 4, 5, 6, 255], np.uint8), 40)[None].repeat(227, 0)
    return _pairs(root, f"{split}/image/*.png", f"{split}/label/*.png", ("a", "b"), labels)


MAPILLARY_NAMES = {
    "v1.2": ["construction--flat--road", "marking--general", "object--vehicle--car", "void--unlabeled"],
    "v2.0": [
        "construction--flat--road-shoulder",
        "marking--discrete--arrow--left",
        "object--traffic-light--general-upright",
        "construction--barrier--temporary",
    ],
}


def mapillary(root: Path, version: str = "v1.2", split: str = "training") -> Path:
    names = MAPILLARY_NAMES["v1.2" if version == "v1.1" else version]
    labels = [{"name": name, "readable": name, "color": [0, 0, 0]} for name in names]
    config = "config.json" if version == "v1.1" else f"config_{version}.json"
    root.mkdir(parents=True, exist_ok=True)
    (root / config).write_text(json.dumps({"labels": labels, "version": version}))
    folder = root / split / ("" if version == "v1.1" else version) / "labels"
    for key in ("a-b_1", "zZ9"):
        save_image(root / split / "images" / f"{key}.jpg")
        save_palette(folder / f"{key}.png", label_map(0, 1, 2, 3))
    return root


def street_hazards(root: Path, split: str = "training") -> Path:
    image, label = f"train/images/{split}/*/7.png", f"train/annotations/{split}/*/7.png"
    return _pairs(root, image, label, ("t1", "t2"), label_map(1, 4, 5, 13))


def wilddash(root: Path, suffix: str = "", count: int = 3) -> Path:
    names = tuple(f"at{number}" for number in range(count))
    return _pairs(root, "images/*.jpg", f"labels/*{suffix}.png", names, label_map(7, 34, 38, 0))


def ade20k(root: Path) -> Path:
    save_image(root / "images" / "training" / "ADE_train_00000001.jpg")
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[1:3, 1:5] = 21  # two cars side by side
    labels[4:, :] = 67  # books
    save_picture(root / "annotations" / "training" / "ADE_train_00000001.png", labels)
    stored = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    stored[1:3, 1:3], stored[1:3, 3:5] = (13, 1, 0), (13, 2, 0)
    save_picture(root / "annotations_instance" / "training" / "ADE_train_00000001.png", stored)
    return root


def coco(root: Path, split: str = "val2017") -> Path:
    for name in ("000000000001.jpg", "000000000002.jpg"):
        save_image(root / split / name, 10, 12)
    content = {
        "categories": [{"id": 22, "name": "elephant"}, {"id": 3, "name": "car"}],
        "images": [
            {"id": 1, "file_name": "000000000001.jpg", "height": 10, "width": 12},
            {"id": 2, "file_name": "000000000002.jpg", "height": 10, "width": 12},
        ],
        "annotations": [
            {"id": 5, "image_id": 1, "category_id": 22, "iscrowd": 0, "segmentation": [[2, 3, 7, 3, 7, 8, 2, 8]]},
            {"id": 6, "image_id": 1, "category_id": 3, "iscrowd": 0, "segmentation": [[9, 1, 12, 1, 12, 4], [0, 0]]},
            {"id": 7, "image_id": 2, "category_id": 3, "iscrowd": 1,
             "segmentation": {"size": [10, 12], "counts": [0, 120]}},
        ],
    }  # fmt: skip
    (root / "annotations").mkdir(parents=True)
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root
