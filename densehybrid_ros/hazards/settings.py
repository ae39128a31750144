# SPDX-License-Identifier: Apache-2.0
"""All thresholds of the hazard stage, in SI units."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from densehybrid_ros.errors import InputError
from densehybrid_ros.hazards.ego_mask import EgoMask
from densehybrid_ros.hazards.polygon import polygon_problem

WHOLE_IMAGE = (0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0)


@dataclass(frozen=True)
class HazardSettings:
    """What counts as a hazard, and how grave it is.

    Attributes:
        min_hazard_area: Regions of fewer pixels are no hazards.
        max_hazards: Regions a frame that are judged, the largest first; the rest is counted as left out.
        roi: Polygon x1, y1, x2, y2, ... in fractions of width and height, outside of which nothing counts.
        ego_mask: Pixels that never count, such as those of the own bonnet; None: there are none.
        on_road_only: Whether a hazard must lie on, or reach onto, the drivable surface.
        drivable_classes: Names of the classes that are drivable, as the model's class table has them; (""): those that
            its card marks as drivable.
        road_prior: Nats by which the score far from the ground is lowered, where ``on_road_only``; 0: not at all.
        corridor_half_width: Metres to each side of the optical axis within which hazards count; 0 for no corridor.
            A hazard whose position is unknown counts always.
        hazard_probability: Regions of a lower P(obstacle) are no hazards, where the model's card has a classifier.
        flat_height: Metres; what disparity shows to be lower than this above the road about it is no hazard; 0: off.
        trigger_count: Frames with the hazard, of the last ``trigger_window``, that raise it.
        trigger_window: Frames looked at; at least ``trigger_count``.
        release_count: Frames in a row without the hazard that clear it.
        max_gap: Frames in a row without a match after which its id is forgotten.
        max_pause: Seconds between two frames after which all tracks start over.
        warn_distance: Metres within which a hazard is at least WARN.
        error_distance: Metres within which it is ERROR.
        warn_time: Seconds to reach it at the ego speed within which it is at least WARN.
        error_time: Seconds to reach it within which it is ERROR.
        disparity_noise: Standard deviation of an object's disparity in pixels.
        foot_row_noise: Standard deviation of the row at which an object meets the ground, in pixels.
        pitch_noise: Standard deviation of the camera's pitch in radians, the nodding of the vehicle included.
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

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise InputError(problem)

    def _problem(self) -> str | None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not (math.isfinite(value) and value >= 0):
                return f"{field.name} is {value}: give a number of at least 0"
        for name in ("min_hazard_area", "max_hazards", "trigger_count", "release_count"):
            if getattr(self, name) < 1:
                return f"{name} is {getattr(self, name)}: give at least 1"
        if self.hazard_probability > 1:
            return f"hazard_probability is {self.hazard_probability}: give a number of at most 1"
        if self.max_gap < 0:
            return f"max_gap is {self.max_gap}: give at least 0"
        if self.trigger_window < self.trigger_count:
            return (
                f"trigger_window {self.trigger_window} is below trigger_count {self.trigger_count}: nothing would rise"
            )
        polygon = polygon_problem(self.roi)
        return f"roi: {polygon}" if polygon else None
