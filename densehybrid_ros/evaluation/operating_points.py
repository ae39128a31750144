"""What a threshold is worth: pixels, components, obstacles found and false regions, at that threshold alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from densehybrid_ros.evaluation.components import ComponentAccumulator, ComponentMetrics
from densehybrid_ros.evaluation.distances import obstacle_ids, obstacle_pixels
from densehybrid_ros.evaluation.obstacles import false_region_areas
from densehybrid_ros.evaluation.protocols import ComponentSizes

FOUND_SHARE = 0.1
"""Share of an obstacle's pixels that must exceed the threshold for it to count as found."""
AREAS = (0, 100, 1000, 10000)
"""Lower edges of the classes of area, in pixels."""
USUAL_SIZES = ComponentSizes(predicted=50, truth=10)
"""Smallest components where a data set's protocol names none: those of SegmentMeIfYouCan's obstacle track."""


@dataclass(frozen=True)
class AreaFigures:
    """Obstacles and false regions of ``low`` pixels and more, up to the next class of area."""

    low: int
    obstacles: int
    found: int
    false_regions: int


@dataclass(frozen=True)
class OperatingPoint:
    """Figures at one threshold; rates are 0..1, nan where nothing defines them.

    Attributes:
        threshold: Pixels whose score exceeds it are marked.
        frames: Frames measured.
        precision: Share of the marked pixels that are anomalous.
        recall: Share of the anomalous pixels that are marked.
        f1: Their harmonic mean.
        fpr: Share of the inlier pixels that are marked.
        components: Component figures.
        areas: Obstacles and false regions by area.
    """

    threshold: float
    frames: int
    precision: float
    recall: float
    f1: float
    fpr: float
    components: ComponentMetrics
    areas: tuple[AreaFigures, ...]

    @property
    def obstacles(self) -> int:
        """Obstacles in all frames."""
        return sum(item.obstacles for item in self.areas)

    @property
    def found(self) -> float:
        """Share of the obstacles that are found."""
        return _share(sum(item.found for item in self.areas), self.obstacles)

    @property
    def false_regions_per_frame(self) -> float:
        """Mean number of false regions."""
        return _share(sum(item.false_regions for item in self.areas), self.frames)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types."""
        more = {name: getattr(self, name) for name in ("obstacles", "found", "false_regions_per_frame")}
        return asdict(self) | more


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


class OperatingPointAccumulator:
    """Judges the frames of a data set at one threshold.

    Args:
        threshold: Pixels whose score exceeds it are marked.
        sizes: Pixels that an obstacle and a false region need to count.
    """

    def __init__(self, threshold: float, sizes: ComponentSizes) -> None:
        self.threshold = threshold
        self._sizes = sizes
        self._components = ComponentAccumulator(sizes.predicted, sizes.truth)
        self._pixels = np.zeros((2, 2), dtype=np.int64)  # [anomalous, marked]
        self._areas = np.zeros((3, len(AREAS)), dtype=np.int64)  # obstacles, found ones, false regions
        self._frames = 0

    def update(self, score: np.ndarray, labels: np.ndarray, instances: np.ndarray | None = None) -> None:
        """Takes in a frame.

        Args:
            score: float32 [H, W], higher = more anomalous.
            labels: uint8 [H, W], 0 inlier, 1 anomaly, else not judged.
            instances: uint16 [H, W], ids of the obstacles; None takes connected components.
        """
        marked = score > self.threshold
        self._frames += 1
        for kind in (0, 1):
            of_kind = labels == kind
            hits = int(np.count_nonzero(marked & of_kind))
            self._pixels[kind] += (np.count_nonzero(of_kind) - hits, hits)
        self._components.update(marked, labels)
        sizes, shares = [], []
        for pixels in obstacle_pixels(obstacle_ids(labels, instances)):
            if len(pixels[0]) >= self._sizes.truth:
                sizes.append(len(pixels[0]))
                shares.append(float(marked[pixels].mean()))
        obstacles = np.array(sizes, dtype=np.int64)
        false = false_region_areas(marked, labels)
        self._areas[0] += _by_area(obstacles)
        self._areas[1] += _by_area(obstacles[np.array(shares) >= FOUND_SHARE])
        self._areas[2] += _by_area(false[false >= self._sizes.predicted])

    def merge(self, other: OperatingPointAccumulator) -> None:
        """Adds another shard's frames."""
        self._components.merge(other._components)
        self._pixels += other._pixels
        self._areas += other._areas
        self._frames += other._frames

    def compute(self) -> OperatingPoint:
        """Returns the figures."""
        (quiet, false), (missed, true) = self._pixels.tolist()
        return OperatingPoint(
            threshold=self.threshold,
            frames=self._frames,
            precision=_share(true, true + false),
            recall=_share(true, true + missed),
            f1=_share(2 * true, 2 * true + false + missed),
            fpr=_share(false, false + quiet),
            components=self._components.compute(),
            areas=tuple(AreaFigures(low, *row) for low, row in zip(AREAS, self._areas.T.tolist(), strict=True)),
        )


def _by_area(areas: np.ndarray) -> np.ndarray:
    return np.bincount(np.searchsorted(AREAS, areas, side="right") - 1, minlength=len(AREAS))


def point_rows(points: Sequence[OperatingPoint]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table by threshold, rates in percent."""
    header = ["threshold", "precision", "recall", "F1", "FPR", "sIoU", "PPV", "F1*"]
    header += ["obstacles", "found", "false regions/frame"]
    rows = []
    for point in points:
        parts = point.components
        rates = (point.precision, point.recall, point.f1, point.fpr, parts.mean_siou, parts.mean_ppv, parts.mean_f1)
        cells = [f"{point.threshold:.3f}", *map(_percent, rates), str(point.obstacles), _percent(point.found)]
        rows.append([*cells, f"{point.false_regions_per_frame:.2f}"])
    return header, rows


def area_rows(points: Sequence[OperatingPoint]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of obstacles and false regions by area, threshold after threshold."""
    rows = []
    for point in points:
        for item, next_low in zip(point.areas, (*AREAS[1:], None), strict=True):
            area = f"{item.low} and more" if next_low is None else f"{item.low} to {next_low - 1}"
            found = _percent(_share(item.found, item.obstacles))
            rate = f"{_share(item.false_regions, point.frames):.2f}"
            rows.append([f"{point.threshold:.3f}", area, str(item.obstacles), found, rate])
    return ["threshold", "area [pixels]", "obstacles", "found", "false regions/frame"], rows


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"
