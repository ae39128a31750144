# SPDX-License-Identifier: Apache-2.0
"""Life cycle, parameters from files, silence of the camera, services and compressed frames, with the real node process.

The lifecycle manager does what Nav2's does, the bond included where its messages are installed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from ros_peer import RosPeer, image_message, pixels_of
from sensor_msgs.msg import CompressedImage

from densehybrid_ros.demo.node_process import NodeProcess
from densehybrid_ros.inference import Segmenter
from densehybrid_ros.nodes.bond import STATUS
from densehybrid_ros.nodes.messages import is_installed, message_class

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
RIGHT = Parameter(name="overlay_opacity", value=ParameterValue(type=3, double_value=0.25))
WRONG = Parameter(name="overlay_opacity", value=ParameterValue(type=99))
WAYS = {"unconfigured": (), "inactive": (1,), "active": (1, 3)}
"""State -> the transitions that lead there from unconfigured."""
BACK = {"unconfigured": (), "inactive": (2,), "active": (4, 2)}


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
    with closing(RosPeer("/camera", reliable=False)) as peer:
        yield peer


def bring(peer: RosPeer, state: str) -> None:
    """Brings the node into this state, whatever tests before have done."""
    if (now := peer.state()) != state:
        for transition in (*BACK[now], *WAYS[state]):
            assert peer.change_state(transition)


class ManagersBond:
    """The manager's side: it is formed by the node's heartbeat, and broken by the node's word or by its own."""

    def __init__(self, peer: RosPeer) -> None:
        self._peer, self._kind = peer, message_class(STATUS)
        self.heard: list[Any] = []
        self._publisher = peer.node.create_publisher(self._kind, "/bond", 10)
        peer.node.create_subscription(self._kind, "/bond", self._hear, 100)

    @property
    def is_broken(self) -> bool:
        return not all(status.active for status in self.heard)

    def form(self) -> None:
        self.tell(True)
        self._peer.wait_for(lambda: any(status.active for status in self.heard), "the node's heartbeat")
        self.tell(True)
        assert not self.is_broken

    def tell(self, active: bool) -> None:
        self._publisher.publish(self._kind(id="perception", instance_id="manager", active=active))

    def _hear(self, status: Any) -> None:
        if status.id == "perception" and status.instance_id != "manager":
            self.heard.append(status)


def test_life_cycle(peer: RosPeer, node: NodeProcess) -> None:
    """All transitions, and what each brings and takes."""

    def listeners() -> int:
        return int(peer.node.count_subscribers("/camera"))

    bring(peer, "unconfigured")
    peer.wait_for(lambda: peer.diagnostics.get("lifecycle_state") == "unconfigured", "diagnostics while unconfigured")
    assert peer.diagnostics["model"] == "not loaded"
    assert peer.change_state(Transition.TRANSITION_CONFIGURE)
    assert peer.state() == "inactive"
    assert peer.get_parameter("anomaly_threshold") == -3.0  # the card's default
    assert listeners() == 0
    for broken_by_manager in (False, True):
        bond = ManagersBond(peer) if is_installed(STATUS) else None
        assert peer.change_state(Transition.TRANSITION_ACTIVATE)
        peer.wait_for(lambda: listeners() == 1, "the subscription")
        if bond is not None:
            bond.form()
            if broken_by_manager:
                time.sleep(0.5)  # the node must have heard of the manager
                bond.tell(False)
                peer.wait_for(lambda bond=bond: bond.is_broken, "the answer to the manager's end")
        assert peer.change_state(Transition.TRANSITION_DEACTIVATE)
        peer.wait_for(lambda: listeners() == 0, "the end of the subscription")
        if bond is not None:
            peer.wait_for(lambda bond=bond: bond.is_broken, "the end of the bond")
    assert peer.change_state(Transition.TRANSITION_CLEANUP)
    assert peer.state() == "unconfigured"
    peer.wait_for(lambda: peer.diagnostics.get("model") == "not loaded", "diagnostics")


