# SPDX-License-Identifier: Apache-2.0
"""A grid of points in and about every region: regions of all sizes are looked at in one step, at one cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from densehybrid_ros.hazards.regions import MaskedRegion

SIDE = 12
"""Points along each side of a grid."""
_MARGIN, _MARGIN_SHARE = 0.004, 0.2  # about the box: of the image's width, and of the box's own size
WIDEST_MARGIN = 1 / 64
"""Of the image's width: no point lies farther from its region's box."""


class RegionPoints(NamedTuple):
    """Points of N regions, P x P for each.

    Attributes:
        rows: int [N, P, 1].
        columns: int [N, 1, P].
        own: bool [N, P, P], True where the point lies on the region.
    """

    rows: np.ndarray
    columns: np.ndarray
    own: np.ndarray

    def of(self, image: np.ndarray) -> np.ndarray:
        """Returns the values of an image [H, W] at the points, [N, P, P]."""
        values: np.ndarray = image[self.rows, self.columns]
        return values


def region_points(regions: Sequence[MaskedRegion], marked: np.ndarray) -> RegionPoints:
    """Lays a grid over the box of every region and a margin about it.

    Args:
        regions: At least one.
        marked: bool [H, W], the pixels that the regions were found in.
    """
    height, width = marked.shape
    boxes = np.array([(item.left, item.top, item.width, item.height) for item in regions], np.float64)
    across, in_columns = _lines(boxes[:, 0], boxes[:, 2], width, width)
    down, in_rows = _lines(boxes[:, 1], boxes[:, 3], height, width)
    points = RegionPoints(down[:, :, None], across[:, None, :], in_rows[:, :, None] & in_columns[:, None, :])
    return points._replace(own=points.own & points.of(marked))


def _lines(first: np.ndarray, size: np.ndarray, length: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Places along one axis, int [N, P], and whether they lie within the box, bool [N, P]."""
    margin = np.minimum(_MARGIN * width + _MARGIN_SHARE * size, WIDEST_MARGIN * width)
    share = (np.arange(SIDE) + 0.5) / SIDE
    places = (first - margin)[:, None] + (size + 2 * margin)[:, None] * share
    inside = (places >= first[:, None]) & (places < (first + size)[:, None])
    return np.clip(places, 0, length - 1).astype(np.intp), inside
