# SPDX-License-Identifier: Apache-2.0
"""Hazards as alert, points, markers and, where it is installed, vision_msgs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from ros_peer import late_header, values_of
from some_hazards import FRAME, NEAR

from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.hazards.hazard import Level
from densehybrid_ros.nodes.alert_topic import alert_message
from densehybrid_ros.nodes.hazard_messages import DETECTIONS, detections, label_info, markers, points
from densehybrid_ros.nodes.messages import is_installed
from densehybrid_ros.perception.alert import Alert, Status

pytestmark = pytest.mark.ros
needs_vision = pytest.mark.skipif(not is_installed(DETECTIONS), reason="vision_msgs is not installed")


def test_alert_message_carries_the_header_and_every_status() -> None:
    summary = Status("hazards", Level.WARN, "1 hazard", {"hazard_count": "1"})
    message = alert_message(
        Alert(summary, (Status("hazard 7", Level.ERROR, "near"),)), late_header(), "/front/perception", "camera é"
    )
    assert message.header == late_header()
    first, second = message.status
    assert (first.name, first.hardware_id, first.level) == ("/front/perception: hazards", "camera é", first.WARN)
    assert (first.message, values_of(first)) == ("1 hazard", {"hazard_count": "1"})
    assert (second.name, second.level, second.values) == ("/front/perception: hazard 7", second.ERROR, [])


def test_points_lie_across_each_hazard() -> None:
    cloud = points(late_header(), FRAME.hazards)
    kinds = {7: "<f4", 6: "<u4"}
    fields = [(field.name, kinds[field.datatype]) for field in cloud.fields]
    assert [name for name, _ in fields] == ["x", "y", "z", "distance_std", "probability", "id"]
    found = np.frombuffer(cloud.data, dtype=np.dtype(fields))
    assert (cloud.point_step, cloud.row_step, cloud.width) == (found.itemsize, found.nbytes, len(found))
    np.testing.assert_allclose(found["x"], np.linspace(0.75, 1.25, len(found)), atol=1e-6)
    assert np.all(np.diff(found["x"]) <= 0.1 + 1e-6)
    assert set(found["id"]) == {7}  # the other one has no position
    for name, value in {"y": 1.2, "z": 20.0, "distance_std": 0.8, "probability": 0.75}.items():
        np.testing.assert_allclose(found[name], value)
    # They are bounded, and may be none.
    wide = replace(NEAR, width=500.0)
    assert points(late_header(), (wide,)).width == 64
    none = points(late_header(), ())
    assert (none.width, none.row_step, len(none.data), len(none.fields)) == (0, 0, 0, 6)


def test_markers_replace_those_of_the_frame_before() -> None:
    first, box, label, candidate = markers(late_header(), FRAME, lifetime=2.5).markers
    assert first.action == first.DELETEALL
    assert (box.ns, box.id, box.type, box.action) == ("hazards", 7, box.CUBE, box.ADD)
    assert box.header == late_header()
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
    message = detections(late_header(), FRAME.hazards)
    assert message.header == late_header()
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
    entries = label_info(CITYSCAPES_CLASSES, late_header()).class_map
    assert [entry.class_id for entry in entries] == list(range(20))
    assert (entries[0].class_name, entries[-1].class_name) == ("road", "unknown")
