# SPDX-License-Identifier: Apache-2.0
"""Life cycle, parameters from files, silence of the camera, and compressed frames, with the real node process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from lifecycle_msgs.msg import Transition
from ros_peer import RosPeer, image_message, pixels_of
from sensor_msgs.msg import CompressedImage

from densehybrid_ros.demo.node_process import NodeProcess
from densehybrid_ros.inference import Segmenter
from densehybrid_ros.networks import load_model

pytestmark = pytest.mark.ros

YAML = """
/**:
  ros__parameters:
    autostart: false
    input_reliability: reliable
    source_timeout: 1
    min_hazard_aera: 70
    roi: [0, 0, 1, 0, 1, 1]
    use_sim_time: false
"""


@pytest.fixture(scope="module")
def node(start_node: Callable[..., NodeProcess], tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    path = tmp_path_factory.mktemp("parameters") / "test.yaml"
    path.write_text(YAML, encoding="utf-8")
    with start_node(("--params-file", str(path))) as process:
        process.wait_for_log("autostart is off")
        yield process
        assert process.stop() == 0, process.log()


@pytest.fixture(scope="module")
def peer(node: NodeProcess) -> Iterator[RosPeer]:
    peer = RosPeer("/camera", reliable=False)
    yield peer
    peer.close()


def listeners(peer: RosPeer) -> int:
    return int(peer.node.count_subscribers("/camera"))


def activate(peer: RosPeer) -> None:
    """Brings the node up, if no test before has done so."""
    if peer.state() == "unconfigured":
        assert peer.change_state(Transition.TRANSITION_CONFIGURE)
    if peer.state() == "inactive":
        assert peer.change_state(Transition.TRANSITION_ACTIVATE)


def test_life_cycle(peer: RosPeer, node: NodeProcess) -> None:
    """All transitions, and what each brings and takes."""
    peer.wait_for(lambda: peer.diagnostics.get("lifecycle_state") == "unconfigured", "diagnostics while unconfigured")
    assert peer.diagnostics["anomaly_threshold"] == "unset"
    assert peer.get_parameter("anomaly_threshold") is None

    assert peer.change_state(Transition.TRANSITION_CONFIGURE)
    assert peer.state() == "inactive"
    assert peer.get_parameter("anomaly_threshold") == -3.0  # the card's default
    assert listeners(peer) == 0

    assert peer.change_state(Transition.TRANSITION_ACTIVATE)
    assert peer.state() == "active"
    peer.wait_for(lambda: listeners(peer) == 1, "the subscription")

    assert peer.change_state(Transition.TRANSITION_DEACTIVATE)
    peer.wait_for(lambda: listeners(peer) == 0, "the end of the subscription")
    assert peer.change_state(Transition.TRANSITION_CLEANUP)
    assert peer.state() == "unconfigured"
    peer.wait_for(lambda: peer.diagnostics.get("model") == "not loaded", "diagnostics")

    assert peer.change_state(Transition.TRANSITION_CONFIGURE)
    assert peer.change_state(Transition.TRANSITION_ACTIVATE)
    assert node.process.poll() is None


def test_unknown_keys_are_warned_about_by_name(node: NodeProcess) -> None:
    warnings = [line for line in node.log().splitlines() if "[WARN]" in line and "parameter" in line]
    assert len(warnings) == 1
    assert "'min_hazard_aera'" in warnings[0]
    assert "did you mean 'min_hazard_area'?" in warnings[0]


def test_profile_suits_the_installed_dds(node: NodeProcess) -> None:
    assert "XMLPARSER" not in node.log()


def test_values_of_the_file_are_taken(peer: RosPeer) -> None:
    assert peer.get_parameter("source_timeout") == 1.0
    assert list(peer.get_parameter("roi")) == [0.0, 0.0, 1.0, 0.0, 1.0, 1.0]


def test_silence_names_both_sides(peer: RosPeer, node: NodeProcess) -> None:
    """The node asks for reliable, the publisher offers best effort: nothing arrives, and the log says why."""
    activate(peer)
    node.wait_for_log("no frame on /camera")
    (warning,) = [line for line in node.log().splitlines() if "no frame on /camera" in line]
    publisher, _, ours = warning.partition("; this node: ")
    said = "publisher /test_peer: sensor_msgs/msg/Image, best_effort, volatile (does not match: ERROR: Best effort"
    assert said in publisher
    assert "WARNING" not in publisher
    assert ours == "sensor_msgs/msg/Image, reliable, volatile, depth 1"
    peer.wait_for(lambda: "no frame on /camera" in peer.diagnostics["message"], "the warning in /diagnostics")
    assert peer.diagnostic_levels[-1] == b"\x01"


def test_shutdown_transition(peer: RosPeer) -> None:
    activate(peer)
    assert peer.change_state(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert peer.state() == "finalized"
    peer.wait_for(lambda: listeners(peer) == 0, "the end of the subscription")


def test_compressed_frames_of_a_second_camera(start_node: Callable[..., NodeProcess], seeded_model: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    _, encoded = cv2.imencode(".png", image[:, :, ::-1])
    png = encoded.tobytes()
    remap = ("-r", "__ns:=/packed", "-r", "perception:~/input/image:=/packed_camera")
    with start_node(remap, input_reliability="reliable") as node:
        node.wait_until_active()
        peer = RosPeer("/packed_camera", CompressedImage, prefix="/packed")
        try:
            peer.wait_for(lambda: peer.publisher.get_subscription_count() == 1, "the node's subscription")
            peer.wait_for(lambda: "received" in peer.diagnostics, "diagnostics")
            # Its statuses have a name of their own.
            assert peer.diagnostic_name == "/packed/perception: frames"
            message = CompressedImage(format="rgb8; png compressed bgr8", data=png)
            message.header = image_message(image, "rgb8", number=5).header
            peer.send(message)
            peer.send(message)  # the first may come before the outputs are connected
            expected = Segmenter(load_model(seeded_model), "eager", "cpu")(image, -3.0)
            np.testing.assert_array_equal(pixels_of(peer.result("open_set", 5)), expected.open_set)
            before = peer.settle()
            peer.send(CompressedImage(header=message.header, format="png", data=png[:-20]))
            assert peer.settle()["rejected"] == before["rejected"] + 1
            assert "is cut short" in peer.diagnostics["last_rejected"]
        finally:
            peer.close()
