"""Messages that are filled the fast way are those that the slow way makes."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from densehybrid_ros.nodes import messages

pytestmark = pytest.mark.ros

ARRAYS = {
    "mono8": np.arange(35, dtype=np.uint8).reshape(5, 7),
    "32FC1": np.linspace(-9, 9, 35, dtype=np.float32).reshape(5, 7),
    "rgb8": np.arange(105, dtype=np.uint8).reshape(5, 7, 3),
}


def header() -> Header:
    header = Header(frame_id="camera é")
    header.stamp.sec, header.stamp.nanosec = 2**31 - 1, 999_999_999
    return header


@pytest.mark.parametrize("takes_buffers", [False, True])
@pytest.mark.parametrize("encoding", ARRAYS)
def test_fast_message_is_the_slow_one(encoding: str, takes_buffers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if takes_buffers and not messages._TAKES_BUFFERS:
        pytest.skip("this ROS distribution's messages take no buffers")
    monkeypatch.setattr(messages, "_TAKES_BUFFERS", takes_buffers)
    pixels = ARRAYS[encoding]
    slow = Image(header=header(), height=5, width=7, encoding=encoding, step=pixels.nbytes // 5)
    slow.data = list(pixels.tobytes())
    message = messages.image_message(header(), pixels, encoding)
    assert serialize_message(message) == serialize_message(slow)
    assert deserialize_message(serialize_message(message), Image) == slow


def test_header_is_taken_over() -> None:
    given = header()
    assert messages.image_message(given, ARRAYS["mono8"], "mono8").header is given
