# SPDX-License-Identifier: Apache-2.0
"""The alert has a summary, and a status for each hazard, with named values."""

from __future__ import annotations

import math

from some_hazards import FRAME

from densehybrid_ros.hazards.hazard import HazardFrame, Level
from densehybrid_ros.perception.alert import hazard_alert, stale_alert
from densehybrid_ros.perception.geometry import Mount, Transform

MOUNT = Mount(Transform.of_mount(1.2, 0.0), "base_link")


def test_alert_without_a_hazard() -> None:
    frame = HazardFrame(4.0, (), (), (), Level.OK, "no hazard", (), 0)
    alert = hazard_alert(frame, (), "camera é", None, None, -3.0, (480, 640))
    assert alert.hazards == ()
    assert (alert.level, alert.summary.what, alert.summary.message) == (Level.OK, "hazards", "no hazard")
    assert alert.summary.values == {
        "hazard_count": "0",
        "candidate_count": "0",
        "regions_left_out": "0",
        "hazard_area_px": "0",
        "nearest_distance_m": "nan",
        "ego_speed_mps": "nan",
        "anomaly_threshold": "-3.000",
        "image_height": "480",
        "image_width": "640",
        "problems": "none",
    }


def test_alert_has_a_summary_and_a_status_for_each_hazard() -> None:
    alert = hazard_alert(FRAME, ("disparity: late",), "camera é", MOUNT, 8.0, -3.0, (480, 640))
    summary, (near, far, gone) = alert.summary, alert.hazards
    assert (summary.level, summary.message) == (Level.WARN, FRAME.summary)
    values = summary.values
    assert {key: values[key] for key in ("hazard_count", "candidate_count", "regions_left_out")} == {
        "hazard_count": "2",
        "candidate_count": "1",
        "regions_left_out": "4",
    }
    assert (values["hazard_area_px"], values["largest_area_px"], values["problems"]) == (
        "290",
        "200",
        "disparity: late",
    )
    assert (values["nearest_distance_m"], values["ego_speed_mps"]) == ("20.000", "8.000")
    assert (near.what, near.level, near.message) == ("hazard 7", Level.WARN, "active, 20.0 m ahead, 75 %")
    assert near.values == {
        "id": "7",
        "state": "active",
        "distance_m": "20.000",
        "distance_std_m": "0.800",
        "lateral_m": "1.000",
        "width_m": "0.500",
        "time_to_reach_s": "2.500",
        "source": "ground_plane",
        "probability": "0.750",
        "mean_score": "1.500",
        "peak_score": "2.250",
        "area_px": "90",
        "box_left": "10",
        "box_top": "20",
        "box_width": "12",
        "box_height": "9",
        "age_frames": "12",
        "missed_frames": "0",
        "first_seen_s": "3.250",
        "optical_frame": "camera é",
        "optical_x_m": "1.000",
        "optical_y_m": "1.200",
        "optical_z_m": "20.000",
        "base_frame": "base_link",
        "base_x_m": "20.000",
        "base_y_m": "-1.000",
        "base_z_m": "0.000",
    }
    assert far.message == "active, distance unknown, 75 %"
    assert math.isnan(float(far.values["distance_m"]))
    assert "optical_x_m" not in far.values
    assert (gone.level, gone.values["state"]) == (Level.OK, "lost")


def test_stale_alert_says_why() -> None:
    alert = stale_alert("no frame", {"silence_s": 2.5, "known": None})
    assert (alert.level, alert.summary.message) == (Level.STALE, "no frame")
    assert alert.summary.values == {"silence_s": "2.500", "known": "nan"}
