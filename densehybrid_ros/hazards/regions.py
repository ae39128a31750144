# SPDX-License-Identifier: Apache-2.0
"""Regions of anomalous pixels.

Anomalous pixels are counted in blocks, and only clusters of blocks that touch are looked into. Labelling every pixel of
a frame costs several milliseconds however few are anomalous; counting them in blocks costs a tenth of it. No region
leaves its cluster of blocks. Speckle fills no block and costs nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np

from densehybrid_ros.hazards.hazard import Region

_BLOCKS = ((1536, 8), (768, 4), (0, 2))  # least width of a frame, and pixels of a block's side there
_SPECKLE_SHARE = 0.19  # of a block's pixels that must be anomalous; a tenth of them at random seldom is
_FINEST_PIXELS = 1 << 13  # of a cluster's box; larger ones are looked at in steps of 2, 4, ... pixels
_SPECKLED, _FINEST_SPECKLED = 0.005, 1 << 11  # share of pixels outside clusters; and the same in such a frame
_CENTROID_SAMPLES = 100
_FEWEST_SAMPLES = 8  # of a region that is looked at in steps; fewer are speckle

NEIGHBOURS = np.ones((3, 3), np.uint8)
"""A block and those that touch it."""
Box: TypeAlias = tuple[int, int, int, int]
"""Left, top, width and height."""


@dataclass(frozen=True)
class Clusters:
    """Blocks with anomalous pixels, grouped where they touch."""

    shape: tuple[int, int]  # (height, width) of the frame in pixels
    block: int  # pixels along a block's side
    counts: np.ndarray  # uint8 [h, w], anomalous pixels of each block
    labels: np.ndarray  # int32 [h, w], number of each block's cluster from 1, 0 where none is
    boxes: np.ndarray  # int32 [N + 1, 4]: left, top, width, height in blocks; row 0 is the background
    pixels: np.ndarray  # int64 [N + 1], anomalous pixels of each cluster


@dataclass(slots=True)
class MaskedRegion:
    """A connected region with its mask."""

    area: int  # number of pixels
    left: int  # first column of the bounding box
    top: int  # first row of the bounding box
    width: int  # columns of the bounding box
    height: int  # rows of the bounding box
    mask: np.ndarray  # uint8 [h, w], 1 where the region is
    step: int  # the mask holds the middle one of every step rows and columns of the box; 1 but for large regions

    def crop(self, image: np.ndarray) -> np.ndarray:
        """Returns the pixels of an image [H, W] that ``mask`` speaks of, as a view of the mask's shape."""
        middle = self.step // 2
        rows = slice(self.top + middle, self.top + self.height, self.step)
        return image[rows, self.left + middle : self.left + self.width : self.step]

    def unfolded(self) -> tuple[tuple[slice, slice], np.ndarray]:
        """Returns the bounding box as slices of the image, and bool [height, width], True where the region is."""
        mask = self.mask.view(bool).repeat(self.step, axis=0).repeat(self.step, axis=1)
        box = slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)
        return box, mask[: self.height, : self.width]

    def describe(self, score: np.ndarray) -> Region:
        """Returns the region with its peak and mean of ``score``, float32 [H, W] in nats."""
        values, mask = self.crop(score), self.mask
        peak, mean = cv2.minMaxLoc(values, mask)[1], cv2.mean(values, mask)[0]
        # The centroid of every n-th pixel if the mask is large.
        sparse = max(1, math.isqrt(mask.size // _CENTROID_SAMPLES))
        row, column = ((length - 1) % sparse // 2 for length in mask.shape)
        places = cv2.findNonZero(mask[row::sparse, column::sparse])
        if places is None:
            x, y = 0.5 * (mask.shape[1] - 1), 0.5 * (mask.shape[0] - 1)
        else:
            across, down, *_ = cv2.mean(places.reshape(-1, 1, 2))
            x, y = column + sparse * across, row + sparse * down
        middle = 0.5 * (self.step - 1)
        centroid = (self.left + self.step * x + middle, self.top + self.step * y + middle)
        return Region(self.area, self.left, self.top, self.width, self.height, centroid, peak, mean)


def find_clusters(unknown: np.ndarray, min_area: int) -> Clusters:
    """Groups anomalous pixels into clusters of blocks.

    A block founds a cluster if a fifth of its pixels is anomalous (fewer where ``min_area`` is so small that a compact
    region might fill none), and those about it that have anomalous pixels belong to it. What nowhere fills a fifth of a
    block is speckle.

    Args:
        unknown: bool [H, W], C-contiguous.
        min_area: Pixels that a region must have.
    """
    height, width = unknown.shape
    block = block_side(width)
    counts = _block_counts(unknown, block)
    # A compact region lies in at most four blocks that it doesn't fill, so a quarter of it lies in one of them.
    needed = max(1, min(min_area // 4, int(_SPECKLE_SHARE * block * block)))
    founding = (counts >= needed).view(np.uint8)
    belonging = cv2.bitwise_and(cv2.dilate(founding, NEIGHBOURS), (counts > 0).view(np.uint8))
    # OpenCV's statistics take several times as long as its labelling, also where nothing is.
    _, first, _, rows = cv2.boundingRect(belonging)
    top = first - first % 2  # OpenCV labels rows in pairs: so clusters have the numbers that they have in all of it
    labels, band = np.zeros(belonging.shape, np.int32), slice(top, max(first + rows, 1))
    _, labels[band], statistics, _ = cv2.connectedComponentsWithStats(belonging[band])
    inside = np.flatnonzero(belonging.view(bool))
    pixels = np.bincount(labels.ravel()[inside], counts.ravel()[inside], len(statistics)).astype(np.int64)
    pixels[0] = cv2.sumElems(counts)[0] - pixels.sum()
    boxes = statistics[:, :4] + np.array([0, top, 0, 0], np.int32)
    return Clusters((height, width), block, counts, labels, boxes, pixels)


def block_side(width: int) -> int:
    """Returns the pixels along a block's side in frames of this width."""
    return next(side for least, side in _BLOCKS if width >= least)


def whole_blocks(pixels: np.ndarray, block: int, padding: Literal["constant", "edge"] = "constant") -> np.ndarray:
    """Returns an image [H, W], C-contiguous, padded up to whole blocks of this side; itself where it is that."""
    height, width = pixels.shape
    if height % block or width % block:
        return np.pad(pixels, ((0, -height % block), (0, -width % block)), padding)
    return np.ascontiguousarray(pixels)


def _block_counts(unknown: np.ndarray, block: int) -> np.ndarray:
    """Counts the anomalous pixels of each block, uint8 [h, w]."""
    pixels, word = whole_blocks(unknown, block), np.dtype(f"u{block}").type
    rows, columns = pixels.shape[0] // block, pixels.shape[1] // block
    # Bytes are added as lanes of one word, which hold at most the side of a block; the product sums the lanes.
    lanes = np.add.reduce(pixels.view(word).reshape(rows, block, columns), axis=1, dtype=word)
    every_byte = word(int.from_bytes(b"\x01" * block, "big"))
    return ((lanes * every_byte) >> word(8 * (block - 1))).astype(np.uint8)


def largest_regions(
    clusters: Clusters, numbers: np.ndarray, unknown: np.ndarray, min_area: int, most: int
) -> tuple[list[MaskedRegion], int]:
    """Finds the 8-connected regions of some clusters.

    A large cluster is looked at in steps of 2, 4, ... pixels, so a region of more than about 90 x 90 pixels is exact to
    2 % of its size; in a frame full of speckle, one of more than 45 x 45 to 4 %.

    Args:
        clusters: What ``find_clusters`` returned.
        numbers: Numbers of the clusters that count.
        unknown: bool [H, W] that the clusters were found in.
        min_area: Regions of fewer pixels are left out.
        most: Clusters that are looked into, those with the most pixels first, and regions that are returned at most.

    Returns:
        The regions, the largest first, and how many more there are; a cluster that was not looked into counts as one.
    """
    height, width = clusters.shape
    numbers = numbers[clusters.pixels[numbers] >= min_area]
    numbers = numbers[np.argsort(-clusters.pixels[numbers], kind="stable")]
    left_out = max(0, len(numbers) - most)
    numbers = numbers[:most]
    boxes = clusters.boxes[numbers]
    shared = numbers * (box_sums(clusters.counts, *boxes.T) > clusters.pixels[numbers])  # 0: its box is its own
    finest = _FINEST_SPECKLED if clusters.pixels[0] > _SPECKLED * height * width else _FINEST_PIXELS
    regions: list[MaskedRegion] = []
    for number, (left, top, columns, rows) in zip(shared.tolist(), (clusters.block * boxes).tolist(), strict=True):
        step = 1
        while rows * columns > finest * step * step:
            step *= 2
        crop = _crop(clusters, (left, top, columns, rows), number, unknown, step)
        needed = min_area if step == 1 else max(_FEWEST_SAMPLES, min_area // (step * step))
        parts, more = _parts(crop, needed, most)
        left_out += more
        for (x, y, wide, high), mask in parts:
            x, y = left + step * x, top + step * y
            wide, high = min(step * wide, width - x), min(step * high, height - y)
            regions.append(MaskedRegion(cv2.countNonZero(mask) * step * step, x, y, wide, high, mask, step))
    regions.sort(key=lambda region: -region.area)
    return regions[:most], left_out + max(0, len(regions) - most)


def _crop(clusters: Clusters, box: Box, number: int, unknown: np.ndarray, step: int) -> np.ndarray:
    """Cuts a cluster out in steps, uint8 [h, w]; unless ``number`` is 0, without the pixels of others in its box."""
    left, top, columns, rows = box
    middle = step // 2
    crop = unknown[top + middle : top + rows : step, left + middle : left + columns : step].view(np.uint8)
    if not number:
        return np.ascontiguousarray(crop)
    down = (np.arange(len(crop)) * step + top + middle) // clusters.block
    across = (np.arange(crop.shape[1]) * step + left + middle) // clusters.block
    return crop * (clusters.labels[down[:, None], across] == number)


def _parts(crop: np.ndarray, needed: int, most: int) -> tuple[list[tuple[Box, np.ndarray]], int]:
    """Boxes (left, top, width, height) and masks, uint8, of the connected parts of a picture; how many are left out."""
    # The statistics take most of the time, and most clusters hold one region only, whose box is had for less.
    count, shape, grown = cv2.connectedComponents(crop)[0], crop, 0
    if count > 2:
        # Perhaps all but one are single pixels or threads: squares of 2 x 2 pixels (1 at the upper left one) tell.
        pairs = crop[1:] & crop[:-1]
        shape, grown = pairs[:, 1:] & pairs[:, :-1], 1
        count = cv2.connectedComponents(shape)[0] if shape.size else 1
    if count == 2:
        left, top, width, height = cv2.boundingRect(shape)
        width, height = width + grown, height + grown
        return [((left, top, width, height), crop[top : top + height, left : left + width])], 0
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(crop)
    areas = statistics[1:, cv2.CC_STAT_AREA]
    large = np.flatnonzero(areas >= needed)
    left_out = max(0, len(large) - most)
    large = large[np.argsort(-areas[large], kind="stable")[:most]]
    parts: list[tuple[Box, np.ndarray]] = []
    for label in (large + 1).tolist():
        left, top, width, height, _ = statistics[label].tolist()
        own = labels[top : top + height, left : left + width] == label
        parts.append(((left, top, width, height), own.view(np.uint8)))
    return parts, left_out


def box_sums(
    picture: np.ndarray, left: np.ndarray, top: np.ndarray, width: np.ndarray, height: np.ndarray
) -> np.ndarray:
    """Sums a picture, uint8 [h, w], over boxes, all int [N]; int32 [N]."""
    sums, right, bottom = cv2.integral(picture), left + width, top + height
    return sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