def test_the_file_is_taken_and_unknown_keys_are_named(peer: RosPeer, node: NodeProcess) -> None:
    warnings = [line for line in node.log().splitlines() if "[WARN]" in line and "parameter" in line]
    assert len(warnings) == 1
    assert "'min_hazard_aera'" in warnings[0]
    assert "did you mean 'min_hazard_area'?" in warnings[0]
    assert "XMLPARSER" not in node.log()  # the profile suits the installed DDS
    assert peer.get_parameter("source_timeout") == 1.0
    assert list(peer.get_parameter("roi")) == [0.0, 0.0, 1.0, 0.0, 1.0, 1.0]


def test_silence_names_both_sides(peer: RosPeer, node: NodeProcess) -> None:
    """The node asks for reliable, the publisher offers best effort: nothing arrives, and the log says why."""
    bring(peer, "active")
    node.wait_for_log("no frame on /camera")
    warning = next(line for line in node.log().splitlines() if "no frame on /camera" in line)
    publisher, _, ours = warning.partition("; this node: ")
    said = "publisher /test_peer: sensor_msgs/msg/Image, best_effort, volatile (does not match: ERROR: Best effort"
    assert said in publisher
    assert ours == "sensor_msgs/msg/Image, reliable, volatile, depth 1"
    peer.wait_for(lambda: "no frame on /camera" in peer.diagnostics["message"], "the warning in /diagnostics")
    assert peer.diagnostic_levels[-1] == b"\x01"


def test_requests_that_rclpy_raises_on_get_an_answer(peer: RosPeer) -> None:
    """An unknown or forbidden transition, and an unknown type of a parameter."""
    state = peer.state()
    for transition in (Transition(id=200), Transition(label="nonsense"), Transition(id=8)):
        assert not peer.ask(ChangeState, "change_state", transition=transition).success
        assert peer.state() == state
    answer = peer.ask(SetParameters, "set_parameters", parameters=[WRONG, RIGHT, WRONG, WRONG, RIGHT])
    assert [result.successful for result in answer.results] == [False, True, False, False, True]
    assert answer.results[0].reason == "99 is not a valid Parameter.Type"
    result = peer.ask(SetParametersAtomically, "set_parameters_atomically", parameters=[RIGHT, WRONG]).result
    assert (result.successful, result.reason) == (False, "99 is not a valid Parameter.Type")


def test_compressed_frames_of_a_second_camera(start_node: Callable[..., NodeProcess], segmenter: Segmenter) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    png = cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()
    remap = ("-r", "__ns:=/packed", "-r", "perception:~/input/image:=/packed_camera")
    with start_node(remap, input_reliability="reliable") as node:
        node.wait_until_active()
        with closing(RosPeer("/packed_camera", CompressedImage, prefix="/packed")) as peer:
            peer.wait_for(lambda: peer.publisher.get_subscription_count() == 1, "the node's subscription")
            peer.wait_for(lambda: "received" in peer.diagnostics, "diagnostics")
            # Its statuses have a name of their own.
            assert peer.diagnostic_name == "/packed/perception: frames"
            message = CompressedImage(format="rgb8; png compressed bgr8", data=png)
            message.header = image_message(image, "rgb8", number=5).header
            peer.send(message)
            peer.send(message)  # the first may come before the outputs are connected
            expected = segmenter(image, -3.0)
            np.testing.assert_array_equal(pixels_of(peer.result("open_set", 5)), expected.open_set)
            before = peer.settle()
            peer.send(CompressedImage(header=message.header, format="png", data=png[:-20]))
            assert peer.settle()["rejected"] == before["rejected"] + 1
            assert "is cut short" in peer.diagnostics["last_rejected"]
            assert peer.change_state(Transition.TRANSITION_ACTIVE_SHUTDOWN)
            assert peer.state() == "finalized"
            peer.wait_for(lambda: peer.publisher.get_subscription_count() == 0, "the end of the subscription")
