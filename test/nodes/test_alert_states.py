# SPDX-License-Identifier: Apache-2.0
"""Every state in which nothing is known says so on the alert's topic: the rows of the table in docs/operations.md."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from colour_node import NOT_CONFIDENT, NOT_LIKED, draw
from hazard_peer import BOX, HORIZON, STALE, Alert, HazardPeer, camera_info
from ros_peer import image_message

from densehybrid_ros.demo.node_process import NodeProcess

pytestmark = pytest.mark.ros

OK = 0
PARAMETERS = {
    "input_reliability": "reliable",
    "trigger_count": 3,
    "trigger_window": 3,
    "release_count": 1,
    "min_hazard_area": 20,
    "source_timeout": 60.0,
    "max_age": 0.0,
    "camera_height": 1.22,
}
ROAD = draw(160, 320, HORIZON)


def start_colour_node(**parameters: Any) -> NodeProcess:
    here = str(Path(__file__).parents[1] / "helpers")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])}
    remappings = {"~/input/image": "/camera", "~/input/camera_info": "/camera_info"}
    return NodeProcess(PARAMETERS | parameters, remappings, environment, module="colour_node")


@pytest.fixture(scope="module")
def peer(ros: None) -> Iterator[HazardPeer]:
    peer = HazardPeer()
    with start_colour_node() as node:
        node.wait_until_active()
        peer.wait_for(lambda: peer.publisher.get_subscription_count() == 1, "the node's input")
        yield peer
        assert node.stop() == 0, node.log()
    peer.close()


def answer(peer: HazardPeer, pixels: np.ndarray) -> Alert:
    """Sends a frame and returns the alert that carries its header."""
    peer.send_image(pixels)
    return Alert(peer.result("hazard_alert", peer.number))


def test_before_the_first_frame_nothing_is_known(peer: HazardPeer) -> None:
    alert = peer.wait_for_alert("no frame on /camera was answered yet")
    assert "hazard_count" not in alert.values


def test_the_first_frames_do_not_clear_what_they_can_not_confirm(peer: HazardPeer) -> None:
    alerts = [answer(peer, draw(160, 320, HORIZON, BOX)) for _ in range(3)]
    assert [alert.level for alert in alerts[:2]] == [STALE, STALE]
    assert "not confirmed" in alerts[0].message
    assert alerts[0].values["candidate_count"] == "1"
    assert alerts[2].values["hazard_count"] == "1"
    assert answer(peer, ROAD).message == "no hazard"


def test_another_size_begins_again(peer: HazardPeer) -> None:
    answer(peer, ROAD)
    alert = answer(peer, draw(120, 240, 50, (100, 70, 30, 20)))
    assert "the image is 240x120 now" in alert.values["problems"]
    assert alert.level == STALE
    answer(peer, ROAD)
    assert answer(peer, ROAD).level == OK


@pytest.mark.parametrize(
    ("pixels", "encoding", "reason"),
    [
        (np.zeros((NOT_LIKED, 16, 3), np.uint8), "rgb8", "the frame was failed: RuntimeError: a frame that no model"),
        (ROAD, "nonsense", "the frame was rejected: encoding 'nonsense'"),
    ],
)
def test_a_lost_frame_is_answered_at_once(peer: HazardPeer, pixels: np.ndarray, encoding: str, reason: str) -> None:
    assert answer(peer, ROAD).level == OK
    message = image_message(pixels, encoding)
    peer.number += 1
    message.header = peer.header()
    peer.send(message)
    alert = Alert(peer.result("hazard_alert", peer.number))
    assert alert.level == STALE
    assert alert.message.startswith(reason)
    assert alert.header == message.header
    peer.wait_for(lambda: reason.partition(": ")[2] in str(peer.diagnostics), "the reason in the diagnostics")
    assert answer(peer, ROAD).level == OK


def test_an_output_that_fails_takes_neither_alert_nor_masks_with_it(peer: HazardPeer) -> None:
    alert = answer(peer, np.full((NOT_CONFIDENT, 16, 3), 9, np.uint8))
    assert alert.level == OK
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

    answered(0.0)
    assert answered(0.0).level == OK
    old = answered(3.0)
    assert old.level == STALE
    assert "behind the clock" in old.message
    assert old.values["hazard_count"] == "0"  # what was seen then is told all the same
    peer.wait_for(lambda: "behind the clock" in str(peer.diagnostics), "the diagnostics")
    # A topic that repeats one stamp of another year.
    first = answer(peer, ROAD)
    assert first.level == OK
    end = time.monotonic() + 20.0
    while answer_again(peer).level == OK:
        assert time.monotonic() < end
    assert peer.set_parameter("max_age", 0.0)[0]
    assert answer(peer, ROAD).level == OK


def answer_again(peer: HazardPeer) -> Alert:
    """Sends a frame with the stamp of the last one."""
    peer.number -= 1
    peer.received["hazard_alert"].clear()
    return answer(peer, ROAD)


def test_camera_info_of_another_frame_is_not_used(peer: HazardPeer) -> None:
    message = camera_info()
    message.header.frame_id = "another_camera"
    alert = peer.frame_until(
        lambda alert: "it is of frame 'another_camera', the image of 'optical'" in alert.values["problems"],
        before=lambda: peer.camera_info.publish(message),
    )
    assert alert.level == OK
    message.header.frame_id = "/optical"
    peer.frame_until(lambda alert: alert.values["problems"] == "none", before=lambda: peer.camera_info.publish(message))


def test_switching_the_alert_off_is_its_last_word(peer: HazardPeer) -> None:
    assert answer(peer, ROAD).level == OK
    known = len(peer.alerts)
    assert peer.set_parameter("publish_hazard_alert", False)[0]
    peer.wait_for(lambda: any("publish_hazard_alert is off" in a.message for a in peer.alerts[known:]), "its last word")
    known = len(peer.alerts)
    time.sleep(1.0)
    assert len(peer.alerts) == known
    assert peer.set_parameter("publish_hazard_alert", True)[0]
    assert answer(peer, ROAD).level == OK


def test_a_model_that_loads_says_so(ros: None, tmp_path: Path) -> None:
    peer = HazardPeer()
    model = tmp_path / "model"
    try:
        with start_colour_node(model=str(model)) as node:
            peer.wait_for_alert("the node is loading the model")
            model.touch()
            node.wait_until_active()
    finally:
        peer.close()
