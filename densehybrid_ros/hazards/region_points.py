# SPDX-License-Identifier: Apache-2.0
"""What a grid of points in and about every region tells: what lies flat in the road, and what tells obstacles apart.

Regions of all sizes are looked at in one step, at one cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.datasets.taxonomy import SemanticClass
from densehybrid_ros.hazards.regions import MaskedRegion

WIDEST_MARGIN = 1 / 64
"""Of the image's width: no point lies farther from its region's box."""
_SIDE = 12  # points along each side of a grid
_MARGIN, _MARGIN_SHARE = 0.004, 0.2  # about the box: of the image's width, and of the box's own size

_SIGMAS = 3.0
_PARTS = 3  # of a region along each side; what stands up in one of them stands up
_FEWEST = 5  # points of a part, and of the road about the region, that must have a disparity
_VALID_SHARE = 0.5  # of a region's points that must lie in such parts

_HORIZON = 0.42  # of the height, where the camera is unknown
_NEAREST_TO_HORIZON = 0.02  # of the height: the least that a foot counts as below it
_RIM_SHARE = 0.1  # of the points about a region that exceed ``rim_score``


class RegionPoints(NamedTuple):
    """Points of N regions, P x P for each."""

    rows: np.ndarray  # int [N, P, 1]
    columns: np.ndarray  # int [N, 1, P]
    own: np.ndarray  # bool [N, P, P], True where the point lies on the region

    def of(self, image: np.ndarray) -> np.ndarray:
        """Returns the values of an image [H, W] at the points, [N, P, P]."""
        values: np.ndarray = image[self.rows, self.columns]
        return values


def region_points(regions: Sequence[MaskedRegion], marked: np.ndarray) -> RegionPoints:
    """Lays a grid over the box of every region, at least one, and a margin about it.

    ``marked``, bool [H, W], are the pixels that the regions were found in.
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
    share = (np.arange(_SIDE) + 0.5) / _SIDE
    places = (first - margin)[:, None] + (size + 2 * margin)[:, None] * share
    inside = (places >= first[:, None]) & (places < (first + size)[:, None])
    return np.clip(places, 0, length - 1).astype(np.intp), inside


def flat_regions(
    points: RegionPoints, disparity: np.ndarray, ground: np.ndarray, camera: Camera, noise: float, height: float
) -> np.ndarray:
    """Whether regions are, by three standard deviations, nowhere higher or deeper than ``height``; bool [N].

    The road about a region is what it is compared with, so that the nodding of the vehicle does not count. A region
    with few valid disparities, or none about it, is not called flat: manhole covers, chalk, shadows and patches are.

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
    of_road = (camera.fx * camera.baseline / camera.mount_height * descent).astype(np.float32)
    rise = values - of_road  # pixels above what the road has in this row
    level = medians(np.where(road, rise, np.inf).reshape(len(rise), -1))
    counts = np.count_nonzero(_by_part(own), axis=-1)
    enough = counts >= _FEWEST
    known = enough.any(axis=1) & (np.count_nonzero(road, axis=(1, 2)) >= _FEWEST)
    known &= np.sum(counts, axis=1, where=enough) >= _VALID_SHARE * np.count_nonzero(points.own, axis=(1, 2))
    of_part = medians(_by_part(np.where(own, rise, np.inf)))
    above = np.abs(of_part - np.where(known, level, 0.0)[:, None])
    measured = medians(_by_part(np.where(own, values, np.inf)))
    low = camera.mount_height * (above + _SIGMAS * noise) < height * measured
    return known & (low | ~enough).all(axis=1)


def _by_part(values: np.ndarray) -> np.ndarray:
    """Reorders [N, P, P] as [N, parts, points of a part]."""
    side = _SIDE // _PARTS
    parts = values.reshape(len(values), _PARTS, side, _PARTS, side).swapaxes(2, 3)
    return parts.reshape(len(values), _PARTS * _PARTS, side * side)


def medians(values: np.ndarray) -> np.ndarray:
    """Medians along the last axis, infinite values left out; infinite where all are."""
    values = np.sort(values, axis=-1)
    middle = np.count_nonzero(values < np.inf, axis=-1, keepdims=True) // 2
    return np.take_along_axis(values, middle, axis=-1)[..., 0]


def region_features(
    regions: Sequence[MaskedRegion],
    points: RegionPoints,
    score: np.ndarray,
    semantic: np.ndarray,
    classes: Sequence[SemanticClass],
    floor: float,
    horizon: float | None = None,
) -> np.ndarray:
    """Describes regions by numbers, float64 [N, F] in the order of ``confidence.REGION_FEATURES``.

    Args:
        regions: N of them, at least one.
        points: Theirs.
        score: float32 [H, W] in nats.
        semantic: uint8 [H, W] train ids.
        classes: Class table of the model.
        floor: Lower scores count as this many nats.
        horizon: Row at which the road vanishes; None: unknown.
    """
    height, width = score.shape
    top, rows, area = np.array([(item.top, item.height, item.area) for item in regions], np.float64).T
    foot = (top + rows) / height
    below = np.maximum(foot - (_HORIZON if horizon is None else horizon / height), _NEAREST_TO_HORIZON)
    size = np.log(area / (height * width))
    own, count = points.own.reshape(len(regions), -1), points.own[0].size
    values = np.maximum(points.of(score).reshape(own.shape), np.float32(floor))
    inside = np.maximum(np.count_nonzero(own, axis=1), 1)
    about = np.maximum(count - np.count_nonzero(own, axis=1), 1)
    mean = np.sum(values, axis=1, where=own) / inside
    contrast = mean - np.sum(values, axis=1, where=~own) / about
    rim = np.where(own, np.float32(floor), values)
    highest = -(1 + (_RIM_SHARE * about).astype(np.intp))
    rim_score = np.take_along_axis(np.sort(rim, axis=1), highest[:, None], axis=1)[:, 0]
    peak = np.max(values, axis=1, where=own, initial=np.float32(floor))
    kinds = points.of(semantic).reshape(own.shape)

    def share(where: np.ndarray, of: np.ndarray, counts: Sequence[bool]) -> np.ndarray:
        """Share of the points there whose class counts."""
        table = np.zeros(256, bool)
        table[: len(counts)] = counts
        found: np.ndarray = np.count_nonzero(table[kinds] & where, axis=1) / of
        return found

    road = share(~own, about, [item.drivable for item in classes])
    car = share(own, inside, [item.name == "car" for item in classes])
    lorry = share(own, inside, [item.name in ("truck", "bus", "train") for item in classes])
    found = (foot, size, size - 2 * np.log(below), contrast, rim_score, peak, mean, road, car, lorry)
    return np.stack(found, axis=1).astype(np.float64)
