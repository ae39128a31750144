# SPDX-License-Identifier: Apache-2.0
"""The ground ahead by semantics, in blocks of pixels; what reaches onto it; and the road in the score.

Ground is what is drivable, road or sidewalk, closed over small gaps. A cluster of anomalous pixels counts if it touches
the ground. Softer, and on top of that, the score may be lowered the more the farther a pixel is from the ground, filled
(what has ground to its left and right stands on it): ``road_hazard = anomaly_score - nats * min(distance / REACH, 1)``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from densehybrid_ros.datasets.taxonomy import SemanticClass
from densehybrid_ros.hazards.regions import NEIGHBOURS, Clusters, block_side, box_sums, whole_blocks

GROUND_CLASSES = ("road", "sidewalk")
"""Names of the classes that an object on the road may seem to stand on."""
REACH = 0.02
"""Share of the image's width; what is farther from the ground is not on it."""

_GAPS = np.ones((5, 5), np.uint8)  # blocks; narrower gaps in the ground are closed
_NO_ROAD = 0.005  # share of the picture below which there is no road to judge by
_GAP_SHARE = 0.25  # of a cluster's size: a gap below it that may be its own lower part, not marked


@dataclass(frozen=True)
class Ground:
    """The ground of a frame."""

    block: int  # pixels along a block's side
    surface: np.ndarray  # bool [h, w], the blocks that are ground
    problem: str | None  # why everything, or all below the horizon, is taken for ground, in one line; None if it is not

    def prior(self, nats: float) -> np.ndarray:
        """Returns float32 [h, w], by how much the score of a block is lowered: at most ``nats``."""
        ground, columns = self.surface, np.arange(self.surface.shape[1])
        # What has ground to its left and right stands on it.
        first, last = ground.argmax(axis=1), columns[-1] - ground[:, ::-1].argmax(axis=1)
        filled = (columns >= first[:, None]) & (columns <= last[:, None]) & ground.max(axis=1)[:, None]
        distance = cv2.distanceTransform((~filled).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
        return np.minimum(distance / np.float32(REACH * len(columns)), np.float32(1.0)) * np.float32(nats)


def class_table(classes: Sequence[SemanticClass], names: Collection[str]) -> np.ndarray:
    """Returns uint8 [256], 1 at the ids of the classes of these names; an empty one means those marked drivable."""
    table = np.zeros(256, np.uint8)
    table[: len(classes)] = [item.name in names or (item.drivable and "" in names) for item in classes]
    return table


def unknown_classes(classes: Sequence[SemanticClass], names: Sequence[str]) -> list[str]:
    """Returns those of these names that the table of classes does not have: misspelt ones, or another model's."""
    known = {"", *(item.name for item in classes)}
    return [name for name in names if name not in known]


def find_ground(
    semantic: np.ndarray,
    classes: Sequence[SemanticClass],
    drivable: Sequence[str] = ("",),
    horizon: float | None = None,
) -> Ground:
    """Finds the ground.

    Where the classes have no drivable one, everything is ground; where hardly any pixel is drivable (there is no road,
    or an object hides it), all below the horizon. Both are named as a problem: a hazard too many is better than one
    that is kept quiet.

    Args:
        semantic: uint8 [H, W] train ids.
        classes: Class table of the model.
        drivable: Names of the drivable classes, see ``class_table``; road and sidewalk are ground as well.
        horizon: Row of the horizon; None: unknown, and everything lies below it.
    """
    block, roads = block_side(semantic.shape[1]), class_table(classes, drivable)
    middles = whole_blocks(semantic, block, "edge")[block // 2 :: block, block // 2 :: block].copy()
    problem = None
    if not roads.any():
        surface, problem = np.ones(middles.shape, bool), "the model has no drivable class: every region counts"
    elif cv2.countNonZero(cv2.LUT(middles, roads)) < _NO_ROAD * middles.size:
        below = block * np.arange(1, len(middles) + 1) > (-np.inf if horizon is None else horizon)
        surface = np.repeat(below[:, None], middles.shape[1], axis=1)
        where = "" if horizon is None else " below the horizon"
        problem = f"no road in sight: every region{where} counts"
    else:
        ground = cv2.LUT(middles, class_table(classes, (*drivable, *GROUND_CLASSES)))
        surface = cv2.morphologyEx(ground, cv2.MORPH_CLOSE, _GAPS).view(bool)
    return Ground(block, surface, problem)


def reaching(clusters: Clusters, ground: Ground) -> np.ndarray:
    """Returns bool [N + 1] by number of a cluster: whether it lies on the ground or reaches onto it; 0 does not.

    It does where a block of it is ground or touches some, or where there is ground right below its foot: as far as a
    quarter of its size, since at a high threshold an object's lower part may not be marked.
    """
    surface = ground.surface.view(np.uint8)
    inside = np.flatnonzero(clusters.labels)
    touching = inside[cv2.dilate(surface, NEIGHBOURS).ravel()[inside] > 0]
    reached = np.bincount(clusters.labels.ravel()[touching], minlength=len(clusters.pixels)) > 0
    if not reached[1:].all():
        left, top, width, height = clusters.boxes[1:].T
        foot = top + height
        gap = np.ceil(_GAP_SHARE * np.maximum(width, height)).astype(np.int32)
        reached[1:] |= box_sums(surface, left, foot, width, np.minimum(gap, len(surface) - foot)) > 0
    return reached


def hazard_mask(
    unknown: np.ndarray, anomaly_score: np.ndarray, threshold: float, ground: Ground, nats: float
) -> np.ndarray:
    """Returns bool [H, W], where ``road_hazard`` exceeds the threshold; only scores away from the ground are read.

    Args:
        unknown: bool [H, W], where ``anomaly_score`` does.
        anomaly_score: float32 [H, W] in nats.
        threshold: In nats.
        ground: Of the frame.
        nats: By which a score far from the ground is lowered.
    """
    block, (height, width) = ground.block, unknown.shape
    # The pixels of a block's row are one number, so that all others are passed over quickly.
    made, scores = whole_blocks(unknown, block).copy(), whole_blocks(anomaly_score, block)
    prior = ground.prior(nats)
    rows, columns = prior.shape
    lanes = made.view(f"u{block}")
    places = np.flatnonzero((lanes.reshape(rows, block, columns) != 0) & (prior > 0)[:, None])
    limits = np.float32(threshold) + prior.ravel()[places // (block * columns) * columns + places % columns]
    above = np.take(scores.reshape(-1, block), places, axis=0) > limits[:, None]
    lanes.reshape(-1)[places] &= above.view(lanes.dtype)[:, 0]
    return made[:height, :width]


def road_hazard(anomaly_score: np.ndarray, ground: Ground, nats: float) -> np.ndarray:
    """Returns the anomaly score lowered away from the ground, float32 [H, W] in nats."""
    height, width = anomaly_score.shape
    prior = ground.prior(nats).repeat(ground.block, axis=0).repeat(ground.block, axis=1)
    return anomaly_score - prior[:height, :width]
