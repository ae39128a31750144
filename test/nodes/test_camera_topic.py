"""The camera's topic: bytes that are no image are counted as rejected frames, and the next frame is taken."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.lifecycle import LifecycleNode
from rclpy.serialization import serialize_message
from ros_peer import image_message

from densehybrid_ros.nodes.frame import CameraFrame
from densehybrid_ros.nodes.inputs import CameraTopic
from densehybrid_ros.nodes.statistics import FrameStatistics
from densehybrid_ros.perception.settings import Settings

pytestmark = pytest.mark.ros


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
