"""Unknown regions of a frame into the message that raises the alert."""

from __future__ import annotations

from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from densehybrid_ros.hazards.regions import Region


def key_values(values: dict[str, Any]) -> list[KeyValue]:
    """Turns named values into diagnostic key-value pairs; floats get three decimals."""
    return [
        KeyValue(key=key, value=f"{value:.3f}" if isinstance(value, float) else str(value))
        for key, value in values.items()
    ]


def hazard_alert(
    header: Header, regions: tuple[Region, ...], node_name: str, threshold: float, size: tuple[int, int]
) -> DiagnosticArray:
    """Makes the alert of one frame: one summary status, WARN where there are unknown regions.

    Args:
        header: The camera's header.
        regions: The hazards, the largest first.
        node_name: Name of the node, for the status.
        threshold: Anomaly threshold of this frame, in nats.
        size: (height, width) of the image in pixels.
    """
    status = DiagnosticStatus(
        name=f"{node_name}: hazards", hardware_id=header.frame_id, level=DiagnosticStatus.OK, message="no hazard"
    )
    values: dict[str, Any] = {
        "hazard_count": len(regions),
        "hazard_area_px": sum(region.area for region in regions),
        "anomaly_threshold": threshold,
        "image_height": size[0],
        "image_width": size[1],
    }
    if regions:
        largest = regions[0]
        noun = "region" if len(regions) == 1 else "regions"
        status.level = DiagnosticStatus.WARN
        status.message = f"{len(regions)} unknown {noun}, the largest of {largest.area} px"
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
    status.values = key_values(values)
    return DiagnosticArray(header=header, status=[status])
