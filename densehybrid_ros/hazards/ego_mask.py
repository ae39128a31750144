# SPDX-License-Identifier: Apache-2.0
"""The ego mask: pixels that show the own vehicle, or dirt on the lens, and are no hazards."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from densehybrid_ros.datasets.pictures import read_labels
from densehybrid_ros.errors import InputError
from densehybrid_ros.hazards.polygon import polygon_mask, polygon_problem

_STRETCH = 0.02  # by which the proportions of mask and image may differ
_NUMBER = r"\s*-?(\d+\.?\d*|\.\d+)\s*"
_NUMBERS = rf"{_NUMBER}(,{_NUMBER})+"
_ANY_SIZE = (64, 64)


@dataclass(frozen=True, eq=False)
class EgoMask:
    """A mask for images of its proportions, or of any where it is a polygon.

    Attributes:
        name: Its file, for messages.
        own: bool [h, w], True where pixels never count; or corners x1, y1, x2, y2, ... in fractions of the image.
    """

    name: str
    own: np.ndarray | tuple[float, ...]

    @lru_cache(maxsize=8)  # noqa: B019 - a mask lives as long as the settings that name it
    def others(self, height: int, width: int) -> tuple[np.ndarray | None, str | None]:
        """Returns bool [height, width], True where pixels count; or None and why the mask can't be used."""
        if isinstance(self.own, tuple):
            inside = polygon_mask(self.own, height, width)
            return np.zeros((height, width), bool) if inside is None else ~inside, None
        rows, columns = self.own.shape
        if abs(rows * width / (columns * height) - 1) > _STRETCH:
            problem = f"ego_mask: {self.name} is {columns}x{rows}, the image {width}x{height}: not used"
            return None, problem
        own = cv2.resize(self.own.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        return own == 0, None


def is_polygon(text: str) -> bool:
    """Whether a parameter's text is numbers with commas between them, and no path."""
    return re.fullmatch(_NUMBERS, text) is not None


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
        problem = polygon_problem(own)
        if problem:
            raise InputError(f"{text}: {problem}")
        covers_all = polygon_mask(own, *_ANY_SIZE) is None
    else:
        own = read_labels(Path(text).expanduser()) > 0
        covers_all = bool(own.all())
    if covers_all:
        raise InputError(f"{text}: all pixels are set, and no hazard is left; set those of the own vehicle")
    return EgoMask(text, own)
