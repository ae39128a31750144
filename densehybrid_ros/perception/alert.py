# SPDX-License-Identifier: Apache-2.0
"""What the hazard alert says: a summary, then a status for each hazard, named values in SI units."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from densehybrid_ros.hazards.hazard import Hazard, HazardFrame, Level
from densehybrid_ros.perception.geometry import Mount
from densehybrid_ros.perception.images import FROZEN

_BOX = ("left", "top", "width", "height")


@dataclass(frozen=True)
class Status:
    """One status of an alert."""

    what: str  # "hazards" for the summary, "hazard ID" for one of them
    level: Level  # How grave
    message: str  # One line for people
    # Named values as text; floats have three decimals, and nan says that a value is unknown
    values: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Alert:
    """The alert of a frame."""

    summary: Status  # Level, message and values of all hazards together
    # A status for each active hazard, the nearest first, then for those cleared in this frame
    hazards: tuple[Status, ...] = ()

    @property
    def level(self) -> Level:
        """The summary's level."""
        return self.summary.level


def text_values(values: dict[str, Any]) -> dict[str, str]:
    """Writes named values: floats with three decimals, None as nan."""
    numbers = {key: math.nan if value is None else value for key, value in values.items()}
    return {key: f"{value:.3f}" if isinstance(value, float) else str(value) for key, value in numbers.items()}


def stale_alert(reason: str, values: dict[str, Any] | None = None) -> Alert:
    """Makes the alert that says that nothing is known, and why."""
    return Alert(Status("hazards", Level.STALE, reason, text_values(values or {})))


def stale_frame_alert(reason: str, alert: Alert | None = None) -> Alert:
    """Makes the alert that says that nothing is known of a frame, and why.

    Args:
        reason: For people.
        alert: What would be said of the frame otherwise; its hazards and values are kept.
    """
    values = {} if alert is None else alert.summary.values
    hazards = () if alert is None else alert.hazards
    problems = "; ".join(text for text in (values.get("problems", "none"), reason) if text != "none")
    return Alert(Status("hazards", Level.STALE, reason, values | {"problems": problems}), hazards)


def hazard_alert(
    frame: HazardFrame,
    problems: tuple[str, ...],
    frame_id: str,
    mount: Mount | None,
    ego_speed: float | None,
    threshold: float,
    size: tuple[int, int],
) -> Alert:
    """Makes the alert of a frame; it is at least a WARN while the camera is frozen.

    Args:
        frame: What the hazard stage says.
        problems: What was wrong with the inputs, "NAME: what" each.
        frame_id: The camera's frame.
        mount: How the camera is mounted; None: unknown.
        ego_speed: Speed in m/s; None: unknown.
        threshold: Anomaly threshold of this frame, in nats.
        size: (height, width) of the image in pixels.
    """
    values: dict[str, Any] = {
        "hazard_count": len(frame.hazards),
        "candidate_count": len(frame.candidates),
        "regions_left_out": frame.regions_left_out,
        "hazard_area_px": sum(hazard.region.area for hazard in frame.hazards),
        "nearest_distance_m": frame.hazards[0].distance if frame.hazards else None,
        "ego_speed_mps": ego_speed,
        "anomaly_threshold": threshold,
        "image_height": size[0],
        "image_width": size[1],
        "problems": "; ".join(problems) or "none",
    }
    if frame.hazards:
        seen = [hazard for hazard in frame.hazards if not hazard.missed] or frame.hazards
        largest = max((hazard.region for hazard in seen), key=lambda region: region.area)
        values |= {
            "largest_area_px": largest.area,
            **{f"largest_{side}": getattr(largest, side) for side in _BOX},
            "largest_center_x": largest.centroid[0],
            "largest_center_y": largest.centroid[1],
            "largest_peak_score": largest.peak_score,
        }
    level, message = frame.level, frame.summary
    if frame.candidates and not frame.hazards and not frame.is_settled:
        # With a longer past one of them might be a hazard.
        level, message = Level.STALE, "not known yet: the first frames have hazards that are not confirmed"
    for frozen in (problem for problem in problems if problem.startswith(FROZEN)):
        level, message = max(level, Level.WARN), f"{frozen}; {message}"
    summary = Status("hazards", level, message, text_values(values))
    return Alert(summary, tuple(_status(item, frame_id, mount) for item in (*frame.hazards, *frame.lost)))


def _status(hazard: Hazard, frame_id: str, mount: Mount | None) -> Status:
    where = "distance unknown" if hazard.distance is None else f"{hazard.distance:.1f} m ahead"
    region = hazard.region
    values: dict[str, Any] = {
        "id": hazard.id,
        "state": hazard.state.value,
        "distance_m": hazard.distance,
        "distance_std_m": hazard.distance_std,
        "lateral_m": hazard.lateral,
        "width_m": hazard.width,
        "time_to_reach_s": hazard.time_to_reach,
        "source": hazard.source.value,
        "probability": hazard.probability,
        "mean_score": region.mean_score,
        "peak_score": region.peak_score,
        "area_px": region.area,
        **{f"box_{side}": getattr(region, side) for side in _BOX},
        "age_frames": hazard.age,
        "missed_frames": hazard.missed,
        "first_seen_s": hazard.first_stamp,
    }
    places = {}
    if hazard.position is not None:
        places["optical"] = frame_id, hazard.position
        if mount is not None:
            places["base"] = mount.frame or "ground below the camera", tuple(mount.to_base.apply(hazard.position))
    for name, (frame, position) in places.items():
        values[f"{name}_frame"] = frame
        values |= {f"{name}_{axis}_m": float(value) for axis, value in zip("xyz", position, strict=True)}
    message = f"{hazard.state.value}, {where}, {100 * hazard.probability:.0f} %"
    return Status(f"hazard {hazard.id}", hazard.level, message, text_values(values))
