# SPDX-License-Identifier: Apache-2.0
"""Sources of real negatives, pictures of ADE20k, of COCO or of a folder, and how a negative is drawn from one.

The pasting recipes are those of the paper and of the authors' public code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from densehybrid_ros.datasets.evaluation_set import FrameFiles, check_sizes, pair_folders, require_folder
from densehybrid_ros.datasets.pictures import list_pictures, read_color, read_labels, read_with_alpha
from densehybrid_ros.errors import InputError
from densehybrid_ros.progress import progress

_OPAQUE = 128
_ADE_CLASSES = 150
_ADE_PER_CLASS = 256  # instance numbers of a class are below this
_COCO_SPLITS = ("train2017", "val2017", "train2014", "val2014")
_COCO_BITS = 4  # of a polygon's corner, after the point
_RECTANGLE_SHARE = 0.5
_UNITED_CLASSES = 2
_RECTANGLE_STEP, _SMALLEST_RECTANGLE = 8, 16
_PATCH_SHARE = 3 / 8  # of the crop's side: 192 of 512, as the authors fine-tune DeepLabV3+
_PICTURE_PER_PATCH = 2.0  # the picture's short side, before the random scale: 384 for a patch of 192
_PICTURE_SCALE = (0.5, 2.0)
_NO_PASTE_SHARE = 0.5
_BOX_PERCENT = (1, 15)
_ATTEMPTS = 20


class Region(NamedTuple):
    """An object, or all pixels of a class, in a picture."""

    top: int  # Row of the bounding box's upper edge
    left: int  # Column of its left edge
    mask: np.ndarray  # uint8 [h, w], the size of the bounding box: opacity in 0..255, 255 = belongs to the region


class NegativePicture(NamedTuple):
    """A picture to cut negatives from."""

    name: str  # Its file, for messages
    image: np.ndarray  # uint8 [H, W, 3], RGB
    objects: tuple[Region, ...] = ()  # Single objects; none where the source has no instances
    # All pixels of a class as one region each; none where the source has no class masks
    classes: tuple[Region, ...] = ()


def cut_out(picture: NegativePicture, region: Region) -> Tensor:
    """Returns a region as a cut-out, uint8 [4, h, w]: red, green, blue, alpha (255 = belongs to the region)."""
    height, width = region.mask.shape
    return _cutout(picture.image[region.top : region.top + height, region.left : region.left + width], region.mask)


def _cutout(color: np.ndarray, alpha: np.ndarray) -> Tensor:
    return torch.from_numpy(np.dstack([color, alpha]).transpose(2, 0, 1).copy())


def regions_of_ids(ids: np.ndarray) -> tuple[Region, ...]:
    """Makes one region of all pixels of each id of a map, integers [H, W] not below 0; 0 belongs to none."""
    values = np.flatnonzero(np.bincount(ids.ravel()))  # quicker than sorting all pixels
    values = values[values > 0]
    numbers = np.zeros(int(ids.max(initial=0)) + 1, np.int32)
    numbers[values] = np.arange(1, len(values) + 1)
    regions = []
    for value, box in zip(values, ndimage.find_objects(numbers[ids]), strict=True):
        mask = np.where(ids[box] == value, np.uint8(255), np.uint8(0))
        regions.append(Region(box[0].start, box[1].start, mask))
    return tuple(regions)


class NegativeSet:
    """Pictures by index, each read from its files when asked for.

    A set can be pickled and read from several threads or processes, as the workers of a data loader do.

    Attributes:
        name: Name of the source.
    """

    def __init__(self, name: str, pictures: Sequence[Any], read: Callable[[Any], NegativePicture]) -> None:
        self.name, self._pictures, self._read = name, pictures, read

    def __len__(self) -> int:
        """Returns the number of pictures."""
        return len(self._pictures)

    def __getitem__(self, index: int) -> NegativePicture:
        """Reads a picture with its regions.

        Raises:
            InputError: A file is missing or damaged, or masks and picture disagree in size.
        """
        return self._read(self._pictures[index])


def _read_cutout(path: Path) -> NegativePicture:
    """A picture is one negative: its opaque part where it has an alpha channel, else any part of it."""
    picture = read_with_alpha(path)
    image = np.ascontiguousarray(picture[:, :, :3])
    alpha = picture[:, :, 3] if picture.shape[2] == 4 else np.zeros(image.shape[:2], np.uint8)
    region = _cut_to_box(alpha, alpha >= _OPAQUE)
    return NegativePicture(str(path), image, (region,) if region else ())


def _read_ade20k(files: FrameFiles) -> NegativePicture:
    """One of 150 classes a pixel (0 = none), and instances, red the class of 100, green its number."""
    image, labels = read_color(files.image), read_labels(files.label)
    check_sizes(image, files.image, labels, files.label)
    if labels.max(initial=0) > _ADE_CLASSES:
        raise InputError(f"{files.label}: label value {labels.max()} is not one of this data set (0..{_ADE_CLASSES})")
    classes = regions_of_ids(labels)
    if files.instances is None:
        return NegativePicture(str(files.image), image, classes=classes)
    stored = read_color(files.instances)
    check_sizes(image, files.image, stored, files.instances)
    kind = stored[:, :, 0].astype(np.int32)
    ids = np.where(kind > 0, _ADE_PER_CLASS * kind + stored[:, :, 1], 0)
    return NegativePicture(str(files.image), image, regions_of_ids(ids), classes)


class _CocoPicture(NamedTuple):
    """A picture and the polygons, each float64 [n, 2] of x and y, of every object in it."""

    file: Path
    height: int
    width: int
    objects: list[list[np.ndarray]]


def _read_coco(picture: _CocoPicture) -> NegativePicture:
    image = read_color(picture.file)
    if image.shape[:2] != (picture.height, picture.width):
        size = f"{image.shape[1]}x{image.shape[0]}"
        raise InputError(f"{picture.file}: is {size}, but its annotation says {picture.width}x{picture.height}")
    regions = (_cut_to_box(mask, mask > 0) for mask in (_filled(item, image.shape) for item in picture.objects))
    return NegativePicture(str(picture.file), image, tuple(filter(None, regions)))


def open_negative_folder(root: Path) -> NegativeSet:
    """Opens a folder of pictures, and of folders of them.

    Raises:
        InputError: The folder is missing or holds no picture.
    """
    return NegativeSet("folder", list_pictures(root, deep=True), _read_cutout)


def load_cutouts(root: Path) -> list[Tensor]:
    """Loads the opaque parts of all pictures of a folder; uint8 [4, h, w], see ``cut_out``.

    Raises:
        InputError: The folder is missing or holds no picture, or one can't be read or has no opaque part.
    """
    pictures, cutouts = open_negative_folder(root), []
    for index in progress(range(len(pictures)), "load cut-outs", unit="cut-out"):
        picture = pictures[index]
        if not picture.objects:
            raise InputError(f"{picture.name}: no cut-out; it needs an alpha channel that is opaque somewhere")
        cutouts.append(cut_out(picture, picture.objects[0]))
    return cutouts


def open_ade20k(root: Path) -> NegativeSet:
    """Opens the training part of ADE20k (Zhou et al. 2017), Scene Parsing edition of 2016.

    ``images/training/NAME.jpg`` with ``annotations/training/NAME.png`` and, where there is such a folder,
    ``annotations_instance/training/NAME.png``.

    Raises:
        InputError: The folders are missing, or a picture lacks its annotation.
    """
    hint = "give the folder that holds images/training/ and annotations/training/"
    images, labels, instances = (root / kind / "training" for kind in ("images", "annotations", "annotations_instance"))
    files = pair_folders(images, labels, hint)
    if instances.is_dir():
        found = pair_folders(images, instances, hint)
        files = [replace(item, instances=other.label) for item, other in zip(files, found, strict=True)]
    return NegativeSet("ade20k", files, _read_ade20k)


def open_coco(root: Path) -> NegativeSet:
    """Opens ``annotations/instances_train2017.json`` of COCO (Lin et al. 2014) with ``train2017/*.jpg``.

    Where they are not there, the first other split that is.

    Raises:
        InputError: Neither table nor pictures are there, or the table can't be read or names a picture that is missing.
    """
    hint = "give the folder that holds annotations/instances_train2017.json and train2017/"
    folder = require_folder(root / "annotations", hint)
    split = next((name for name in _COCO_SPLITS if (folder / f"instances_{name}.json").is_file()), None)
    if split is None:
        raise InputError(f"{folder}: holds no instances_train2017.json; {hint}")
    table, pictures = folder / f"instances_{split}.json", require_folder(root / split, hint)
    found = _read_coco_table(table, pictures)
    there = {path.name for path in pictures.iterdir()}
    if missing := [item.file for item in found if item.file.name not in there]:
        raise InputError(f"{missing[0]}: is missing, but {table} names it; unpack all pictures of the split")
    return NegativeSet("coco", found, _read_coco)


def _read_coco_table(table: Path, folder: Path) -> list[_CocoPicture]:
    try:
        content = json.loads(table.read_text(encoding="utf-8"))
        objects: dict[int, list[list[np.ndarray]]] = {}
        for item in content["annotations"]:
            if not item.get("iscrowd", 0):
                polygons = [np.array(polygon, np.float64).reshape(-1, 2) for polygon in item["segmentation"]]
                objects.setdefault(item["image_id"], []).append(polygons)
        pictures = [
            _CocoPicture(folder / item["file_name"], int(item["height"]), int(item["width"]), objects[item["id"]])
            for item in content["images"]
            if item["id"] in objects
        ]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(f"{table}: not in the format of COCO's instances ({error!r:.80})") from error
    if not pictures:
        raise InputError(f"{table}: names no picture with an object")
    return pictures


def _filled(polygons: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Fills polygons, each by itself as an object may consist of several parts; uint8 [H, W], 255 = inside."""
    mask = np.zeros(shape[:2], np.uint8)
    for polygon in polygons:
        # COCO's (0, 0) is the corner of the first pixel, OpenCV's its centre.
        corners = ((polygon - 0.5) * (1 << _COCO_BITS)).round().astype(np.int32)
        cv2.fillPoly(mask, [corners], 255, shift=_COCO_BITS)
    return mask


def _cut_to_box(opacity: np.ndarray, inside: np.ndarray) -> Region | None:
    """Makes a region of the box around what is inside; None where nothing is."""
    left, top, width, height = cv2.boundingRect(inside.astype(np.uint8))
    return Region(top, left, opacity[top : top + height, left : left + width].copy()) if width else None


Recipe = Callable[[NegativeSet, tuple[int, int], np.random.Generator], Tensor | None]
"""(source, (height, width) of the inlier crop, random numbers) -> cut-out, or None: nothing is pasted into this crop.

A cut-out is uint8 [4, h, w]: red, green, blue, alpha (255 = outlier). It is to be pasted at a random position. Those of
``masks`` and ``boxes`` have their final size, fit the crop and are pasted without blending. Those of ``objects`` have
the size that they have in their picture, and are to be resized. An InputError says that a picture can't be read, or
that none of those tried has a region.
"""


def draw_object(source: NegativeSet, crop: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """Draws an object with its mask, in the size that it has in its picture; sources without objects give classes."""
    for _ in range(_ATTEMPTS):
        picture = source[int(rng.integers(len(source)))]
        if regions := picture.objects or picture.classes:
            return cut_out(picture, regions[int(rng.integers(len(regions)))])
    raise InputError(f"{picture.name}: like {_ATTEMPTS - 1} others without an object; take the recipe masks")


def draw_masks(source: NegativeSet, crop: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """Draws a random rectangle or, as often, the union of two classes' masks, from a square patch of a picture.

    The patch has 3/8 of the crop's shorter side; the picture's short side is scaled to twice the patch times U(0.5, 2).
    Both classes are drawn with replacement. A patch without a region gives a rectangle.
    """
    picture = source[int(rng.integers(len(source)))]
    side = max(_SMALLEST_RECTANGLE, int(min(crop) * _PATCH_SHARE))
    labels = _paint(picture.classes or picture.objects, picture.image.shape[:2])
    image, labels = _random_patch(picture.image, labels, side, rng)
    mask = np.zeros(labels.shape, np.uint8)
    present = np.unique(labels[labels > 0])
    if not len(present) or rng.random() < _RECTANGLE_SHARE:
        height, width = (int(n) for n in rng.choice(np.arange(_SMALLEST_RECTANGLE, side + 1, _RECTANGLE_STEP), 2))
        top, left = int(rng.integers(side - height + 1)), int(rng.integers(side - width + 1))
        mask[top : top + height, left : left + width] = 255
    else:
        mask[np.isin(labels, rng.choice(present, _UNITED_CLASSES))] = 255
    return _cutout(image, mask)


def draw_box(source: NegativeSet, crop: tuple[int, int], rng: np.random.Generator) -> Tensor | None:
    """Draws, for half of the crops, an object whose bounding box is rescaled to 1-15 % of sqrt(H W).

    The whole percentage is drawn evenly; the square root of the box's area becomes that share of the square root of the
    crop's area. Sources without objects give classes.
    """
    if rng.random() < _NO_PASTE_SHARE:
        return None
    cutout = draw_object(source, crop, rng)
    height, width = cutout.shape[1:]
    percent = int(rng.integers(_BOX_PERCENT[0], _BOX_PERCENT[1] + 1))
    factor = percent / 100 * (crop[0] * crop[1] / (height * width)) ** 0.5
    size = (min(crop[1], max(1, round(width * factor))), min(crop[0], max(1, round(height * factor))))
    pixels = cutout.permute(1, 2, 0).numpy()
    shrinks = size[0] * size[1] < height * width
    color = cv2.resize(pixels[:, :, :3], size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    mask = cv2.resize(pixels[:, :, 3], size, interpolation=cv2.INTER_NEAREST)
    if not mask.any():  # a thin object may fall between the pixels
        mask[:] = 255
    return _cutout(color, mask)


RECIPES: dict[str, Recipe] = {"objects": draw_object, "masks": draw_masks, "boxes": draw_box}
"""Name -> recipe: ``masks`` is the authors' first, ``boxes`` their second, ``objects`` leaves sizes to the caller."""


def _paint(regions: tuple[Region, ...], size: tuple[int, ...]) -> np.ndarray:
    """Paints regions into a map of their numbers from 1 on, uint8 [H, W]; 0 belongs to none."""
    labels = np.zeros(size, np.uint8)
    for number, region in enumerate(regions[:255], 1):
        rows = slice(region.top, region.top + region.mask.shape[0])
        columns = slice(region.left, region.left + region.mask.shape[1])
        labels[rows, columns][region.mask >= 128] = number
    return labels


def _random_patch(
    image: np.ndarray, labels: np.ndarray, side: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Takes a square of the scaled picture: what the scaled patch covers is cut out first, then resized."""
    scale = _PICTURE_PER_PATCH * float(rng.uniform(*_PICTURE_SCALE))
    short = min(image.shape[:2])
    covered = min(short, max(1, round(short / scale)))
    top = int(rng.integers(image.shape[0] - covered + 1))
    left = int(rng.integers(image.shape[1] - covered + 1))
    window = (slice(top, top + covered), slice(left, left + covered))
    interpolation = cv2.INTER_AREA if covered > side else cv2.INTER_LINEAR
    patch = cv2.resize(image[window], (side, side), interpolation=interpolation)
    return patch, cv2.resize(labels[window], (side, side), interpolation=cv2.INTER_NEAREST)
