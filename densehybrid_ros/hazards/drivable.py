"""The drivable surface: road by semantics, closed over the holes that the objects on it make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from densehybrid_ros.datasets.taxonomy import SemanticClass
from densehybrid_ros.hazards.clusters import Clusters

_RIM = np.ones((5, 5), np.uint8)  # two blocks about a cluster: wider than the blurred seam of a mask
_RIM_SHARE = 0.1  # of the blocks about a cluster that must be drivable for it to reach onto the surface
_OWN_SHARE = 0.25  # of a cluster's own blocks that, classified as drivable, put it on the surface
_NO_ROAD = 0.005  # share of the picture below which there is no road to judge by


@dataclass(frozen=True)
class DrivableSurface:
    """The drivable surface of a frame, block by block.

    Attributes:
        surface: bool [h, w], drivable by semantics, and closed over the clusters that lie on it or reach onto it.
        reached: bool [N + 1], by number of a cluster, whether it does; False for the background.
        problem: What was missing, in one line; None if nothing was.
    """

    surface: np.ndarray
    reached: np.ndarray
    problem: str | None = None


def drivable_ids(classes: Sequence[SemanticClass], names: Sequence[str]) -> tuple[int, ...]:
    """Returns the ids of the classes of these names; () where the table has none of them."""
    return tuple(index for index, item in enumerate(classes) if item.name in names)


def unknown_classes(classes: Sequence[SemanticClass], names: Sequence[str]) -> list[str]:
    """Returns those of these names that the table of classes does not have: misspelt ones, or another model's."""
    known = {item.name for item in classes}
    return [name for name in names if name not in known]


def drivable_surface(
    semantic: np.ndarray, ids: Sequence[int], clusters: Clusters, horizon: float | None = None
) -> DrivableSurface:
    """Finds the drivable surface and the clusters of anomalous pixels that lie on it or reach onto it.

    A cluster does so where at least a tenth of the blocks about it is drivable by semantics, or a quarter of its own
    blocks is. One that has no blocks about it, because it fills the picture, does as well. Where the classes have no
    drivable one, every cluster counts; where hardly any pixel is drivable (there is no road, or an object hides it),
    every cluster that reaches below the horizon. Both are named as a problem: a hazard too many is better than one that
    is kept quiet.

    Args:
        semantic: uint8 [H, W] train ids.
        ids: Train ids of drivable classes.
        clusters: The anomalous pixels of the frame.
        horizon: Row of the horizon; None takes the middle of the picture.
    """
    middles = _middles(semantic, clusters)
    road = np.zeros(middles.shape, dtype=bool)
    for index in ids:
        road |= middles == index
    problem = None
    reached = np.ones(len(clusters.pixels), dtype=bool)
    if not ids:
        problem = "the model has no drivable class: every region counts"
    elif np.count_nonzero(road) < _NO_ROAD * road.size:
        reached = clusters.feet > (semantic.shape[0] / 2 if horizon is None else horizon)
        problem = "no road in sight: every region below the horizon counts"
    # OpenCV dilates floats but no int32; they hold numbers up to 2^24 exactly.
    grown = cv2.dilate(clusters.labels.astype(np.float32), _RIM).astype(np.int32)
    if problem is None:
        reached = _reaches_road(clusters, grown, road)
    reached[0] = False
    return DrivableSurface(road | reached[grown], reached, problem)


def _middles(semantic: np.ndarray, clusters: Clusters) -> np.ndarray:
    """Takes the class at the middle of every block."""
    half = clusters.block // 2
    middles = semantic[half :: clusters.block, half :: clusters.block]
    missing = [(0, blocks - own) for blocks, own in zip(clusters.labels.shape, middles.shape, strict=True)]
    return np.pad(middles, missing, mode="edge") if any(after for _, after in missing) else middles


def _reaches_road(clusters: Clusters, grown: np.ndarray, road: np.ndarray) -> np.ndarray:
    """Compares the blocks about and within every cluster with the road."""
    count = len(clusters.pixels)
    # Few blocks are about or within a cluster: looking at these alone is faster than at the whole picture.
    inside = np.flatnonzero(clusters.labels)
    rim = np.flatnonzero((grown > 0) & (clusters.labels == 0))
    about, about_road = _count(grown.ravel()[rim], road.ravel()[rim], count)
    within, within_road = _count(clusters.labels.ravel()[inside], road.ravel()[inside], count)
    on_rim = about_road >= np.maximum(_RIM_SHARE * about, 1)
    return on_rim | (about == 0) | (within_road >= np.maximum(_OWN_SHARE * within, 1))


def _count(numbers: np.ndarray, road: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts blocks by number of their cluster: all, and those that are road."""
    return np.bincount(numbers, minlength=count), np.bincount(numbers[road], minlength=count)
