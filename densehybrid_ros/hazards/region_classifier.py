# SPDX-License-Identifier: Apache-2.0
"""What tells an obstacle from a false region: features of regions, as ``RegionClassifier`` of the card weighs them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from densehybrid_ros.datasets.taxonomy import SemanticClass
from densehybrid_ros.hazards.region_points import RegionPoints
from densehybrid_ros.hazards.regions import MaskedRegion

_HORIZON = 0.42  # of the height, where the camera is unknown
_NEAREST_TO_HORIZON = 0.02  # of the height: the least that a foot counts as below it
_RIM_SHARE = 0.1  # of the points about a region that exceed ``rim_score``
_CAR, _LORRY = ("car",), ("truck", "bus", "train")


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
    rim = np.where(own, np.float32(floor), values)
    highest = -(1 + (_RIM_SHARE * about).astype(np.intp))
    rim_score = np.take_along_axis(np.sort(rim, axis=1), highest[:, None], axis=1)[:, 0]
    peak = np.max(values, axis=1, where=own, initial=np.float32(floor))
    kinds = points.of(semantic).reshape(own.shape)

    def share(where: np.ndarray, of: np.ndarray, *ids: int) -> np.ndarray:
        table = np.zeros(256, bool)
        table[list(ids)] = True
        found: np.ndarray = np.count_nonzero(table[kinds] & where, axis=1) / of
        return found

    def named(names: Sequence[str]) -> list[int]:
        return [index for index, item in enumerate(classes) if item.name in names]

    road = [index for index, item in enumerate(classes) if item.drivable]
    contrast = mean - np.sum(values, axis=1, where=~own) / about
    semantics = share(~own, about, *road), share(own, inside, *named(_CAR)), share(own, inside, *named(_LORRY))
    found = (foot, size, size - 2 * np.log(below), contrast, rim_score, peak, mean, *semantics)
    return np.stack(found, axis=1).astype(np.float64)
