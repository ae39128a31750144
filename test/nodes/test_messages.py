# SPDX-License-Identifier: Apache-2.0
"""Images are read from their bytes as rclpy reads them, and published as the bytes that the typed way makes."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.lifecycle import LifecycleNode
from rclpy.serialization import deserialize_message, serialize_message
from ros_peer import image_message as frame_message
from ros_peer import late_header
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CompressedImage, Image

from densehybrid_ros.demo.spinning import spinning_node, wait_until
from densehybrid_ros.errors import InputError
from densehybrid_ros.nodes import messages
from densehybrid_ros.nodes.messages import Picture, PicturePublisher, image_message, qos, read_message

pytestmark = pytest.mark.ros

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
PIXELS = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
ARRAYS = {
    "mono8": np.arange(35, dtype=np.uint8).reshape(5, 7),
    "32FC1": np.linspace(-9, 9, 35, dtype=np.float32).reshape(5, 7),
    "16UC1": np.arange(35, dtype=np.uint16).reshape(5, 7),
    "rgb8": PIXELS,
}
FRAME_IDS = ["", "c", "ca", "cam", "camera é"]


def compressed() -> CompressedImage:
    message = CompressedImage(header=late_header(), format="rgb8; jpeg compressed bgr8")
    message.data.frombytes(PIXELS.tobytes())
    return message


SENT = {IMAGE: frame_message(PIXELS, "rgb8", padding=3), COMPRESSED: compressed()}


def serialized(kind: str, order: str = sys.byteorder) -> bytes:
    """The bytes in either order; rclpy makes those of this machine alone, rosbags makes both."""
    ours = bytes(serialize_message(SENT[kind]))
    if order == sys.byteorder:
        return ours
    store = get_typestore(Stores.ROS2_JAZZY)
    return bytes(store.serialize_cdr(store.deserialize_cdr(ours, kind), kind, little_endian=order == "little"))


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("kind", SENT)
def test_fields_are_those_of_the_message_and_what_is_cut_off_is_refused(kind: str, order: str) -> None:
    data, message = serialized(kind, order), SENT[kind]
    for padding in range(4):
        read = read_message(kind, data + bytes(padding))
        for name in message.get_fields_and_field_types():
            if name != "data":
                assert getattr(read, name) == getattr(message, name)
        assert bytes(read.data) == message.data.tobytes()
    is_native = order == sys.byteorder
    assert np.shares_memory(read_message(kind, data).data, np.frombuffer(data, np.uint8)) == is_native
    for wrong in (*(data[:length] for length in range(len(data))), data + bytes(4)):
        with pytest.raises(InputError, match=f"^{len(wrong)} bytes are no {kind} .*check its publisher"):
            read_message(kind, wrong)


@pytest.mark.parametrize("kind", SENT)
def test_changed_bytes_are_read_or_refused(kind: str) -> None:
    """A broken length must not lead beyond the end, whatever it says."""
    data = serialized(kind)
    head, refused = len(data) - len(SENT[kind].data), 0
    for place in range(head):
        for value in (0, 1, 127, 255):
            try:
                read = read_message(kind, data[:place] + bytes([value]) + data[place + 1 :])
            except InputError:
                refused += 1
            else:
                assert len(read.data) <= len(SENT[kind].data)
    assert refused > head


@pytest.mark.parametrize("frame_id", FRAME_IDS)
@pytest.mark.parametrize("encoding", ARRAYS)
def test_bytes_are_those_of_the_typed_message(encoding: str, frame_id: str) -> None:
    picture = Picture(late_header(frame_id), ARRAYS[encoding], encoding)
    typed = Image(header=picture.header, height=5, width=7, encoding=encoding, step=picture.pixels.nbytes // 5)
    typed.data = list(picture.pixels.tobytes())
    ours, theirs = PicturePublisher().serialized(picture).tobytes(), serialize_message(typed)
    assert image_message(picture) == typed
    assert deserialize_message(ours, Image) == typed
    assert read_message(IMAGE, ours).header == picture.header
    # Between two fields may lie up to three bytes, which theirs leave as they were in memory.
    differing = [place for place, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
    assert len(differing) <= -(len(frame_id.encode()) + 1) % 4 + -(len(encoding) + 2) % 4
    assert all(ours[place] == 0 for place in differing)


@pytest.mark.parametrize("as_bytes", [True, False])
def test_large_and_small_pictures_arrive_from_one_buffer(ros: None, as_bytes: bool, monkeypatch: Any) -> None:
    assert messages._PUBLISHES_BYTES  # on this distribution
    monkeypatch.setattr(messages, "_PUBLISHES_BYTES", as_bytes)
    random = np.random.default_rng(0)
    sizes = ((300, 400), (5, 7), (1024, 2048), (5, 7))
    pictures = [Picture(late_header(f"{n}"), random.random(size, np.float32), "32FC1") for n, size in enumerate(sizes)]
    received: dict[str, Image] = {}
    node, sender = LifecycleNode("sender"), PicturePublisher()
    publisher = node.create_publisher(Image, "/pictures", qos(2))
    with spinning_node("receiver") as receiver:
        receiver.create_subscription(Image, "/pictures", lambda m: received.update({m.header.frame_id: m}), 10)
        assert wait_until(lambda: publisher.get_subscription_count() > 0, 30)
        time.sleep(0.5)  # the other side learns of a match a little later
        for picture in pictures:
            sender.publish(publisher, picture)
            assert wait_until(lambda name=picture.header.frame_id: name in received, 30)
    node.destroy_node()
    assert [received[f"{n}"] for n in range(4)] == [image_message(picture) for picture in pictures]
