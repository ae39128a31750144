"""The camera's topic: bytes that are no image are counted as rejected frames; what it says about a silence."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from ros_peer import image_message
from sensor_msgs.msg import Image

from densehybrid_ros.demo.spinning import wait_until
from densehybrid_ros.nodes.frame import CameraFrame
from densehybrid_ros.nodes.inputs import CameraTopic
from densehybrid_ros.nodes.statistics import FrameStatistics
from densehybrid_ros.perception.settings import Settings

pytestmark = pytest.mark.ros


@pytest.mark.parametrize("ours", ["best_effort", "reliable"])
@pytest.mark.parametrize("theirs", ["best_effort", "reliable"])
def test_only_a_publisher_that_can_not_match_is_said_not_to(
    ros: None, ours: str, theirs: str, capfd: pytest.CaptureFixture[str]
) -> None:
    node = Node(f"listener_{ours}_{theirs}")
    try:
        camera = CameraTopic(node, Settings(input_reliability=ours), FrameStatistics(), lambda frame: False)
        topic = node.resolve_topic_name("~/input/image")
        node.create_publisher(Image, topic, QoSProfile(depth=1, reliability=ReliabilityPolicy[theirs.upper()]))
        assert wait_until(lambda: bool(node.get_publishers_info_by_topic(topic)), 10.0)
        silence = camera.check(-1.0)
        assert silence is not None
        said = capfd.readouterr().err
        assert ("does not match" in said) == (ours == "reliable" and theirs == "best_effort")
        assert ("compatible: frames may be lost" in said) != ("does not match" in said)
    finally:
        node.destroy_node()


def test_bytes_that_are_no_image_are_rejected(ros: None) -> None:
    node, statistics = LifecycleNode("camera_topic_test"), FrameStatistics()
    taken: list[CameraFrame] = []
    topic = CameraTopic(node, Settings(), statistics, lambda frame: bool(taken.append(frame)))
    sent = image_message(np.zeros((4, 6, 3), np.uint8), "rgb8")
    data = bytes(serialize_message(sent))
    for content in (data[:30], b"", data):
        topic._store(content)
    counts = statistics.counts()
    assert (counts.received, counts.rejected) == (3, 2)
    assert "no sensor_msgs/msg/Image" in statistics.reasons()["rejected"]
    assert [frame.header for frame in taken] == [sent.header]
    node.destroy_node()
