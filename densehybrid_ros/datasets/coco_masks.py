"""Masks as COCO stores them: polygons, and run lengths as numbers or packed into text.

The format is that of the COCO API's ``maskApi``: runs alternate between background and object, background first, down
the columns. Packed, each run is a signed number in groups of five bits, lowest first, with bit 6 saying that more
follow, as characters from "0" on; from the third run on it is the difference to the run before the last.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

_FIRST_CHARACTER = 48
_GROUP_BITS, _MORE, _SIGN = 5, 0x20, 0x10
_SUBPIXEL_BITS = 4


def fill_polygons(polygons: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Fills polygons, each by itself, as an object may consist of several parts.

    Args:
        polygons: float [n, 2], x and y in pixels; (0, 0) is the picture's upper left corner.
        size: (height, width) of the picture.

    Returns:
        uint8 [height, width], 255 = inside.
    """
    mask = np.zeros(size, np.uint8)
    for polygon in polygons:
        # OpenCV counts from pixel centres, COCO from the corner; coordinates are fixed-point numbers here.
        points = np.round((polygon - 0.5) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
        cv2.fillPoly(mask, [points], 255, shift=_SUBPIXEL_BITS)
    return mask


def parse_counts(counts: str | bytes | Sequence[int]) -> np.ndarray:
    """Returns the run lengths, int64, of either form.

    Raises:
        ValueError: The text ends within a number, or a length is negative.
    """
    if isinstance(counts, (str, bytes)):
        text = counts.encode("ascii") if isinstance(counts, str) else counts
        runs = np.array(_unpack(text), np.int64)
    else:
        runs = np.asarray(counts, np.int64)
    if (runs < 0).any():
        raise ValueError("a run length is negative")
    return runs


def decode_counts(runs: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Turns run lengths into a mask, uint8 [height, width], 255 = object.

    Raises:
        ValueError: The lengths do not add up to the size.
    """
    height, width = size
    if int(runs.sum()) != height * width:
        raise ValueError(f"runs cover {int(runs.sum())} pixels of {height * width}")
    values = np.where(np.arange(len(runs)) % 2 == 1, np.uint8(255), np.uint8(0))
    return np.ascontiguousarray(np.repeat(values, runs).reshape(width, height).T)


def _unpack(text: bytes) -> list[int]:
    runs: list[int] = []
    position = 0
    while position < len(text):
        value, shift, more = 0, 0, True
        while more:
            if position == len(text):
                raise ValueError("the packed run lengths end within a number")
            group = text[position] - _FIRST_CHARACTER
            position += 1
            value |= (group & 0x1F) << shift
            shift += _GROUP_BITS
            more = bool(group & _MORE)
        if group & _SIGN:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    return runs
