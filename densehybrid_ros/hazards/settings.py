# SPDX-License-Identifier: Apache-2.0
"""All thresholds of the hazard stage, in SI units."""

from __future__ import annotations

from dataclasses import dataclass

from densehybrid_ros.hazards.ego_mask import EgoMask

WHOLE_IMAGE = (0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0)


@dataclass(frozen=True)
class HazardSettings:
    """What counts as a hazard, and how grave it is: the node's parameters of these names (docs/parameters.md).

    ``Settings.hazards`` of perception checks them. ``ego_mask`` is what ``read_ego_mask`` returns. ``drivable_classes``
    of one empty name are those that the model's card marks as drivable.
    """

    min_hazard_area: int = 50
    max_hazards: int = 50
    roi: tuple[float, ...] = WHOLE_IMAGE
    ego_mask: EgoMask | None = None
    on_road_only: bool = True
    drivable_classes: tuple[str, ...] = ("",)
    road_prior: float = 0.0
    corridor_half_width: float = 0.0
    hazard_probability: float = 0.5
    flat_height: float = 0.1
    trigger_count: int = 3
    trigger_window: int = 5
    release_count: int = 5
    max_gap: int = 8
    max_pause: float = 5.0
    warn_distance: float = 50.0
    error_distance: float = 15.0
    warn_time: float = 4.0
    error_time: float = 2.0
    disparity_noise: float = 0.25
    foot_row_noise: float = 2.0
    pitch_noise: float = 0.005
