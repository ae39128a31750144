# SPDX-License-Identifier: Apache-2.0
"""Masks as COCO stores them: polygons, and run lengths as numbers or packed into text.

The format is that of the COCO API's ``maskApi``: runs alternate between background and object, background first, down
the columns. Packed, each run is a signed number in groups of five bits, lowest first, with bit 6 saying that more
follow, as characters from "0" on; from the third run on it is the difference to the run before the last.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_FIRST_CHARACTER = 48
_GROUP_BITS, _MORE, _SIGN = 5, 0x20, 0x10
_FINER = 5  # points of an outline are fifths of a pixel


def fill_polygons(polygons: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Fills polygons, each by itself, as an object may consist of several parts: the pixels of ``rleFrPoly``.

    Args:
        polygons: float64 [n, 2], x and y in pixels; (0, 0) is the picture's upper left corner.
        size: (height, width) of the picture.

    Returns:
        uint8 [height, width], 255 = inside.
    """
    height, width = size
    inside = np.zeros(height * width, bool)
    for polygon in polygons:
        x, y = _crossings(_outline(polygon), width, height)
        if len(x):  # down the columns, every crossing turns outside into inside or inside into outside
            first, last = int(x.min()), int(x.max()) + 1
            turns = np.bincount((x - first) * height + y, minlength=(last - first) * height + 1)
            inside[first * height : last * height] |= np.cumsum(turns[: (last - first) * height]) % 2 == 1
    return np.ascontiguousarray(inside.reshape(width, height).T).astype(np.uint8) * np.uint8(255)


def _outline(polygon: np.ndarray) -> np.ndarray:
    """Walks along the polygon's edges on a grid of fifths of a pixel; int64 [m, 2], neighbours are a step apart."""
    begin = np.trunc(_FINER * np.asarray(polygon, np.float64) + 0.5).astype(np.int64)
    end = np.roll(begin, -1, axis=0)
    way = end - begin
    steps = np.abs(way).max(axis=1)
    major = np.where(np.abs(way[:, 0]) == steps, 0, 1)
    backward = np.take_along_axis(way, major[:, None], axis=1)[:, 0] < 0  # an edge is drawn alike in both directions
    start = np.where(backward[:, None], end, begin)
    slope = np.where(backward[:, None], -way, way) / np.maximum(steps, 1)[:, None]
    edge = np.repeat(np.arange(len(begin)), steps + 1)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(steps + 1) - steps - 1, steps + 1)
    step = np.where(backward[edge], steps[edge] - step, step)
    rounded = np.trunc(start[edge] + slope[edge] * step[:, None] + 0.5).astype(np.int64)
    along = np.arange(2) == major[edge, None]
    return np.where(along, start[edge] + step[:, None], rounded)


def _crossings(outline: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds where the outline crosses the middle of a column: the column, and the first row below the crossing."""
    moves = outline[1:, 0] != outline[:-1, 0]
    x, y = np.minimum(outline[1:], outline[:-1])[moves].T
    column = (x - _FINER // 2) // _FINER
    crosses = (x % _FINER == _FINER // 2) & (column >= 0) & (column < width)
    row = np.ceil((y[crosses] + 0.5) / _FINER - 0.5)
    return column[crosses], row.clip(0, height).astype(np.int64)


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
