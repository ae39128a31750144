"""Fast regions: anomalous pixels are counted in blocks, and only clusters of blocks that touch are looked into.

Labelling every pixel of a frame costs several milliseconds however few are anomalous. A region can't leave its cluster
of blocks, so labelling the clusters alone finds the same regions. Speckle fills no block and costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from densehybrid_ros.hazards.regions import Region

_BLOCKS = (
    (1024, 8, np.uint64),
    (512, 4, np.uint32),
    (0, 2, np.uint16),
)  # least width, pixels of a block's side, as one
_SPECKLE_SHARE = (
    0.19  # of a block's pixels that must be anomalous; speckle of up to a tenth of the pixels seldom reaches it
)
_NEIGHBOURS = np.ones((3, 3), np.uint8)
_FINEST_PIXELS = 1 << 13  # of a cluster's box; larger ones are looked into in steps of 2, 4, ... pixels
_FEWEST_SAMPLES = 8  # of a region that is looked at in steps; fewer are speckle
_BYTE = 8


@dataclass(frozen=True)
class Clusters:
    """Blocks with anomalous pixels, and those next to them, grouped where they touch.

    Attributes:
        shape: (height, width) of the frame in pixels.
        block: Pixels along a block's side.
        counts: uint8 [h, w], anomalous pixels of each block.
        labels: int32 [h, w], number of each block's cluster from 1, 0 where none is.
        boxes: int32 [N + 1, 4]: left, top, width, height in blocks; row 0 is the background.
        pixels: int64 [N + 1], anomalous pixels of each cluster.
    """

    shape: tuple[int, int]
    block: int
    counts: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    pixels: np.ndarray

    @property
    def feet(self) -> np.ndarray:
        """int64 [N + 1], the row of the frame just below each cluster."""
        return self.block * (self.boxes[:, 1].astype(np.int64) + self.boxes[:, 3])


@dataclass(frozen=True)
class MaskedRegion:
    """A connected region with its mask.

    Attributes:
        area: Number of pixels.
        left: First column of the bounding box.
        top: First row of the bounding box.
        width: Columns of the bounding box.
        height: Rows of the bounding box.
        centroid: Mean (column, row) of its pixels.
        mask: uint8 [ceil(height / step), ceil(width / step)], 1 where the region is.
        step: The mask holds every ``step``-th row and column of the box; 1 for all but the largest regions.
    """

    area: int
    left: int
    top: int
    width: int
    height: int
    centroid: tuple[float, float]
    mask: np.ndarray
    step: int

    def crop(self, image: np.ndarray) -> np.ndarray:
        """Returns the pixels of an image [H, W] that ``mask`` speaks of, as a view of the mask's shape."""
        rows = slice(self.top, self.top + self.height, self.step)
        return image[rows, self.left : self.left + self.width : self.step]

    def describe(self, score: np.ndarray) -> Region:
        """Returns the region with its peak and mean of ``score``, float32 [H, W] in nats."""
        values = self.crop(score)
        peak, mean = cv2.minMaxLoc(values, self.mask)[1], cv2.mean(values, self.mask)[0]
        return Region(self.area, self.left, self.top, self.width, self.height, self.centroid, peak, mean)


