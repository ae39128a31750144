"""Hazards as alert, points, markers and, where it is installed, vision_msgs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from std_msgs.msg import Header

from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.hazards.hazard import NOWHERE, Hazard, HazardFrame, Level, Location, Source, State
from densehybrid_ros.hazards.regions import Region
from densehybrid_ros.nodes.hazard_alert import hazard_alert
from densehybrid_ros.nodes.hazard_messages import detections, hazard_markers, hazard_points, label_info
from densehybrid_ros.nodes.hazard_stage import HazardReport
from densehybrid_ros.nodes.message_types import is_installed
from densehybrid_ros.perception.camera_model import Mount
from densehybrid_ros.perception.transforms import Transform

pytestmark = pytest.mark.ros
needs_vision = pytest.mark.skipif(
    not is_installed("vision_msgs/msg/Detection2DArray"), reason="vision_msgs is not installed"
)

REGION = Region(90, 10, 20, 12, 9, (15.5, 24.0), 2.25, 1.5)
PLACE = Location((1.0, 1.2, 20.0), 20.0, 1.0, 0.5, 0.8, Source.GROUND_PLANE)
NEAR = Hazard(7, State.ACTIVE, REGION, 0.75, PLACE, 2.5, Level.WARN, 12, 0, 3.25)
FAR = replace(NEAR, id=8, region=replace(REGION, area=200), location=NOWHERE, time_to_reach=None)
CANDIDATE = replace(NEAR, id=9, state=State.CANDIDATE, level=Level.OK)
GONE = replace(NEAR, id=3, state=State.LOST, level=Level.OK, missed=5)
FRAME = HazardFrame(4.0, (NEAR, FAR), (CANDIDATE,), (GONE,), Level.WARN, "2 hazards, nearest 20.0 m ahead", (), 4)
MOUNT = Mount(Transform.of_mount(1.2, 0.0), "base_link")


def header() -> Header:
    header = Header(frame_id="camera é")
    header.stamp.sec, header.stamp.nanosec = 2**31 - 1, 999_999_999
    return header


def values_of(status: object) -> dict[str, str]:
    return {item.key: item.value for item in status.values}


def test_alert_without_a_hazard() -> None:
    frame = HazardFrame(4.0, (), (), (), Level.OK, "no hazard", (), 0)
    alert = hazard_alert(header(), HazardReport(frame), "perception", -3.0, (480, 640))
    assert alert.header == header()
    (status,) = alert.status
    assert status.level == status.OK
    assert (status.name, status.hardware_id, status.message) == ("perception: hazards", "camera é", "no hazard")
    assert values_of(status) == {
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
    report = HazardReport(FRAME, ("disparity: late",), MOUNT, ego_speed=8.0)
    summary, near, far, gone = hazard_alert(header(), report, "perception", -3.0, (480, 640)).status
    assert (summary.level, summary.message) == (summary.WARN, FRAME.summary)
    values = values_of(summary)
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
    assert (near.name, near.level, near.message) == (
        "perception: hazard 7",
        near.WARN,
        "active, 20.0 m ahead, 75 %",
    )
    assert values_of(near) == {
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
    assert math.isnan(float(values_of(far)["distance_m"]))
    assert "optical_x_m" not in values_of(far)
    assert (gone.level, values_of(gone)["state"]) == (gone.OK, "lost")


def test_alert_of_a_stage_that_failed_does_not_read_as_all_clear() -> None:
    alert = hazard_alert(header(), HazardReport(None, ("hazards: ValueError: no",)), "perception", -3.0, (480, 640))
    (status,) = alert.status
    assert status.level == status.STALE
    assert status.message == "hazards are unknown: hazards: ValueError: no"
    assert alert.header == header()


def test_points_lie_across_each_hazard() -> None:
    cloud = hazard_points(header(), FRAME.hazards)
    kinds = {7: "<f4", 6: "<u4"}
    fields = [(field.name, kinds[field.datatype]) for field in cloud.fields]
    assert [name for name, _ in fields] == ["x", "y", "z", "distance_std", "probability", "id"]
    points = np.frombuffer(cloud.data, dtype=np.dtype(fields))
    assert (cloud.point_step, cloud.row_step, cloud.width) == (points.itemsize, points.nbytes, len(points))
    np.testing.assert_allclose(points["x"], np.linspace(0.75, 1.25, len(points)), atol=1e-6)
    assert np.all(np.diff(points["x"]) <= 0.1 + 1e-6)
    assert set(points["id"]) == {7}  # the other one has no position
    np.testing.assert_allclose(points["y"], 1.2)
    np.testing.assert_allclose(points["z"], 20.0)
    np.testing.assert_allclose(points["distance_std"], 0.8)
    np.testing.assert_allclose(points["probability"], 0.75)


def test_points_are_bounded_and_may_be_none() -> None:
    wide = replace(NEAR, location=replace(PLACE, width=500.0))
    assert hazard_points(header(), (wide,)).width == 64
    none = hazard_points(header(), ())
    assert (none.width, none.row_step, len(none.data), len(none.fields)) == (0, 0, 0, 6)


def test_markers_replace_those_of_the_frame_before() -> None:
    first, box, label, candidate = hazard_markers(header(), FRAME, lifetime=2.5).markers
    assert first.action == first.DELETEALL
    assert (box.ns, box.id, box.type, box.action) == ("hazards", 7, box.CUBE, box.ADD)
    assert box.header == header()
    assert (box.lifetime.sec, box.lifetime.nanosec) == (2, 500_000_000)
    assert (box.scale.x, box.scale.y, box.scale.z) == pytest.approx((0.5, 0.5 * 9 / 12, 1.6))
    # It stands on the ground: its middle lies half its height above, and up is -y.
    position = box.pose.position
    assert (position.x, position.y, position.z) == pytest.approx((1.0, 1.2 - 0.5 * 0.375, 20.0))
    assert (label.ns, label.id, label.text) == ("labels", 7, "#7  20.0 ± 0.8 m  75 %  2.5 s")
    assert (candidate.ns, candidate.id) == ("hazards", 9)
    assert candidate.color.a < box.color.a


@needs_vision
def test_detections_hold_box_score_and_pose() -> None:
    message = detections(header(), FRAME.hazards)
    assert message.header == header()
    near, far = message.detections
    assert near.id == "7"
    assert (near.bbox.center.position.x, near.bbox.center.position.y) == (15.5, 24.0)
    assert (near.bbox.size_x, near.bbox.size_y) == (12.0, 9.0)
    (result,) = near.results
    assert (result.hypothesis.class_id, result.hypothesis.score) == ("unknown", 0.75)
    assert result.pose.pose.position.z == 20.0
    assert result.pose.covariance[14] == pytest.approx(0.64)
    assert far.results[0].pose.pose.position.z == 0.0


@needs_vision
def test_label_info_names_every_id() -> None:
    entries = label_info(CITYSCAPES_CLASSES, header()).class_map
    assert [entry.class_id for entry in entries] == list(range(20))
    assert (entries[0].class_name, entries[-1].class_name) == ("road", "unknown")
