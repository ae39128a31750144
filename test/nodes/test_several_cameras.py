# SPDX-License-Identifier: Apache-2.0
"""One node process with several cameras: each is answered on its own topics, judged and watched on its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from colour_node import NOT_LIKED, draw
from hazard_peer import BOX, CAMERA, HORIZON, STALE, Alert, HazardPeer, camera_info
from ros_peer import RosPeer, image_message, pixels_of

from densehybrid_ros.demo.node_process import NodeProcess
from densehybrid_ros.inference import Segmenter

pytestmark = pytest.mark.ros

OK = 0
CAMERAS = ("front", "left")
PARAMETERS = {
    "cameras": CAMERAS,
    "trigger_count": 1,
    "trigger_window": 1,
    "release_count": 1,
    "camera_height": CAMERA.mount_height,
    "camera_pitch": CAMERA.pitch,
}
ROAD = draw(160, 320, HORIZON)
SMALL_ROAD = draw(120, 240, 50)


@pytest.fixture(scope="module")
def peers(start_colour_node: Callable[..., NodeProcess]) -> Iterator[tuple[HazardPeer, HazardPeer]]:
    """What sends to each camera and hears its answers."""
    remappings = {f"~/{name}/input/image": f"/{name}" for name in CAMERAS}
    remappings |= {f"~/{name}/input/camera_info": f"/{name}_info" for name in CAMERAS}
    front, left = (HazardPeer(f"/{name}", name) for name in CAMERAS)
    with start_colour_node(remappings, **PARAMETERS) as node:
        node.wait_until_active()
        assert "input /front, /left" in node.log()
        for peer in (front, left):
            peer.wait_for_alert("was answered yet")
            peer.connect_hazards()
        yield front, left
        assert node.stop() == 0, node.log()
    for peer in (front, left):
        peer.close()


def answer(peer: HazardPeer, pixels: np.ndarray) -> Alert:
    """Sends a frame, with a corner that no other one has, and waits for its alert."""
    pixels = pixels.copy()
    pixels[0, 0] = 0, *divmod(peer.number % 2**16, 256)
    return peer.answer(pixels)


def test_each_camera_is_answered_on_its_own_topics(peers: tuple[HazardPeer, HazardPeer]) -> None:
    """Hazards of one camera are none of the other's, and their pictures may differ in size."""
    front, left = peers
    left.number += 1000
    for _ in range(3):
        front.send_image(draw(160, 320, HORIZON, BOX))
        left.send_image(SMALL_ROAD)
        seen, clear = (Alert(peer.result("hazard_alert", peer.number)) for peer in peers)
        assert (seen.header, clear.header) == (front.header(), left.header())
        assert (seen.values["hazard_count"], clear.values["hazard_count"]) == ("1", "0")
        assert pixels_of(front.result("semantic", front.number)).shape == (160, 320)
        assert pixels_of(left.result("semantic", left.number)).shape == (120, 240)
    assert left.number not in front.received["hazard_alert"]
    assert front.number not in left.received["hazard_alert"]
    for name, peer in zip(CAMERAS, peers, strict=True):
        assert peer.result("hazard_alert", peer.number).status[0].name == f"/perception/{name}: hazards"
        assert peer.settle()["rejected"] == 0
        assert peer.diagnostic_name == f"/perception/{name}: frames"


def test_camera_info_and_a_frame_that_fails_are_of_one_camera(peers: tuple[HazardPeer, HazardPeer]) -> None:
    front, left = peers
    front.frame_until(
        lambda alert: alert.values["problems"] == "none", before=lambda: front.camera_info.publish(camera_info())
    )
    assert "camera_info: none has arrived" in answer(left, ROAD).values["problems"]
    before = front.settle()["failed"]
    front.send_image(np.zeros((NOT_LIKED, 16, 3), np.uint8))
    assert answer(left, ROAD).level == OK
    assert Alert(front.result("hazard_alert", front.number)).message.startswith("the frame was failed")
    assert left.settle()["failed"] == 0
    assert front.settle()["failed"] == before + 1


def test_silence_of_one_camera_turns_its_own_alert_stale(peers: tuple[HazardPeer, HazardPeer]) -> None:
    front, left = peers
    assert answer(left, ROAD).level == OK
    assert answer(front, ROAD).level == OK
    known = [len(peer.alerts) for peer in peers]
    assert front.set_parameter("source_timeout", 1.0)[0]
    until = time.monotonic() + 60.0
    while not any("no frame on /left for" in alert.message for alert in left.alerts[known[1] :]):
        assert answer(front, ROAD).level == OK
        assert time.monotonic() < until
        time.sleep(0.05)
    assert left.alerts[-1].level == STALE
    assert not any("no frame" in alert.message for alert in front.alerts[known[0] :])
    left.wait_for(lambda: "no frame on /left" in left.diagnostics["message"], "the diagnostics")
    assert front.set_parameter("source_timeout", 60.0)[0]
    assert answer(left, ROAD).level == OK


def test_pausing_is_said_of_every_camera(peers: tuple[HazardPeer, HazardPeer]) -> None:
    assert peers[0].call("pause") == (True, "")
    for peer in peers:
        peer.wait_for_alert("the node is paused")
    assert peers[0].call("resume") == (True, "")
    for peer in peers:
        peer.wait_for(lambda peer=peer: peer.publisher.get_subscription_count() == 1, "the subscription")
        assert answer(peer, ROAD).level == OK


def test_masks_of_the_real_model_are_the_segmenters(
    start_node: Callable[..., NodeProcess], segmenter: Segmenter
) -> None:
    sizes = ((64, 128), (96, 64))
    with start_node(cameras=CAMERAS, input_reliability="reliable", camera_window=0.005) as node, ExitStack() as stack:
        node.wait_until_active()
        peers = [
            stack.enter_context(closing(RosPeer(f"/perception/{name}/input/image", camera=name))) for name in CAMERAS
        ]
        for peer in peers:
            peer.connect()
        for number in range(1, 4):
            images = [np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8) for size in sizes]
            for peer, image in zip(peers, images, strict=True):
                peer.send(image_message(image, "rgb8", number=number))
            for peer, image in zip(peers, images, strict=True):
                expected = segmenter(image, -3.0)
                for name in ("semantic", "anomaly_score", "open_set"):
                    np.testing.assert_array_equal(pixels_of(peer.result(name, number)), getattr(expected, name))