def find_clusters(unknown: np.ndarray, min_area: int) -> Clusters:
    """Groups anomalous pixels into clusters of blocks.

    A block founds a cluster if a fifth of its pixels is anomalous (fewer where ``min_area`` is so small that a compact
    region might fill none), and the blocks about it belong to it. What nowhere fills a fifth of a block is speckle.

    Args:
        unknown: bool [H, W], C-contiguous.
        min_area: Pixels that a region must have.
    """
    height, width = unknown.shape
    block, counts = _block_counts(unknown)
    # A compact region lies in at most four blocks that it doesn't fill, so a quarter of it lies in one of them.
    needed = max(1, min(min_area // 4, int(_SPECKLE_SHARE * block * block)))
    founding = (counts >= needed).view(np.uint8)
    grown = cv2.dilate(founding, _NEIGHBOURS)
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(grown, connectivity=8, ltype=cv2.CV_32S)
    pixels = np.bincount(labels.ravel(), counts.ravel(), len(statistics)).astype(np.int64)
    return Clusters((height, width), block, counts, labels, statistics[:, :4], pixels)


def _block_counts(unknown: np.ndarray) -> tuple[int, np.ndarray]:
    """Returns the side of a block, and uint8 [h, w] with the number of anomalous pixels in each."""
    height, width = unknown.shape
    block, word = next((side, kind) for least, side, kind in _BLOCKS if width >= least)
    pixels = np.ascontiguousarray(unknown).view(np.uint8)
    if height % block or width % block:
        pixels = np.pad(pixels, ((0, -height % block), (0, -width % block)))
    rows, columns = pixels.shape[0] // block, pixels.shape[1] // block
    # Bytes are added as lanes of one word, which hold at most the side of a block; the product sums the lanes.
    lanes = np.add.reduce(pixels.view(word).reshape(rows, block, columns), axis=1, dtype=word)
    every_byte = word(int.from_bytes(b"\x01" * block, "big"))
    return block, ((lanes * every_byte) >> word(_BYTE * (block - 1))).astype(np.uint8)


def largest_regions(
    clusters: Clusters, numbers: np.ndarray, unknown: np.ndarray, min_area: int, most: int
) -> tuple[list[MaskedRegion], int]:
    """Finds the 8-connected regions of some clusters.

    A large cluster is looked into in steps of 2, 4, ... pixels, so the outline of a region of more than about 75 x 75
    pixels is exact to 2 or 3 % of its size.

    Args:
        clusters: What ``find_clusters`` returned.
        numbers: Numbers of the clusters that count.
        unknown: bool [H, W] that the clusters were found in.
        min_area: Regions of fewer pixels are left out.
        most: Clusters that are looked into, those with the most pixels first, and regions that are returned at most.

    Returns:
        The regions, the largest first, and how many more there are; a cluster that was not looked into counts as one.
    """
    numbers = numbers[clusters.pixels[numbers] >= min_area]
    numbers = numbers[np.argsort(-clusters.pixels[numbers], kind="stable")]
    left_out = max(0, len(numbers) - most)
    regions: list[MaskedRegion] = []
    for number in numbers[:most].tolist():
        found, more = _regions_of(clusters, number, unknown, min_area, most)
        regions += found
        left_out += more
    regions.sort(key=lambda region: -region.area)
    return regions[:most], left_out + max(0, len(regions) - most)


def _regions_of(
    clusters: Clusters, number: int, unknown: np.ndarray, min_area: int, most: int
) -> tuple[list[MaskedRegion], int]:
    block = clusters.block
    left, top, columns, rows = clusters.boxes[number].tolist()
    blocks = slice(top, top + rows), slice(left, left + columns)
    top, left = top * block, left * block
    step = _step(rows * block * columns * block)
    crop = unknown[top : top + rows * block : step, left : left + columns * block : step].view(np.uint8)
    own = clusters.labels[blocks] == number
    if clusters.counts[blocks][~own].any():
        side = max(1, block // step)
        own = own.repeat(side, axis=0).repeat(side, axis=1)
        if step > block:
            own = own[:: step // block, :: step // block]
        crop = crop * own[: crop.shape[0], : crop.shape[1]]
    return _regions_in(np.ascontiguousarray(crop), left, top, step, min_area, most, clusters.shape)


def _step(pixels: int) -> int:
    step = 1
    while pixels > _FINEST_PIXELS * step * step:
        step *= 2
    return step


def _regions_in(
    crop: np.ndarray, left: int, top: int, step: int, min_area: int, most: int, shape: tuple[int, int]
) -> tuple[list[MaskedRegion], int]:
    # Of OpenCV's algorithms this one is the fastest with statistics; the default takes three times as long on frames.
    _, labels, statistics, centroids = cv2.connectedComponentsWithStatsWithAlgorithm(
        crop, 8, cv2.CV_16U if crop.size < 1 << 16 else cv2.CV_32S, cv2.CCL_BOLELLI
    )
    areas = statistics[1:, cv2.CC_STAT_AREA]
    needed = min_area if step == 1 else max(_FEWEST_SAMPLES, min_area // (step * step))
    large = np.flatnonzero(areas >= needed)
    left_out = max(0, len(large) - most)
    if left_out:
        large = large[np.argsort(-areas[large], kind="stable")[:most]]
    large += 1
    regions = []
    for label, box, centre in zip(large.tolist(), statistics[large].tolist(), centroids[large].tolist(), strict=True):
        column, row, columns, rows, area = box
        mask = (labels[row : row + rows, column : column + columns] == label).view(np.uint8)
        x, y = left + column * step, top + row * step
        width, height = min(columns * step, shape[1] - x), min(rows * step, shape[0] - y)
        middle = 0.5 * (step - 1)
        centroid = (left + step * centre[0] + middle, top + step * centre[1] + middle)
        regions.append(MaskedRegion(area * step * step, x, y, width, height, centroid, mask, step))
    return regions, left_out
