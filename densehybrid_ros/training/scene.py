"""What a crop shows, known on the CPU before its pixels are computed: where negatives can stand, and in what size.

Frames of a car's camera share one geometry: the ground is a plane, and its horizon lies in one row. A pixel of the
ground ``r`` rows below the horizon sees ``camera height / r`` metres a pixel, whatever the focal length.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from densehybrid_ros.datasets.training_frames import OVERVIEW_STEP, Overview
from densehybrid_ros.training.crops import Crop

HORIZON, CAMERA_HEIGHT = 0.42, 1.22
"""Row of the horizon as a share of the frame's height, and metres of the camera above the road, in Cityscapes."""

_NEAREST_ROWS = 6  # below the horizon; what is nearer to it is beyond a hundred metres


class Ground(NamedTuple):
    """A point on the ground, in a crop.

    Attributes:
        row: Its row.
        column: Its column.
        pixels_per_metre: How large a metre is there.
    """

    row: float
    column: float
    pixels_per_metre: float


class Scene(NamedTuple):
    """The crop that negatives are drawn for.

    Attributes:
        size: (height, width) of the crop in pixels.
        crop: Where it lies in its frame; None where nothing is known about it.
        frame: (height, width) of the frame.
        overview: The frame in a fourth of its size.
        stretch: See ``FrameStore``.
    """

    size: tuple[int, int]
    crop: Crop | None = None
    frame: tuple[int, int] = (0, 0)
    overview: Overview | None = None
    stretch: float = 1.0

    @property
    def detail(self) -> tuple[float, float]:
        """Pixels of the crop for a true detail of the frame, down and across; below 1 where the frame was shrunk."""
        if self.crop is None:
            return 1.0, 1.0
        down, across = self.crop.scale
        return down, across * self.stretch

    def draw_ground(self, classes: tuple[int, ...], rng: np.random.Generator) -> Ground | None:
        """Draws a point of the given classes below the horizon, all distances alike; None where the crop has none."""
        if self.crop is None or self.overview is None:
            return None
        part = self._part()
        rows, columns = np.nonzero(np.isin(self.overview.labels[part], classes))
        rows = (rows + part[0].start) * OVERVIEW_STEP
        below = rows - HORIZON * self.frame[0]
        seen = below >= _NEAREST_ROWS
        if not seen.any():
            return None
        rows, columns, below = rows[seen], columns[seen], below[seen]
        # The image has ever fewer pixels of what is far: each row of a road weighs what its distance spans.
        weights = np.cumsum(1 / below)
        chosen = int(np.searchsorted(weights, rng.random() * weights[-1]))
        chosen = min(chosen, len(rows) - 1)
        column = (int(columns[chosen]) + part[1].start) * OVERVIEW_STEP
        row, column = self.to_crop(float(rows[chosen]), float(column))
        return Ground(row, column, float(below[chosen]) / CAMERA_HEIGHT * self.crop.scale[0])

    def to_crop(self, row: float, column: float) -> tuple[float, float]:
        """Turns row and column of the frame into those of the crop."""
        assert self.crop is not None
        down, across = self.crop.scale
        along = (column - self.crop.columns.start) * across
        if self.crop.flip:
            along = self.crop.size[1] - 1 - along
        return (row - self.crop.rows.start) * down + self.crop.corner[0], along + self.crop.corner[1]

    def colors(self, row: float, column: float, reach: float) -> np.ndarray | None:
        """Returns the colours of the frame around a point of the crop, float32 [n, 3] in 0..1; None where unknown."""
        if self.crop is None or self.overview is None:
            return None
        down, across = self.crop.scale
        along = column - self.crop.corner[1]
        if self.crop.flip:
            along = self.crop.size[1] - 1 - along
        at = ((row - self.crop.corner[0]) / down + self.crop.rows.start, along / across + self.crop.columns.start)
        parts = []
        for place, scale, length in zip(at, (down, across), self.overview.labels.shape, strict=True):
            around = max(1.0, reach / scale / OVERVIEW_STEP)
            centre = place / OVERVIEW_STEP
            parts.append(slice(max(0, int(centre - around)), min(length, int(centre + around) + 1)))
        found = self.overview.colors[tuple(parts)].reshape(-1, 3)
        return found.astype(np.float32) / 255 if len(found) else None

    def _part(self) -> tuple[slice, slice]:
        assert self.crop is not None
        rows, columns = self.crop.rows, self.crop.columns
        return (
            slice(rows.start // OVERVIEW_STEP, max(rows.start // OVERVIEW_STEP + 1, rows.stop // OVERVIEW_STEP)),
            slice(
                columns.start // OVERVIEW_STEP, max(columns.start // OVERVIEW_STEP + 1, columns.stop // OVERVIEW_STEP)
            ),
        )
