# SPDX-License-Identifier: Apache-2.0
"""The real node process with a stand-in for the network: what its alerts tell a planner in each state.

The rows of the table in docs/operations.md are tested here, as far as they need the node.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from colour_node import CONFIDENCE, HIGH, NOT_CONFIDENT, NOT_LIKED, draw
from hazard_peer import BOX, CAMERA, HORIZON, STALE, Alert, HazardPeer, camera_info, disparity_image, foot_of
from lifecycle_msgs.msg import Transition
from ros_peer import image_message

from densehybrid_ros.bags.messages import header_message
from densehybrid_ros.demo.node_process import NodeProcess
from densehybrid_ros.nodes.hazard_messages import DETECTIONS, LABEL_INFO
from densehybrid_ros.nodes.messages import is_installed, message_class, qos
from densehybrid_ros.perception.ground import POINT

pytestmark = pytest.mark.ros

OK, WARN, ERROR = 0, 1, 2
REMAPPINGS = {f"~/input/{name}": f"/{name}" for name in ("camera_info", "disparity", "odometry")}
PARAMETERS = {
    "trigger_count": 2,
    "trigger_window": 3,
    "release_count": 2,
    "min_hazard_area": 20,
    "source_timeout": 60.0,
    "max_age": 0.0,
    "disparity_tolerance": 0.01,
    "warn_distance": 50.0,  # before the one that may not exceed it
    "error_distance": 10.0,
    "ego_speed": 0.0,
    "camera_height": 0.0,
    "camera_pitch": 0.0,
}
ROAD = draw(160, 320, HORIZON)


@pytest.fixture(scope="module")
def peer(start_colour_node: Callable[..., NodeProcess], tmp_path_factory: Any) -> Iterator[HazardPeer]:
    model = tmp_path_factory.mktemp("model") / "model"
    remappings = {"~/input/image": "/camera", **REMAPPINGS}
    with closing(HazardPeer()) as peer, start_colour_node(remappings, **PARAMETERS, model=str(model)) as node:
        peer.wait_for_alert("the node is loading the model")
        model.touch()
        node.wait_until_active()
        stale = peer.wait_for_alert("no frame on /camera was answered yet")
        assert "hazard_count" not in stale.values
        publishers = (peer.publisher, peer.camera_info, peer.disparity, peer.odometry)
        peer.wait_for(lambda: all(item.get_subscription_count() == 1 for item in publishers), "the node's inputs")
        peer.connect_hazards()
        yield peer
        assert node.stop() == 0, node.log()


@pytest.fixture(autouse=True)
def clear(peer: HazardPeer) -> None:
    """No hazard is active, the parameters are as at the start, and calibration and odometry say nothing."""
    for name, value in PARAMETERS.items():
        assert peer.set_parameter(name, value) == (True, "")
    peer.frame_until(lambda alert: alert.values["hazard_count"] == alert.values["candidate_count"] == "0")


def with_camera(peer: HazardPeer, problem: str = "", **changes: object) -> None:
    """Mounts the camera and sends camera_info until a frame is judged by it; the two come on topics of their own."""
    assert peer.set_parameter("camera_height", CAMERA.mount_height)[0]
    assert peer.set_parameter("camera_pitch", CAMERA.pitch)[0]
    message = camera_info(**changes)

    def is_judged_by_it(alert: Alert) -> bool:
        named = alert.values["problems"]
        return problem in named if problem else "camera_info" not in named

    peer.frame_until(is_judged_by_it, before=lambda: peer.camera_info.publish(message))


def test_hazards_of_unknown_distance_come_go_and_are_held(peer: HazardPeer) -> None:
    with_camera(peer, "camera_info: focal lengths are 0 and 0 px", k=np.zeros(9), p=np.zeros(12))
    first = peer.frame(BOX)
    assert (first.level, first.message, first.values["candidate_count"]) == (OK, "no hazard", "1")
    alert = peer.frame(BOX)
    assert (alert.level, alert.message, alert.header) == (WARN, "1 hazard, distance unknown", peer.header())
    (hazard,) = alert.hazards
    assert (hazard["state"], hazard["source"], hazard["distance_m"]) == ("active", "none", "nan")
    assert tuple(int(hazard[f"box_{side}"]) for side in ("left", "top", "width", "height")) == BOX
    assert float(hazard["probability"]) == pytest.approx(CONFIDENCE.probability(HIGH), abs=1e-3)
    peer.wait_for(lambda: "focal lengths are 0" in str(peer.diagnostics), "the problem in /diagnostics")
    held = peer.frame()
    assert (held.values["hazard_count"], held.hazards[0]["missed_frames"]) == ("1", "1")
    cleared = peer.frame()
    assert (cleared.level, cleared.values["hazard_count"]) == (OK, "0")
    assert [(item["id"], item["state"]) for item in cleared.hazards] == [(hazard["id"], "lost")]


def test_ground_plane_gives_position_in_all_outputs(peer: HazardPeer) -> None:
    with_camera(peer)
    alert = peer.frames(3, BOX)
    x, y, z = foot_of(BOX)
    (hazard,) = alert.hazards
    assert hazard["source"] == "ground_plane"
    assert hazard["base_frame"] == "ground below the camera"
    ahead = np.sqrt(y * y + z * z - CAMERA.mount_height**2)
    wanted = {"distance_m": z, "lateral_m": x, "width_m": BOX[2] * z / CAMERA.fx}
    wanted |= {"optical_x_m": x, "optical_y_m": y, "optical_z_m": z}
    wanted |= {"base_x_m": ahead, "base_y_m": -x, "base_z_m": 0.0}
    assert {key: float(hazard[key]) for key in wanted} == pytest.approx(wanted, abs=0.05)
    cloud = peer.result("hazard_points", peer.number)
    assert cloud.header == peer.header()
    kinds = [(field.name, "<u4" if field.name == "id" else "<f4") for field in cloud.fields]
    points = np.frombuffer(cloud.data, dtype=np.dtype(kinds))
    assert set(points["id"]) == {int(hazard["id"])}
    assert points["x"].mean() == pytest.approx(x, abs=0.05)
    np.testing.assert_allclose(points["z"], z, atol=0.05)
    _, box, label = peer.result("hazard_markers", peer.number).markers
    assert (box.id, box.lifetime.sec) == (int(hazard["id"]), 60)
    assert box.pose.position.z == pytest.approx(z, abs=0.05)
    assert label.text.startswith(f"#{hazard['id']}  {float(hazard['distance_m']):.1f} ± ")
    confidence = np.frombuffer(peer.result("confidence", peer.number).data, np.uint8).reshape(160, 320)
    assert confidence[100, 160] == round(255 * CONFIDENCE.probability(HIGH))
    assert confidence[20, 20] == round(255 * CONFIDENCE.probability(-HIGH))


def test_a_costmap_gets_points_and_masks_of_one_size(peer: HazardPeer) -> None:
    names = ("ground_points", "ground_open_set", "ground_class_confidence")
    for name in names:
        peer.received[name] = {}
        peer.subscribe(name)
    reason = "ground_points: not published: needs ~/input/camera_info and the mount"
    peer.frame_until(lambda _: bool(peer.received["ground_open_set"]) and reason in str(peer.diagnostics), BOX)
    assert not peer.received["ground_points"]
    with_camera(peer)
    peer.frame_until(lambda _: bool(peer.received["ground_points"]), BOX)
    assert peer.set_parameter("points_decimation", 1) == (True, "")
    peer.frame(BOX)
    cloud, *images = (peer.result(name, peer.number) for name in names)
    assert cloud.header == peer.header()
    assert {(item.height, item.width) for item in (cloud, *images)} == {(160, 320)}
    assert [(field.name, field.offset) for field in cloud.fields] == list(
        zip(("x", "y", "z", "class", "confidence"), (0, 4, 8, 12, 13), strict=True)
    )
    assert (cloud.point_step, cloud.row_step, cloud.is_dense) == (16, 16 * 320, False)
    points = np.frombuffer(cloud.data, POINT).reshape(160, 320)
    open_set, class_confidence = (np.frombuffer(image.data, np.uint8).reshape(160, 320) for image in images)
    np.testing.assert_array_equal(points["class"], open_set)
    assert open_set[100, 160] == 19
    assert points["confidence"][100, 160] == class_confidence[100, 160] == round(255 * CONFIDENCE.probability(HIGH))
    assert np.isnan(points["z"][20, 160])
    x, _, z = foot_of((160, 100, 1, 1))  # half a pixel below it
    assert points["z"][100, 160] == pytest.approx(z, rel=0.02)
    assert points["x"][100, 160] / points["z"][100, 160] == pytest.approx(x / z, abs=1e-5)


@pytest.mark.skipif(not is_installed(DETECTIONS), reason="vision_msgs is not installed")
def test_vision_messages_are_published(peer: HazardPeer) -> None:
    detections: list[Any] = []
    labels: list[Any] = []
    for message, topic, profile, kept in (
        (DETECTIONS, "hazards", qos(5), detections),
        (LABEL_INFO, "label_info", qos(1, latched=True), labels),
    ):
        peer.node.create_subscription(message_class(message), f"/perception/output/{topic}", kept.append, profile)
    peer.wait_for(lambda: bool(labels), "label_info, which was sent before")
    assert labels[0].class_map[-1].class_name == "unknown"
    peer.frame_until(lambda _: bool(detections and detections[-1].detections), BOX)
    box = detections[-1].detections[0].bbox
    assert (box.size_x, box.size_y) == BOX[2:]


def test_disparity_is_used_where_it_fits(peer: HazardPeer) -> None:
    """Of the right stamp it is used; late, it is named, and the ground plane counts instead."""
    with_camera(peer)
    truth = 9.0  # not what the ground plane says
    pixels = np.zeros((160, 320), np.float32)
    pixels[80:120, 140:190] = CAMERA.fx * 0.21 / truth

    def judged(source: str, problem: str, late: float) -> float:
        """The distance once a frame has been judged by this source and with this problem."""

        def is_so(alert: Alert) -> bool:
            sources = [hazard["source"] for hazard in alert.hazards if hazard["missed_frames"] == "0"]
            return sources == [source] and problem in alert.values["problems"]

        def send() -> None:
            peer.disparity.publish(disparity_image(pixels, peer.stamp(1.0 + late)))

        return float(peer.frame_until(is_so, BOX, before=send).hazards[0]["distance_m"])

    assert judged("disparity", "none", 0.0) == pytest.approx(truth, abs=0.05)
    judged("ground_plane", "disparity: none within 0.01 s of the frame", 0.5)
    peer.wait_for(lambda: "disparity: none within" in str(peer.diagnostics), "the problem in /diagnostics")


def test_camera_info_of_another_frame_is_not_used(peer: HazardPeer) -> None:
    message = camera_info(header=header_message(0, "another_camera"))
    problem = "it is of frame 'another_camera', the image of 'optical'"
    alert = peer.frame_until(
        lambda alert: problem in alert.values["problems"], before=lambda: peer.camera_info.publish(message)
    )
    assert alert.level == OK


def test_thresholds_are_live(peer: HazardPeer) -> None:
    with_camera(peer)
    distance = foot_of(BOX)[2]
    assert peer.set_parameter("error_distance", 1.0)[0]
    assert peer.frames(3, BOX).level == WARN
    assert peer.set_parameter("warn_distance", distance - 2.0)[0]
    assert peer.frame(BOX).level == OK
    # By speed: from odometry, else from the parameter.
    assert peer.set_parameter("ego_speed", distance / 1.0)[0]
    assert peer.frame(BOX).level == ERROR
    slow = f"{distance / 100.0:.3f}"
    alert = peer.frame_until(
        lambda alert: alert.values["ego_speed_mps"] == slow, BOX, before=lambda: peer.speed(distance / 100.0)
    )
    assert alert.level == OK
    peer.frame_until(lambda alert: alert.values["ego_speed_mps"] == "0.000", BOX, before=lambda: peer.speed(0.0))


def test_after_a_new_start_of_the_tracks_nothing_is_clear_before_it_is_confirmed(peer: HazardPeer) -> None:
    peer.number += 30
    assert peer.frames(2, BOX).values["hazard_count"] == "1"
    peer.number -= 25
    alert = peer.frame(BOX)
    assert "back" in alert.values["problems"]
    assert (alert.level, alert.values["candidate_count"]) == (STALE, "1")
    assert alert.message == "not known yet: the first frames have hazards that are not confirmed"
    peer.number += 30
    peer.answer(ROAD)
    alert = peer.answer(draw(120, 240, 50, (100, 70, 30, 20)))
    assert "the image is 240x120 now" in alert.values["problems"]
    assert alert.level == STALE


@pytest.mark.parametrize(
    ("pixels", "encoding", "reason"),
    [
        (np.zeros((NOT_LIKED, 16, 3), np.uint8), "rgb8", "the frame was failed: RuntimeError: a frame that no model"),
        (ROAD, "nonsense", "the frame was rejected: encoding 'nonsense'"),
    ],
)
def test_a_lost_frame_is_answered_at_once(peer: HazardPeer, pixels: np.ndarray, encoding: str, reason: str) -> None:
    alert = peer.answer(pixels, encoding)
    assert (alert.level, alert.header) == (STALE, peer.header())
    assert alert.message.startswith(reason)
    peer.wait_for(lambda: reason.partition(": ")[2] in str(peer.diagnostics), "the reason in the diagnostics")
    assert peer.answer(ROAD).level == OK


def test_an_output_that_fails_takes_neither_alert_nor_masks_with_it(peer: HazardPeer) -> None:
    peer.answer(np.full((NOT_CONFIDENT, 16, 3), 9, np.uint8))
    assert peer.answer(np.full((NOT_CONFIDENT, 16, 3), 9, np.uint8)).level == OK
    peer.result("semantic", peer.number)
    peer.result("overlay", peer.number)
    peer.wait_for(lambda: "output confidence" in peer.diagnostics.get("last_failed", ""), "the failure")


def test_old_and_frozen_stamps_are_named(peer: HazardPeer) -> None:
    assert peer.set_parameter("max_age", 0.5)[0]
    message = image_message(ROAD, "rgb8")

    def answered(age: float) -> Alert:
        known = len(peer.alerts)
        stamp = time.time_ns() - round(age * 1e9)
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
        peer.send(message)
        peer.wait_for(lambda: any(a.header.stamp == message.header.stamp for a in peer.alerts[known:]), "the answer")
        return next(alert for alert in peer.alerts[known:] if alert.header.stamp == message.header.stamp)

    def answer_again() -> Alert:
        """Sends a frame with the stamp of the last one."""
        peer.number -= 1
        peer.received["hazard_alert"].clear()
        return peer.answer(ROAD)

    answered(0.0)
    assert answered(0.0).level == OK
    old = answered(3.0)
    assert old.level == STALE
    assert "behind the clock" in old.message
    assert old.values["hazard_count"] == "0"  # what was seen then is told all the same
    peer.wait_for(lambda: "behind the clock" in str(peer.diagnostics), "the diagnostics")
    assert peer.answer(ROAD).level == OK  # of another year
    end = time.monotonic() + 20.0
    while answer_again().level == OK:
        assert time.monotonic() < end


def test_silence_turns_the_alert_stale(peer: HazardPeer) -> None:
    assert peer.set_parameter("source_timeout", 0.5)[0]
    for _ in range(2):  # it repeats
        stale = peer.wait_for_alert("no frame on /camera")
        assert float(stale.values["silence_s"]) > 0.5
    # Frames that come but can't be answered do not read as all clear either.
    known = len(peer.alerts)

    def failing() -> bool:
        peer.send_image(np.zeros((NOT_LIKED, 16, 3), np.uint8))
        return any("frames come, but none was answered" in alert.message for alert in peer.alerts[known:])

    peer.wait_for(failing, "the failure in the alert")
    assert all(alert.level == STALE for alert in peer.alerts[known:])
    assert peer.set_parameter("source_timeout", 60.0)[0]
    assert peer.frame().level != STALE


def test_switching_the_alert_off_is_its_last_word(peer: HazardPeer) -> None:
    known = len(peer.alerts)
    assert peer.set_parameter("publish_hazard_alert", False)[0]
    peer.wait_for(lambda: any("publish_hazard_alert is off" in a.message for a in peer.alerts[known:]), "its last word")
    known = len(peer.alerts)
    time.sleep(1.0)
    assert len(peer.alerts) == known
    assert peer.set_parameter("publish_hazard_alert", True)[0]
    assert peer.answer(ROAD).level == OK


def test_pausing_and_deactivating_say_so_and_tracks_start_over(peer: HazardPeer) -> None:
    peer.frames(2, BOX)
    assert peer.call("pause") == (True, "")
    stale = peer.wait_for_alert("the node is paused")
    assert "hazard_count" not in stale.values
    peer.wait_for(lambda: peer.diagnostics["lifecycle_state"] == "paused", "diagnostics")
    peer.wait_for(lambda: peer.publisher.get_subscription_count() == 0, "the end of the subscription")
    assert peer.call("resume") == (True, "")
    peer.wait_for(lambda: peer.publisher.get_subscription_count() == 1, "the subscription")
    assert peer.frame(BOX).values["hazard_count"] == "0"
    assert peer.change_state(Transition.TRANSITION_DEACTIVATE)
    peer.wait_for_alert("the node is inactive")
    assert peer.call("pause") == (False, "the node is inactive")
    assert peer.change_state(Transition.TRANSITION_ACTIVATE)
    peer.wait_for(lambda: peer.publisher.get_subscription_count() == 1, "the subscription")
    assert peer.frame().message == "no hazard"
