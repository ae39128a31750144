# SPDX-License-Identifier: Apache-2.0
"""The real node process over DDS with a stand-in for the network: what its alerts tell a planner."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from colour_node import CONFIDENCE, HIGH, NOT_LIKED, draw
from hazard_peer import BOX, CAMERA, HORIZON, STALE, Alert, HazardPeer, camera_info, disparity_image, foot_of
from rclpy.qos import DurabilityPolicy, QoSProfile

from densehybrid_ros.demo.node_process import NodeProcess
from densehybrid_ros.nodes.messages import is_installed, message_class
from densehybrid_ros.perception.ground import POINT

pytestmark = pytest.mark.ros

OK, WARN, ERROR = 0, 1, 2
REMAPPINGS = {f"~/input/{name}": f"/{name}" for name in ("camera_info", "disparity", "odometry")}
PARAMETERS = {
    "input_reliability": "reliable",
    "trigger_count": 2,
    "trigger_window": 3,
    "release_count": 2,
    "source_timeout": 60.0,  # a busy machine must not turn alerts STALE where the test does not want it
    "max_age": 0.0,  # the stamps are of another year
    "disparity_tolerance": 0.01,
    "min_hazard_area": 20,
}


@pytest.fixture(scope="module")
def node(ros: None) -> Iterator[NodeProcess]:
    here = str(Path(__file__).parents[1] / "helpers")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])}
    remappings = {"~/input/image": "/camera", **REMAPPINGS}
    with NodeProcess(PARAMETERS, remappings, environment, module="colour_node") as process:
        process.wait_until_active()
        yield process
        assert process.stop() == 0, process.log()


@pytest.fixture(scope="module")
def peer(node: NodeProcess) -> Iterator[HazardPeer]:
    peer = HazardPeer()
    publishers = (peer.publisher, peer.camera_info, peer.disparity, peer.odometry)
    peer.wait_for(lambda: all(publisher.get_subscription_count() == 1 for publisher in publishers), "the node's inputs")
    outputs = ("hazard_alert", "hazard_points", "hazard_markers", "confidence")

    def are_connected() -> bool:
        peer.send_image(draw(160, 320, HORIZON))
        return all(peer.received[name] for name in outputs)

    peer.wait_for(are_connected, "all outputs")
    yield peer
    peer.close()


@pytest.fixture
def clear(peer: HazardPeer) -> None:
    """No hazard is active, and the node's surroundings are as at its start."""
    for name, value in PARAMETERS.items():
        if name != "input_reliability":
            assert peer.set_parameter(name, value) == (True, "")
    assert peer.set_parameter("camera_height", 0.0)[0]
    assert peer.set_parameter("camera_pitch", 0.0)[0]
    peer.frame_until(lambda alert: alert.values["hazard_count"] == alert.values["candidate_count"] == "0")


def with_camera(peer: HazardPeer, camera_is: str = "none", **changes: object) -> None:
    """Mounts the camera and sends camera_info until a frame is judged by it; the two come on topics of their own."""
    assert peer.set_parameter("camera_height", CAMERA.mount_height)[0]
    assert peer.set_parameter("camera_pitch", CAMERA.pitch)[0]
    message = camera_info(**changes)
    peer.frame_until(
        lambda alert: camera_is in alert.values["problems"], before=lambda: peer.camera_info.publish(message)
    )


def test_hazards_without_a_camera_are_seen_in_the_image_alone(peer: HazardPeer, clear: None) -> None:
    first = peer.frame(BOX)
    assert (first.level, first.message) == (OK, "no hazard")
    assert first.values["candidate_count"] == "1"
    alert = peer.frame(BOX)
    assert (alert.level, alert.message) == (WARN, "1 hazard, distance unknown")
    assert alert.header == peer.header()
    (hazard,) = alert.hazards
    assert hazard["state"] == "active"
    assert hazard["source"] == "none"
    assert hazard["distance_m"] == hazard["distance_std_m"] == hazard["time_to_reach_s"] == "nan"
    box = tuple(int(hazard[f"box_{side}"]) for side in ("left", "top", "width", "height"))
    assert box == BOX
    assert float(hazard["probability"]) == pytest.approx(CONFIDENCE.probability(HIGH), abs=1e-3)
    assert float(hazard["mean_score"]) == float(hazard["peak_score"]) == HIGH


