# SPDX-License-Identifier: Apache-2.0
"""The camera's subscription: what it takes, and what it says of publishers that it does not hear."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.serialization import serialize_message
from ros_peer import image_message
from sensor_msgs.msg import CompressedImage, Image

from densehybrid_ros.demo.spinning import spinning_node, wait_until
from densehybrid_ros.nodes.diagnostics import FrameStatistics
from densehybrid_ros.nodes.inputs import CameraTopic
from densehybrid_ros.perception.settings import Settings

pytestmark = pytest.mark.ros

TOPIC = "/camera_test/input/image"


@pytest.fixture
def node(ros: None) -> Iterator[Node]:
    overrides = [Parameter(f"qos_overrides.{TOPIC}.subscription.depth", value=3)]
    node = Node("camera_test", parameter_overrides=overrides, use_global_arguments=False)
    yield node
    node.destroy_node()


def open_camera(node: Node, **settings: str) -> CameraTopic:
    return CameraTopic(node, Settings(**settings), FrameStatistics(), lambda frame: False)


def listened_to(node: Node) -> list[str]:
    return [item.topic_type for item in node.get_subscriptions_info_by_topic(TOPIC)]


def test_auto_takes_what_is_sent_and_raw_where_both_are(node: Node) -> None:
    camera = open_camera(node)

    def takes(message_type: str) -> bool:
        camera.follow()
        return listened_to(node) == [message_type]

    # The drivers have contexts of their own: within one, Fast DDS gives a topic one type.
    with spinning_node("driver") as driver, spinning_node("other_driver") as other_driver:
        assert wait_until(lambda: takes("sensor_msgs/msg/Image"), 20)
        driver.create_publisher(CompressedImage, TOPIC, 1)
        assert wait_until(lambda: takes("sensor_msgs/msg/CompressedImage"), 20)
        other_driver.create_publisher(Image, TOPIC, 1)
        assert wait_until(lambda: takes("sensor_msgs/msg/Image"), 20)
    camera.close()


def test_only_what_keeps_frames_away_is_called_a_mismatch(node: Node) -> None:
    camera = open_camera(node, input_reliability="reliable")
    node.create_publisher(Image, TOPIC, 1)  # reliable; the life cycle's test has a mismatch
    assert wait_until(lambda: bool(node.get_publishers_info_by_topic(TOPIC)), 20)
    text = camera._describe(node.get_publishers_info_by_topic(TOPIC)[0])
    assert "(compatible: frames may be lost" in text
    assert "WARNING" not in text
    assert "depth 0" not in text


def test_bytes_that_are_no_image_are_rejected_and_missing_numbers_counted(node: Node) -> None:
    statistics, taken = FrameStatistics(), []
    topic = CameraTopic(node, Settings(), statistics, lambda frame: bool(taken.append(frame)))
    assert node.get_parameter(f"qos_overrides.{TOPIC}.subscription.depth").value == 3
    sent = image_message(np.zeros((4, 6, 3), np.uint8), "rgb8")
    data = bytes(serialize_message(sent))
    for content in (data[:30], b"", data):
        topic._store(content)
    counts = statistics.counts()
    assert (counts.received, counts.rejected) == (3, 2)
    assert "no sensor_msgs/msg/Image" in statistics.reasons()["rejected"]
    assert [frame.header for frame in taken] == [sent.header]
    node.create_publisher(Image, TOPIC, 1)
    assert wait_until(lambda: node.count_publishers(TOPIC) == 1, 20)
    # With gaps of 2 and 1; then the publisher starts again, another one comes, and one without numbers.
    for number in (5, 8, 9, 11, 1, 2, 5000, 5001, None, 9):
        topic._store_numbered(data, {"publication_sequence_number": number})
    assert statistics.counts().missed == 3
