# SPDX-License-Identifier: Apache-2.0
"""Images are read from their bytes as rclpy reads them, and nothing is read beyond their end."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.serialization import serialize_message
from ros_peer import image_message
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CompressedImage, Image

from densehybrid_ros.errors import InputError
from densehybrid_ros.nodes.cdr import read_compressed_image, read_image

pytestmark = pytest.mark.ros

PIXELS = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)


def compressed() -> CompressedImage:
    message = CompressedImage(header=image_message(PIXELS, "rgb8").header, format="rgb8; jpeg compressed bgr8")
    message.data.frombytes(PIXELS.tobytes())
    return message


MESSAGES = [(image_message(PIXELS, "rgb8", padding=3), read_image), (compressed(), read_compressed_image)]
ORDERS = ["little", "big"]


def serialized(message: Any, order: str) -> bytes:
    """The bytes in either order; rclpy makes those of this machine alone, rosbags makes both."""
    ours = bytes(serialize_message(message))
    if order == sys.byteorder:
        return ours
    store, name = get_typestore(Stores.ROS2_JAZZY), f"sensor_msgs/msg/{type(message).__name__}"
    return bytes(store.serialize_cdr(store.deserialize_cdr(ours, name), name, little_endian=order == "little"))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("message", "read"), MESSAGES)
def test_fields_are_those_of_the_message(message: Any, read: Any, order: str) -> None:
    data = serialized(message, order)
    for padding in range(4):
        view = read(data + bytes(padding))
        for name in message.get_fields_and_field_types():
            if name != "data":
                assert getattr(view, name) == getattr(message, name)
        assert view.data == message.data.tobytes()


@pytest.mark.parametrize("encoding", ["mono8", "rgb8", "bayer_rggb8", "16UC1", "yuv422_yuy2"])
@pytest.mark.parametrize("frame_id", ["", "c", "ca", "cam", "camera é"])
def test_every_alignment_is_read(encoding: str, frame_id: str) -> None:
    message = image_message(PIXELS, encoding)
    message.header.frame_id, message.is_bigendian = frame_id, 1
    view = read_image(serialize_message(message))
    assert (view.header, view.encoding, view.is_bigendian) == (message.header, encoding, 1)
    assert (view.height, view.width, view.step, view.data) == (5, 7, 21, PIXELS.tobytes())


def test_pixels_lie_where_they_came() -> None:
    data = bytes(serialize_message(MESSAGES[0][0]))
    assert np.shares_memory(np.frombuffer(read_image(data).data, np.uint8), np.frombuffer(data, np.uint8))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("message", "read"), MESSAGES)
def test_whatever_is_cut_off_is_refused(message: Any, read: Any, order: str) -> None:
    data = serialized(message, order)
    for length in range(len(data)):
        with pytest.raises(InputError, match=f"{length} bytes are no sensor_msgs/msg/"):
            read(data[:length])


@pytest.mark.parametrize(("message", "read"), MESSAGES)
def test_changed_bytes_are_read_or_refused(message: Any, read: Any) -> None:
    """A broken length must not lead beyond the end, whatever it says."""
    data = serialized(message, "little")
    head, refused = len(data) - len(message.data), 0
    for place in range(head):
        for value in (0, 1, 127, 255):
            try:
                view = read(data[:place] + bytes([value]) + data[place + 1 :])
            except InputError:
                refused += 1
            else:
                assert len(view.data) <= len(message.data)
    assert refused > head


@pytest.mark.parametrize("start", [b"\0\2\0\0", b"\0\3\0\0", b"\0\6\0\0", b"\1\1\0\0"])
def test_other_encapsulations_are_refused(start: bytes) -> None:
    with pytest.raises(InputError, match="XCDR1"):
        read_image(start + bytes(serialize_message(Image()))[4:])


def test_what_follows_the_end_is_refused() -> None:
    with pytest.raises(InputError, match="4 bytes follow its end"):
        read_image(bytes(serialize_message(MESSAGES[0][0])) + bytes(4))
