# SPDX-License-Identifier: Apache-2.0
"""What disparity shows to lie flat in the road: manhole covers, chalk, shadows and patches are no obstacles."""

from __future__ import annotations

import math

import numpy as np

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.hazards.region_points import SIDE, RegionPoints

_SIGMAS = 3.0
_PARTS = 3  # of a region along each side; what stands up in one of them stands up
_FEWEST = 5  # points of a part, and of the road about the region, that must have a disparity
_VALID_SHARE = 0.5  # of a region's points that must lie in such parts


def flat_regions(
    points: RegionPoints, disparity: np.ndarray, ground: np.ndarray, camera: Camera, noise: float, height: float
) -> np.ndarray:
    """Whether regions are, by three standard deviations, nowhere higher or deeper than ``height``; bool [N].

    The road about a region is what it is compared with, so that the nodding of the vehicle does not count. A region
    with few valid disparities, or none about it, is not called flat.

    Args:
        points: Of the regions.
        disparity: float32 [H, W] in pixels, NaN or not above zero where invalid.
        ground: bool [N, P, P], True where a point is ground by semantics.
        camera: With baseline, mounting height and pitch.
        noise: Standard deviation of an object's disparity in pixels.
        height: Metres.
    """
    values = points.of(disparity)
    valid = values > 0  # nor NaN
    own, road = points.own & valid, ~points.own & ground & valid
    descent = (points.rows - camera.cy) / camera.fy * math.cos(camera.pitch) + math.sin(camera.pitch)
    per_metre = camera.fx * camera.baseline / camera.mount_height
    rise = values - per_metre * descent  # pixels above what the road has in this row
    level = _medians(np.where(road, rise, np.inf).reshape(len(rise), -1))
    counts = np.count_nonzero(_by_part(own), axis=-1)
    enough = counts >= _FEWEST
    known = enough.any(axis=1) & (np.count_nonzero(road, axis=(1, 2)) >= _FEWEST)
    known &= np.sum(counts, axis=1, where=enough) >= _VALID_SHARE * np.count_nonzero(points.own, axis=(1, 2))
    above = np.abs(_medians(_by_part(np.where(own, rise, np.inf))) - np.where(known, level, 0.0)[:, None])
    of_depth = _medians(_by_part(np.where(own, values, np.inf)))
    low = camera.mount_height * (above + _SIGMAS * noise) < height * of_depth
    return known & (low | ~enough).all(axis=1)


def _by_part(values: np.ndarray) -> np.ndarray:
    """Reorders [N, P, P] as [N, parts, points of a part]."""
    side = SIDE // _PARTS
    parts = values.reshape(len(values), _PARTS, side, _PARTS, side).swapaxes(2, 3)
    return parts.reshape(len(values), _PARTS * _PARTS, side * side)


def _medians(values: np.ndarray) -> np.ndarray:
    """Medians along the last axis, infinite values left out; infinite where all are."""
    values = np.sort(values, axis=-1)
    middle = np.count_nonzero(values < np.inf, axis=-1, keepdims=True) // 2
    return np.take_along_axis(values, middle, axis=-1)[..., 0]
