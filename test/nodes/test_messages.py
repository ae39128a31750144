# SPDX-License-Identifier: Apache-2.0
"""Images published as bytes are those that the typed way makes."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.lifecycle import LifecycleNode
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from densehybrid_ros.demo.spinning import spinning_node, wait_until
from densehybrid_ros.nodes import messages
from densehybrid_ros.nodes.messages import Picture, PicturePublisher, image_message
from densehybrid_ros.nodes.outputs import IMAGE_QOS

pytestmark = pytest.mark.ros

ARRAYS = {
    "mono8": np.arange(35, dtype=np.uint8).reshape(5, 7),
    "32FC1": np.linspace(-9, 9, 35, dtype=np.float32).reshape(5, 7),
    "16UC1": np.arange(35, dtype=np.uint16).reshape(5, 7),
    "rgb8": np.arange(105, dtype=np.uint8).reshape(5, 7, 3),
    "bayer_rggb8": np.arange(35, dtype=np.uint8).reshape(5, 7),
}


def header(frame_id: str = "camera é") -> Header:
    header = Header(frame_id=frame_id)
    header.stamp.sec, header.stamp.nanosec = 2**31 - 1, 999_999_999
    return header


@pytest.mark.parametrize("frame_id", ["", "c", "ca", "cam", "camera é"])
@pytest.mark.parametrize("encoding", ARRAYS)
def test_bytes_are_those_of_the_typed_message(encoding: str, frame_id: str) -> None:
    picture = Picture(header(frame_id), ARRAYS[encoding], encoding)
    typed = Image(header=picture.header, height=5, width=7, encoding=encoding, step=picture.pixels.nbytes // 5)
    typed.data = list(picture.pixels.tobytes())
    ours, theirs = PicturePublisher().serialized(picture).tobytes(), serialize_message(typed)
    assert image_message(picture) == typed
    assert deserialize_message(ours, Image) == typed
    assert len(ours) == len(theirs)
    # Two fields may have up to three bytes between them, which theirs leave as they were in memory.
    differing = [place for place, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
    padding = -(len(frame_id.encode()) + 1) % 4 + -(len(encoding) + 2) % 4
    assert len(differing) <= padding
    assert all(ours[place] == 0 for place in differing)


def test_bytes_without_gaps_are_equal() -> None:
    picture = Picture(header("cam"), ARRAYS["16UC1"], "mono16")
    assert PicturePublisher().serialized(picture).tobytes() == serialize_message(image_message(picture))


def test_this_distribution_publishes_bytes() -> None:
    assert messages._PUBLISHES_BYTES


@pytest.mark.parametrize("as_bytes", [True, False])
def test_large_and_small_pictures_arrive_from_one_buffer(
    ros: None, as_bytes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "_PUBLISHES_BYTES", as_bytes)
    random = np.random.default_rng(0)
    sizes = ((300, 400), (5, 7), (1024, 2048), (5, 7))
    pictures = [Picture(header(f"{n}"), random.random(size, np.float32), "32FC1") for n, size in enumerate(sizes)]
    received: dict[str, Image] = {}
    node, sender = LifecycleNode("sender"), PicturePublisher()
    publisher = node.create_publisher(Image, "/pictures", IMAGE_QOS)
    with spinning_node("receiver") as receiver:
        receiver.create_subscription(Image, "/pictures", lambda m: received.update({m.header.frame_id: m}), 10)
        assert wait_until(lambda: publisher.get_subscription_count() > 0, 30)
        time.sleep(0.5)  # the other side learns of a match a little later
        for picture in pictures:
            sender.publish(publisher, picture)
            assert wait_until(_has(received, picture.header.frame_id), 30)
    node.destroy_node()
    assert [received[f"{n}"] for n in range(4)] == [image_message(picture) for picture in pictures]


def _has(received: dict[str, Image], name: str) -> Callable[[], bool]:
    return lambda: name in received


def test_header_is_taken_over() -> None:
    given = header()
    assert image_message(Picture(given, ARRAYS["mono8"], "mono8")).header is given
