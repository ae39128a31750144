# SPDX-License-Identifier: Apache-2.0
"""Where the classes of labelled frames are, so that crops can be laid around the rare ones more often."""

from __future__ import annotations

import numpy as np

from densehybrid_ros.datasets.taxonomy import VOID

_SMALLEST_AREA = 8  # pixels of the overview, below which a class is hardly in a frame
_FLATTENING = 0.5  # 0: all classes alike; 1: each by the inverse of its pixels


class RareClasses:
    """Frames and pixels by class.

    Attributes:
        labels: uint8 [N, h, w], train ids of the frames' overviews.
    """

    def __init__(self, labels: np.ndarray) -> None:
        """Counts the classes of all frames."""
        self.labels = labels
        counts = np.stack([np.bincount(frame.ravel(), minlength=256)[:VOID] for frame in labels])
        self._frames = {
            name: np.flatnonzero(counts[:, name] >= _SMALLEST_AREA) for name in np.flatnonzero(counts.sum(0)).tolist()
        }
        self._frames = {name: frames for name, frames in self._frames.items() if len(frames)}
        if self._frames:
            pixels = np.array([counts[:, name].sum() for name in self._frames], float)
            weights = (pixels / pixels.sum()) ** -_FLATTENING
            self._cumulative = np.cumsum(weights / weights.sum())

    def draw(self, rng: np.random.Generator) -> tuple[int, int, int]:
        """Draws a class, a frame that has it and a pixel of it: (frame, row, column) of the overview."""
        if not self._frames:
            return int(rng.integers(len(self.labels))), 0, 0
        names = list(self._frames)
        name = names[min(int(np.searchsorted(self._cumulative, rng.random(), side="right")), len(names) - 1)]
        frames = self._frames[name]
        index = int(frames[int(rng.integers(len(frames)))])
        rows, columns = np.nonzero(self.labels[index] == name)
        chosen = int(rng.integers(len(rows)))
        return index, int(rows[chosen]), int(columns[chosen])
