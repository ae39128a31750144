# SPDX-License-Identifier: Apache-2.0
"""Distances of pixels and obstacles, and figures by distance bin (paper, section 6.4 and table 6)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.datasets.evaluation_set import ANOMALY
from densehybrid_ros.evaluation.components import label_components
from densehybrid_ros.evaluation.curves import CurveMetrics
from densehybrid_ros.evaluation.pixel_accumulator import PixelAccumulator

DEFAULT_EDGES = tuple(float(edge) for edge in range(5, 55, 5))
"""Edges of the paper's nine bins in metres: [5, 10) ... [45, 50)."""
_BIN_BUFFER = 1 << 22


def ground_plane_depth(camera: Camera, height: int) -> np.ndarray:
    """Depth at which each of ``height`` rows meets the road plane: float32 [H] in metres, nan from the horizon up."""
    depth = np.array([camera.ground_depth(row) for row in range(height)], dtype=np.float32)
    return np.where(np.isfinite(depth), depth, np.float32(np.nan))


def distance_map(
    anomaly: np.ndarray, camera: Camera, disparity: np.ndarray | None, instances: np.ndarray | None = None
) -> np.ndarray:
    """Distance of every pixel; the pixels of an obstacle share one.

    With disparity a pixel has its measured depth and an obstacle the median of its pixels'. Without, both lie where
    they meet the ground plane: a pixel at its row, an obstacle at its lowest.

    Args:
        anomaly: uint8 [H, W], 1 where an obstacle is.
        camera: Camera of this image.
        disparity: float32 [H, W] in pixels, 0 invalid; or None.
        instances: uint16 [H, W], ids of the obstacles; None takes connected components.

    Returns:
        float32 [H, W] in metres along the optical axis, nan where unknown.
    """
    obstacles = obstacle_pixels(obstacle_ids(anomaly, instances))
    if disparity is None:
        rows = ground_plane_depth(camera, anomaly.shape[0])
        distance = np.repeat(rows[:, None], anomaly.shape[1], axis=1)
        for pixels in obstacles:
            distance[pixels] = rows[int(pixels[0].max())]
        return distance
    depth = np.full(disparity.shape, np.nan, np.float32)
    np.divide(np.float32(camera.fx * camera.baseline), disparity, out=depth, where=disparity > 0)
    for pixels in obstacles:
        known = depth[pixels][np.isfinite(depth[pixels])]
        depth[pixels] = np.median(known) if len(known) else np.nan
    return depth


def obstacle_ids(anomaly: np.ndarray, instances: np.ndarray | None) -> np.ndarray:
    """Ids of the obstacles, int32 [H, W], 0 elsewhere; connected components where ``instances`` is None."""
    if instances is None:
        return label_components(anomaly == ANOMALY)
    return np.where(anomaly == ANOMALY, instances, 0).astype(np.int32)


def obstacle_pixels(ids: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """(rows, columns) of each obstacle in the order of their ids."""
    rows, columns = np.nonzero(ids)
    values = ids[rows, columns]
    order = np.argsort(values, kind="stable")
    borders = np.flatnonzero(np.diff(values[order])) + 1
    return [(rows[part], columns[part]) for part in np.split(order, borders)] if len(order) else []


class DistanceBins:
    """Pixel figures for each distance bin, every bin with its own inliers.

    Args:
        scores: Names of the scores.
        edges: Rising edges in metres; bin i takes edges[i] <= distance < edges[i + 1].

    Attributes:
        unknown: Labelled pixels without a distance.
    """

    def __init__(self, scores: Sequence[str], edges: Sequence[float] = DEFAULT_EDGES) -> None:
        self.edges = tuple(edges)
        self.curves = {name: [PixelAccumulator(_BIN_BUFFER) for _ in self.edges[1:]] for name in scores}
        self.unknown = 0

    def update(self, scores: dict[str, Tensor], labels: Tensor, distance: Tensor, name: str = "scores") -> None:
        """Takes in a frame.

        Args:
            scores: Name -> float32 [H, W].
            labels: uint8 [H, W], 0 inlier, 1 anomaly, else left out.
            distance: float32 [H, W] in metres, nan where unknown.
            name: What the scores belong to, for messages.
        """
        labelled = labels <= ANOMALY
        known = labelled & torch.isfinite(distance)
        edges = torch.tensor(self.edges, dtype=distance.dtype, device=distance.device)
        bins = torch.bucketize(distance[known], edges, right=True) - 1
        bin_labels = labels[known]
        self.unknown += int(labelled.sum() - known.sum())
        chosen = [bins == index for index in range(len(self.edges) - 1)]
        for score, values in scores.items():
            inside = values[known]
            for accumulator, mask in zip(self.curves[score], chosen, strict=True):
                accumulator.update(inside[mask], bin_labels[mask], name)

    def compute(self) -> dict[str, list[CurveMetrics]]:
        """Returns for each score the figures of each bin; nan where a bin lacks obstacles or road."""
        return {name: [accumulator.compute() for accumulator in bins] for name, bins in self.curves.items()}