def test_road_alone_makes_hazards_unless_told_otherwise(peer: HazardPeer, clear: None) -> None:
    in_the_sky = (20, 5, 30, 20)
    assert peer.frames(3, in_the_sky).values["hazard_count"] == "0"
    assert peer.set_parameter("on_road_only", False)[0]
    assert peer.frames(2, in_the_sky).values["hazard_count"] == "1"
    assert peer.set_parameter("on_road_only", True)[0]


def test_ground_plane_gives_position(peer: HazardPeer, clear: None) -> None:
    with_camera(peer)
    alert = peer.frames(3, BOX)
    x, y, z = foot_of(BOX)
    (hazard,) = alert.hazards
    assert hazard["source"] == "ground_plane"
    spread = float(hazard["distance_std_m"])
    assert 0.0 < spread < 0.5 * z
    for key, value in {"distance_m": z, "optical_x_m": x, "optical_y_m": y, "optical_z_m": z, "lateral_m": x}.items():
        assert float(hazard[key]) == pytest.approx(value, abs=0.05), key
    assert float(hazard["width_m"]) == pytest.approx(BOX[2] * z / CAMERA.fx, abs=0.05)
    # On the ground below the camera: the height is nothing, left is minus right.
    assert hazard["base_frame"] == "ground below the camera"
    assert float(hazard["base_z_m"]) == pytest.approx(0.0, abs=0.02)
    assert float(hazard["base_y_m"]) == pytest.approx(-x, abs=0.05)
    assert float(hazard["base_x_m"]) == pytest.approx(np.sqrt(y * y + z * z - CAMERA.mount_height**2), abs=0.05)
    assert alert.values["problems"] == "none"
    assert float(alert.values["nearest_distance_m"]) == float(hazard["distance_m"])


def test_points_markers_and_confidence_agree_with_the_alert(peer: HazardPeer, clear: None) -> None:
    with_camera(peer)
    alert = peer.frames(3, BOX)
    number = peer.number
    (hazard,) = alert.hazards
    cloud = peer.result("hazard_points", number)
    assert cloud.header == peer.header()
    kinds = [(field.name, "<u4" if field.name == "id" else "<f4") for field in cloud.fields]
    points = np.frombuffer(cloud.data, dtype=np.dtype(kinds))
    assert len(points) == cloud.width > 1
    assert {int(value) for value in points["id"]} == {int(hazard["id"])}
    assert np.ptp(points["x"]) == pytest.approx(float(hazard["width_m"]), abs=1e-2)
    assert points["x"].mean() == pytest.approx(float(hazard["optical_x_m"]), abs=1e-2)
    np.testing.assert_allclose(points["z"], float(hazard["distance_m"]), atol=1e-2)
    first, box, label = peer.result("hazard_markers", number).markers
    assert first.action == first.DELETEALL
    assert (box.ns, box.id, label.ns) == ("hazards", int(hazard["id"]), "labels")
    assert box.pose.position.z == pytest.approx(float(hazard["distance_m"]), abs=1e-2)
    assert box.lifetime.sec == 60
    assert label.text.startswith(f"#{hazard['id']}  {float(hazard['distance_m']):.1f} ± ")
    confidence = np.frombuffer(peer.result("confidence", number).data, np.uint8).reshape(160, 320)
    assert confidence[100, 160] == round(255 * CONFIDENCE.probability(HIGH))
    assert confidence[20, 20] == round(255 * CONFIDENCE.probability(-HIGH))


