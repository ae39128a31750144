"""Which hazard of the last frames is which region of this one: in the image first, and on the ground."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from scipy.optimize import linear_sum_assignment

from densehybrid_ros.hazards.hazard import Location
from densehybrid_ros.hazards.regions import Region

_PADDING, _PADDING_SHARE = 0.004, 0.25  # boxes are padded by this share of the image's width, and of their own size
_SMALLEST_OVERLAP = 0.1
_GATE, _WIDEST_GATE, _SIDE_GATE = 2.0, 4.0, 1.5  # metres: of distance at least and at most, and sideways
_CONTRADICTED = 0.5  # cost of a match in the image that the ground contradicts
_FORBIDDEN = 1e6

Box: TypeAlias = tuple[float, float, float, float]
"""Column and row of a bounding box's centre, and the logarithms of its width and height, in pixels."""


class Sight(NamedTuple):
    """A box in the image and where it stands."""

    box: Box
    location: Location


def box_of(region: Region) -> Box:
    """Returns the bounding box of a region."""
    return (
        region.left + 0.5 * (region.width - 1),
        region.top + 0.5 * (region.height - 1),
        math.log(region.width),
        math.log(region.height),
    )


def associate(expected: Sequence[Sight], seen: Sequence[Sight], width: int) -> dict[int, int]:
    """Matches what is expected with what is seen so that the sum of costs is least.

    Boxes that overlap match at the cost of one minus their overlap, and half more where their places on the ground
    contradict it. Where boxes do not overlap, places within a gate match at a higher cost.

    Args:
        expected: Tracks, moved to this frame.
        seen: Regions of this frame.
        width: Columns of the image.

    Returns:
        Index in ``expected`` -> index in ``seen``.
    """
    if not expected or not seen:
        return {}
    cost = _costs(expected, seen, width)
    rows, columns = linear_sum_assignment(cost)
    return {int(row): int(column) for row, column in zip(rows, columns, strict=True) if cost[row, column] < _FORBIDDEN}


def _costs(expected: Sequence[Sight], seen: Sequence[Sight], width: int) -> np.ndarray:
    """Cost of every pair, float64 [T, D]: 0..1 for overlapping boxes, more where only the ground agrees."""
    overlap = _overlaps(_edges([sight.box for sight in expected], width), _edges([sight.box for sight in seen], width))
    aside_expected, ahead_expected, deviation_expected = _ground(expected)
    aside_seen, ahead_seen, deviation_seen = _ground(seen)
    ahead = np.abs(ahead_expected[:, None] - ahead_seen)
    aside = np.abs(aside_expected[:, None] - aside_seen)
    deviation = 3.0 * np.hypot(deviation_expected[:, None], deviation_seen)
    gate = np.minimum(np.maximum(deviation, _GATE), _WIDEST_GATE)
    # Comparisons with NaN, where a position is unknown, are False: then the image alone decides.
    near = (ahead <= gate) & (aside <= _SIDE_GATE)
    far = (ahead > _GATE + deviation) | (aside > _SIDE_GATE + deviation)
    on_ground = np.where(near, 2.0 + 0.5 * (ahead / gate + aside / _SIDE_GATE), _FORBIDDEN)
    return np.where(overlap >= _SMALLEST_OVERLAP, 1.0 - overlap + _CONTRADICTED * far, on_ground)


def _edges(boxes: Sequence[Box], width: int) -> np.ndarray:
    """Edges of padded boxes, float64 [4, N]: left, top, right, bottom."""
    column, row, wide, high = np.array(boxes).T
    wide, high = np.exp(wide), np.exp(high)
    padding = np.maximum(_PADDING * width, _PADDING_SHARE * 0.5 * (wide + high))
    across, down = 0.5 * wide + padding, 0.5 * high + padding
    return np.stack([column - across, row - down, column + across, row + down])


def _overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of all pairs of boxes, float64 [N, M], from their edges [4, N] and [4, M]."""
    left, top, right, bottom = first[:, :, None]
    across = np.minimum(right, second[2]) - np.maximum(left, second[0])
    down = np.minimum(bottom, second[3]) - np.maximum(top, second[1])
    common = np.maximum(across, 0.0) * np.maximum(down, 0.0)
    area = (second[2] - second[0]) * (second[3] - second[1])
    return common / ((right - left) * (bottom - top) + area - common)


def _ground(sights: Sequence[Sight]) -> np.ndarray:
    """Lateral offset, distance and its standard deviation, float64 [3, N]; NaN where unknown."""
    locations = [sight.location for sight in sights]
    rows = [(location.lateral, location.distance, location.distance_std) for location in locations]
    return np.array(rows, dtype=np.float64).T  # None becomes NaN
