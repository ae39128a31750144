# SPDX-License-Identifier: Apache-2.0
"""Polygons of the picture: inside which regions count, or outside of which."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np


def polygon_problem(polygon: Sequence[float]) -> str | None:
    """Says what is wrong with a polygon x1, y1, x2, y2, ... in fractions of width and height; None if nothing is."""
    if len(polygon) < 6 or len(polygon) % 2:
        return f"{len(polygon)} numbers; a polygon has at least 3 corners x, y"
    if not all(0.0 <= value <= 1.0 for value in polygon):
        return "a number outside 0..1; corners are fractions of the image's width and height"
    corners = np.asarray(polygon, dtype=np.float32).reshape(-1, 2)
    if cv2.contourArea(corners) <= 0.0:
        return "the polygon has no area"
    return None


@lru_cache(maxsize=8)
def polygon_mask(polygon: tuple[float, ...], height: int, width: int) -> np.ndarray | None:
    """Rasterises a polygon.

    Args:
        polygon: Corners x1, y1, x2, y2, ... in fractions of width and height (0..1).
        height: Rows of the image.
        width: Columns of the image.

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
    if inside.all():
        return None
    inside.flags.writeable = False
    return inside