def test_a_costmap_gets_points_and_masks_of_one_size(peer: HazardPeer, clear: None) -> None:
    names = ("ground_points", "ground_open_set", "ground_class_confidence")
    for name in names:
        peer.received[name] = {}
        peer.subscribe(name)
    reason = "ground_points: not published: needs ~/input/camera_info and the mount"
    peer.frame_until(lambda _: bool(peer.received["ground_open_set"]) and reason in str(peer.diagnostics), BOX)
    assert not peer.received["ground_points"]
    assert int(peer.diagnostics["failed"]) == 0
    with_camera(peer)
    peer.frame_until(lambda _: bool(peer.received["ground_points"]), BOX)
    for decimation, size in ((4, (40, 80)), (1, (160, 320))):
        assert peer.set_parameter("points_decimation", decimation) == (True, "")
        peer.frame(BOX)
        cloud, *images = (peer.result(name, peer.number) for name in names)
        assert cloud.header == peer.header()
        assert {(item.height, item.width) for item in (cloud, *images)} == {size}
        assert [(field.name, field.offset) for field in cloud.fields] == list(
            zip(("x", "y", "z", "class", "confidence"), (0, 4, 8, 12, 13), strict=True)
        )
        assert (cloud.point_step, cloud.row_step, cloud.is_dense) == (16, 16 * size[1], False)
        points = np.frombuffer(cloud.data, POINT).reshape(size)
        open_set, class_confidence = (np.frombuffer(image.data, np.uint8).reshape(size) for image in images)
        np.testing.assert_array_equal(points["class"], open_set)
        at, sky = (100 // decimation, 160 // decimation), (20 // decimation, 160 // decimation)
        assert open_set[at] == 19
        assert points["confidence"][at] == class_confidence[at] == round(255 * CONFIDENCE.probability(HIGH))
        assert class_confidence[sky] == 255 - points["confidence"][sky] == round(255 * CONFIDENCE.probability(HIGH))
        assert np.isnan(points["z"][sky])
    x, _, z = foot_of((160, 100, 1, 1))  # half a pixel below it
    assert points["z"][100, 160] == pytest.approx(z, rel=0.02)
    assert points["x"][100, 160] / points["z"][100, 160] == pytest.approx(x / z, abs=1e-5)
    assert peer.set_parameter("points_decimation", 4) == (True, "")
    for name in names:
        peer.unsubscribe(name)


@pytest.mark.skipif(not is_installed("vision_msgs/msg/Detection2DArray"), reason="vision_msgs is not installed")
def test_vision_messages_are_published(peer: HazardPeer, clear: None) -> None:
    detections: list[Any] = []
    labels: list[Any] = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    for name, qos, kept in (("Detection2DArray", QoSProfile(depth=5), detections), ("LabelInfo", latched, labels)):
        topic = {"Detection2DArray": "hazards", "LabelInfo": "label_info"}[name]
        kind = message_class(f"vision_msgs/msg/{name}")
        peer.node.create_subscription(kind, f"/perception/output/{topic}", kept.append, qos)
    peer.wait_for(lambda: bool(labels), "label_info, which was sent before")
    assert labels[0].class_map[-1].class_name == "unknown"
    peer.frame_until(lambda _: bool(detections and detections[-1].detections), BOX)
    box = detections[-1].detections[0].bbox
    assert (box.size_x, box.size_y) == BOX[2:]


def test_disparity_is_used_where_it_fits(peer: HazardPeer, clear: None) -> None:
    """Right size and stamp: used. Late, of another size, without a baseline: named, and the ground plane instead."""
    with_camera(peer)
    truth = 9.0  # not what the ground plane says
    pixels = np.zeros((160, 320), np.float32)
    pixels[80:120, 140:190] = CAMERA.fx * 0.21 / truth
    pixels[95:97] = np.nan
    ground = foot_of(BOX)[2]

    def judged(source: str, problem: str, disparity: np.ndarray, late: float = 0.0, **changes: float) -> float:
        """The distance once a frame has been judged by this source and with this problem."""

        def send() -> None:
            peer.disparity.publish(disparity_image(disparity, peer.header(1.0 + late), **changes))

        def is_so(alert: Alert) -> bool:
            sources = [hazard["source"] for hazard in alert.hazards if hazard["missed_frames"] == "0"]
            return sources == [source] and problem in alert.values["problems"]

        return float(peer.frame_until(is_so, BOX, before=send).hazards[0]["distance_m"])

    assert judged("disparity", "none", pixels) == pytest.approx(truth, abs=0.05)
    # Made at another focal length: depth is still focal * baseline / disparity.
    assert judged("disparity", "none", pixels, focal=CAMERA.fx / 2, baseline=0.42) == pytest.approx(truth, abs=0.05)
    for disparity, changes, problem in (
        (pixels[:80], {}, "disparity: is 320x80, but the frame is 320x160"),
        (pixels, {"late": 0.5}, "disparity: none within 0.01 s of the frame"),
        (pixels, {"baseline": 0.0}, "tell no distance"),
    ):
        judged("ground_plane", problem, disparity, **changes)
    ground = foot_of(BOX)[2]
    assert abs(float(peer.frames(10, BOX).hazards[0]["distance_m"]) - ground) < 0.1 * abs(truth - ground)
    peer.wait_for(lambda: "disparity: is 320x80" in str(peer.diagnostics), "the problem in /diagnostics")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"height": 80, "width": 160}, "camera_info: is for images of 160x80, but they have 320x160"),
        ({"k": [0.0] * 9, "p": [0.0] * 12}, "camera_info: focal lengths are 0 and 0 px"),
        ({"p": [float("nan")] * 12}, "camera_info: has a number that is not finite"),
    ],
)
def test_bad_camera_info_is_named(peer: HazardPeer, clear: None, changes: dict[str, object], reason: str) -> None:
    with_camera(peer, reason, **changes)
    alert = peer.frames(3, BOX)
    assert reason in alert.values["problems"]
    assert alert.message == "1 hazard, distance unknown"
    assert alert.hazards[0]["source"] == "none"
    peer.wait_for(lambda: reason in str(peer.diagnostics), "the problem in /diagnostics")


