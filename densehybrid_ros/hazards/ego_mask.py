# SPDX-License-Identifier: Apache-2.0
"""Parts of the picture that never count: outside of the polygon ``roi``, and the ego mask (own vehicle, dirt)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from densehybrid_ros.datasets.pictures import read_labels
from densehybrid_ros.errors import InputError

_STRETCH = 0.02  # by which the proportions of mask and image may differ
_NUMBER = r"\s*-?(\d+\.?\d*|\.\d+)\s*"
_ANY_SIZE = (64, 64)


def polygon_problem(polygon: Sequence[float]) -> str | None:
    """Says what is wrong with a polygon x1, y1, x2, y2, ... in fractions of width and height; None if nothing is."""
    if len(polygon) < 6 or len(polygon) % 2:
        return f"{len(polygon)} numbers; a polygon has at least 3 corners x, y"
    if not all(0.0 <= value <= 1.0 for value in polygon):
        return "a number outside 0..1; corners are fractions of the image's width and height"
    corners = np.asarray(polygon, dtype=np.float32).reshape(-1, 2)
    return None if cv2.contourArea(corners) > 0.0 else "the polygon has no area"


@lru_cache(maxsize=8)
def polygon_mask(polygon: tuple[float, ...], height: int, width: int) -> np.ndarray | None:
    """Rasterises a polygon x1, y1, x2, y2, ... in fractions of width and height.

    Returns:
        bool [height, width], read-only, True where the centre of the pixel is inside; None where all are.
    """
    corners = np.asarray(polygon, dtype=np.float64).reshape(-1, 2) * (width, height)
    columns, rows = np.arange(width) + 0.5, np.arange(height) + 0.5
    inside = np.zeros((height, width), dtype=bool)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        crossed = (y1 <= rows) != (y2 <= rows)
        # A pixel is inside if a ray from its centre to the right crosses an odd number of edges.
        edge = x1 + (rows[crossed] - y1) / (y2 - y1) * (x2 - x1) if y1 != y2 else rows[crossed]
        inside[crossed] ^= columns < edge[:, None]
    inside.flags.writeable = False
    return None if inside.all() else inside


@dataclass(frozen=True, eq=False)
class EgoMask:
    """A mask for images of its proportions, or of any where it is a polygon."""

    name: str  # its file, for messages
    # bool [h, w], True where pixels never count; or corners x1, y1, x2, y2, ... in fractions of the image
    own: np.ndarray | tuple[float, ...]

    @lru_cache(maxsize=8)  # noqa: B019 - a mask lives as long as the settings that name it
    def others(self, height: int, width: int) -> tuple[np.ndarray | None, str | None]:
        """Returns bool [height, width], True where pixels count; or None and why the mask can't be used."""
        if isinstance(self.own, tuple):
            inside = polygon_mask(self.own, height, width)
            return np.zeros((height, width), bool) if inside is None else ~inside, None
        rows, columns = self.own.shape
        if abs(rows * width / (columns * height) - 1) > _STRETCH:
            return None, f"ego_mask: {self.name} is {columns}x{rows}, the image {width}x{height}: not used"
        own = cv2.resize(self.own.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        return own == 0, None


def is_polygon(text: str) -> bool:
    """Whether a parameter's text is numbers with commas between them, and no path."""
    return re.fullmatch(rf"{_NUMBER}(,{_NUMBER})+", text) is not None


def read_ego_mask(text: str) -> EgoMask | None:
    """Reads a polygon, or the path of a grey picture whose pixels above 0 never count. Empty: None.

    Raises:
        InputError: The polygon is none, the file is missing or no grey picture, or all of the image is covered.
    """
    if not text:
        return None
    own: np.ndarray | tuple[float, ...]
    if is_polygon(text):
        own = tuple(float(number) for number in text.split(","))
        if problem := polygon_problem(own):
            raise InputError(f"{text}: {problem}")
        covers_all = polygon_mask(own, *_ANY_SIZE) is None
    else:
        own = read_labels(Path(text).expanduser()) > 0
        covers_all = bool(own.all())
    if covers_all:
        raise InputError(f"{text}: all pixels are set, and no hazard is left; set those of the own vehicle")
    return EgoMask(text, own)
