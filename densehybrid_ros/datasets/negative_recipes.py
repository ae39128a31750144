# SPDX-License-Identifier: Apache-2.0
"""How a negative is drawn from a source: the pasting recipes of the paper and of the authors' public code."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.datasets.negative_sets import NegativeSet, Region, cut_out
from densehybrid_ros.errors import InputError

Recipe = Callable[[NegativeSet, tuple[int, int], np.random.Generator], Tensor | None]
"""(source, (height, width) of the inlier crop, random numbers) -> cut-out, or None: nothing is pasted into this crop.

A cut-out is uint8 [4, h, w]: red, green, blue, alpha (255 = outlier). It is to be pasted at a random position. Those of
``masks`` and ``boxes`` have their final size, fit the crop and are pasted without blending. Those of ``objects`` have
the size that they have in their picture, and are to be resized. An InputError says that a picture can't be read, or
that none of those tried has a region.
"""

_RECTANGLE_SHARE = 0.5
_UNITED_CLASSES = 2
_RECTANGLE_STEP, _SMALLEST_RECTANGLE = 8, 16
_PATCH_SHARE = 3 / 8  # of the crop's side: 192 of 512, as the authors fine-tune DeepLabV3+
_PICTURE_PER_PATCH = 2.0  # the picture's short side, before the random scale: 384 for a patch of 192
_PICTURE_SCALE = (0.5, 2.0)
_NO_PASTE_SHARE = 0.5
_BOX_PERCENT = (1, 15)
_ATTEMPTS = 20


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


def _cutout(color: np.ndarray, alpha: np.ndarray) -> Tensor:
    return torch.from_numpy(np.concatenate([color, alpha[:, :, None]], axis=2).transpose(2, 0, 1).copy())