def test_thresholds_are_live(peer: HazardPeer, clear: None) -> None:
    with_camera(peer)
    distance = foot_of(BOX)[2]
    assert peer.set_parameter("error_distance", 1.0)[0]
    assert peer.frames(3, BOX).level == WARN
    assert peer.set_parameter("warn_distance", distance - 2.0)[0]
    assert peer.frame(BOX).level == OK
    assert peer.set_parameter("warn_distance", 50.0)[0]
    assert peer.set_parameter("error_distance", distance + 2.0)[0]
    assert peer.frame(BOX).level == ERROR
    assert peer.set_parameter("error_distance", 1.0)[0]
    # By speed: from odometry, else from the parameter.
    assert peer.set_parameter("ego_speed", distance / 1.0)[0]
    alert = peer.frame(BOX)
    assert alert.level == ERROR
    assert float(alert.hazards[0]["time_to_reach_s"]) == pytest.approx(1.0, rel=0.2)
    slow = f"{distance / 100.0:.3f}"
    alert = peer.frame_until(
        lambda alert: alert.values["ego_speed_mps"] == slow, BOX, before=lambda: peer.speed(distance / 100.0)
    )
    assert alert.level == WARN
    problem = "odometry: the speed ahead is not finite"
    peer.frame_until(lambda alert: problem in alert.values["problems"], BOX, before=lambda: peer.speed(float("nan")))
    peer.frame_until(lambda alert: alert.values["ego_speed_mps"] == "0.000", BOX, before=lambda: peer.speed(0.0))
    assert peer.set_parameter("min_hazard_area", 10_000)[0]
    assert peer.frames(2, BOX).values["hazard_count"] == "0"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("error_distance", 60.0, "parameter error_distance: 60 exceeds warn_distance 50"),
        ("trigger_window", 1, "trigger_window 1 is below trigger_count 2"),
        ("drivable_classes", ["road", ""], "give at least one name"),
        ("camera_pitch", 2.0, "camera_pitch"),
        ("base_frame", "base_link", "read-only"),
    ],
)
def test_contradictions_are_refused(peer: HazardPeer, clear: None, name: str, value: object, reason: str) -> None:
    before = peer.get_parameter(name)
    successful, text = peer.set_parameter(name, value)
    assert not successful
    assert reason in text
    assert peer.get_parameter(name) == before


