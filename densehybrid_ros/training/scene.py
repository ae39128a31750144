"""What a crop shows, known on the CPU before its pixels are computed: what is pasted may be made to fit it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from densehybrid_ros.datasets.training_frames import OVERVIEW_STEP, Overview
from densehybrid_ros.training.crops import Crop


class Scene(NamedTuple):
    """The crop that negatives are drawn for.

    Attributes:
        size: (height, width) of the crop in pixels.
        crop: Where it lies in its frame.
        overview: The frame in a fourth of its size.
    """

    size: tuple[int, int]
    crop: Crop
    overview: Overview

    def row(self, row: float) -> float:
        """Turns a row of the frame into one of the crop."""
        return (row - self.crop.rows.start) * self.crop.scale[0] + self.crop.corner[0]

    def column(self, column: float) -> float:
        """Turns a column of the frame into one of the crop."""
        along = (column - self.crop.columns.start) * self.crop.scale[1]
        return self.crop.corner[1] + (self.crop.size[1] - 1 - along if self.crop.flip else along)

    def overview_index(self, row: int, column: int) -> tuple[int, int]:
        """Turns row and column of the frame into those of the overview."""
        height, width = self.overview.labels.shape
        return min(row // OVERVIEW_STEP, height - 1), min(column // OVERVIEW_STEP, width - 1)

    def colors(self, row: float, column: float, reach: float) -> np.ndarray:
        """Returns the colours of the frame around a point of the crop, float32 [n, 3] in 0..1; [0, 3] beside it."""
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
        return self.overview.colors[tuple(parts)].reshape(-1, 3).astype(np.float32) / 255
