"""The hazards of a frame into the message that raises the alert."""

from __future__ import annotations

import math
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from densehybrid_ros.hazards.hazard import Hazard, HazardFrame, Level
from densehybrid_ros.nodes.hazard_stage import HazardReport
from densehybrid_ros.perception.camera_model import Mount


def key_values(values: dict[str, Any]) -> list[KeyValue]:
    """Turns named values into diagnostic key-value pairs: floats get three decimals, and None becomes nan."""
    return [KeyValue(key=key, value=_text(value)) for key, value in values.items()]


def hazard_alert(
    header: Header, report: HazardReport, node_name: str, threshold: float, size: tuple[int, int]
) -> DiagnosticArray:
    """Makes the alert of one frame: a summary, then one status for each active hazard, the nearest first.

    The statuses of hazards that were cleared in this frame follow.

    Args:
        header: The camera's header.
        report: What the hazard stage says. Where it failed, the alert is STALE.
        node_name: Name of the node, for the status.
        threshold: Anomaly threshold of this frame, in nats.
        size: (height, width) of the image in pixels.
    """
    frame = report.frame
    if frame is None:
        return stale_alert(header, node_name, f"hazards are unknown: {'; '.join(report.problems)}", {})
    summary = _status(node_name, "hazards", header, frame.level, frame.summary)
    summary.values = key_values(_summary_values(frame, report, threshold, size))
    details = [_hazard_status(header, node_name, hazard, report.mount) for hazard in (*frame.hazards, *frame.lost)]
    return DiagnosticArray(header=header, status=[summary, *details])


def stale_alert(header: Header, node_name: str, reason: str, values: dict[str, Any]) -> DiagnosticArray:
    """Makes the alert that says that nothing is known, and why."""
    status = _status(node_name, "hazards", header, Level.STALE, reason)
    status.values = key_values(values)
    return DiagnosticArray(header=header, status=[status])


def _summary_values(
    frame: HazardFrame, report: HazardReport, threshold: float, size: tuple[int, int]
) -> dict[str, Any]:
    values: dict[str, Any] = {
        "hazard_count": len(frame.hazards),
        "candidate_count": len(frame.candidates),
        "regions_left_out": frame.regions_left_out,
        "hazard_area_px": sum(hazard.region.area for hazard in frame.hazards),
        "nearest_distance_m": frame.hazards[0].distance if frame.hazards else None,
        "ego_speed_mps": report.ego_speed,
        "anomaly_threshold": threshold,
        "image_height": size[0],
        "image_width": size[1],
        "problems": "; ".join(report.problems) or "none",
    }
    if frame.hazards:
        seen = [hazard for hazard in frame.hazards if not hazard.missed] or frame.hazards
        largest = max((hazard.region for hazard in seen), key=lambda region: region.area)
        values |= {
            "largest_area_px": largest.area,
            "largest_left": largest.left,
            "largest_top": largest.top,
            "largest_width": largest.width,
            "largest_height": largest.height,
            "largest_center_x": largest.centroid[0],
            "largest_center_y": largest.centroid[1],
            "largest_peak_score": largest.peak_score,
        }
    return values


def _hazard_status(header: Header, node_name: str, hazard: Hazard, mount: Mount | None) -> DiagnosticStatus:
    where = "distance unknown" if hazard.distance is None else f"{hazard.distance:.1f} m ahead"
    text = f"{hazard.state.value}, {where}, {100 * hazard.probability:.0f} %"
    status = _status(node_name, f"hazard {hazard.id}", header, hazard.level, text)
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
        "box_left": region.left,
        "box_top": region.top,
        "box_width": region.width,
        "box_height": region.height,
        "age_frames": hazard.age,
        "missed_frames": hazard.missed,
        "first_seen_s": hazard.first_stamp,
    }
    if hazard.position is not None:
        values |= _position("optical", header.frame_id, hazard.position)
        if mount is not None:
            x, y, z = map(float, mount.to_base.apply(hazard.position))
            values |= _position("base", mount.frame or "ground below the camera", (x, y, z))
    status.values = key_values(values)
    return status


def _position(name: str, frame_id: str, position: tuple[float, float, float]) -> dict[str, Any]:
    return {f"{name}_frame": frame_id} | {
        f"{name}_{axis}_m": float(value) for axis, value in zip("xyz", position, strict=True)
    }


def _status(node_name: str, what: str, header: Header, level: int, message: str) -> DiagnosticStatus:
    return DiagnosticStatus(
        name=f"{node_name}: {what}", hardware_id=header.frame_id, level=bytes([level]), message=message
    )


def _text(value: Any) -> str:
    if value is None:
        value = math.nan
    return f"{value:.3f}" if isinstance(value, float) else str(value)