def test_stamps_that_jump_back_begin_anew(peer: HazardPeer, clear: None) -> None:
    peer.number += 30
    assert peer.frames(2, BOX).values["hazard_count"] == "1"
    peer.number -= 25
    alert = peer.frame(BOX)
    assert "back" in alert.values["problems"]
    assert alert.values["hazard_count"] == "0"
    peer.number += 30


def test_hysteresis_and_an_image_full_of_anomaly(peer: HazardPeer, clear: None) -> None:
    identity = peer.frames(2, BOX).hazards[0]["id"]
    held = peer.frame()
    assert held.values["hazard_count"] == "1"
    assert held.hazards[0]["missed_frames"] == "1"
    cleared = peer.frame()
    assert (cleared.level, cleared.values["hazard_count"]) == (OK, "0")
    assert [(hazard["id"], hazard["state"]) for hazard in cleared.hazards] == [(identity, "lost")]
    everything = peer.frames(3, (0, 0, 320, 160))
    assert everything.values["hazard_count"] == "1"


def test_pause_says_so_and_resume_goes_on(peer: HazardPeer, clear: None) -> None:
    peer.frames(2, BOX)
    assert peer.call("pause") == (True, "")
    stale = peer.wait_for_alert("the node is paused")
    assert "hazard_count" not in stale.values
    peer.wait_for(lambda: peer.diagnostics["lifecycle_state"] == "paused", "diagnostics")
    peer.wait_for(lambda: peer.publisher.get_subscription_count() == 0, "the end of the subscription")
    peer.wait_for_alert("the node is paused")  # it repeats
    assert peer.call("resume") == (True, "")
    peer.wait_for(lambda: peer.publisher.get_subscription_count() == 1, "the subscription")
    assert peer.frame(BOX).values["hazard_count"] == "0"  # tracks start over


def test_silence_and_failures_turn_the_alert_stale(peer: HazardPeer, clear: None) -> None:
    peer.frames(2, BOX)
    assert peer.set_parameter("source_timeout", 0.5)[0]
    stale = peer.wait_for_alert("no frame on /camera")
    assert stale.level == STALE
    assert float(stale.values["silence_s"]) > 0.5
    peer.wait_for_alert("no frame on /camera")
    # Frames that come but can't be answered do not read as all clear either.
    known = len(peer.alerts)

    def failing() -> bool:
        peer.send_image(np.zeros((NOT_LIKED, 16, 3), np.uint8))
        return any("a frame that no model likes" in alert.message for alert in peer.alerts[known:])

    peer.wait_for(failing, "the failure in the alert")
    assert all(alert.level == STALE for alert in peer.alerts[known:])
    assert peer.set_parameter("source_timeout", 60.0)[0]
    assert peer.frame().level != STALE


def test_deactivating_says_so(peer: HazardPeer, clear: None) -> None:
    from lifecycle_msgs.msg import Transition

    assert peer.change_state(Transition.TRANSITION_DEACTIVATE)
    peer.wait_for_alert("the node is inactive")
    assert peer.call("pause") == (False, "the node is inactive")
    assert peer.change_state(Transition.TRANSITION_ACTIVATE)
    peer.wait_for(lambda: peer.publisher.get_subscription_count() == 1, "the subscription")
    assert peer.frame().message == "no hazard"
