# SPDX-License-Identifier: Apache-2.0
"""Recordings made byte by byte, as other recorders than ours make them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_typestore

from densehybrid_ros.bags import messages

MAGIC = b"\x89MCAP0\r\n"
IMAGE_TOPIC, LABELS_TOPIC = "/camera/image", "/camera/labels"
PICTURE = np.arange(12 * 16 * 3, dtype=np.uint8).reshape(12, 16, 3)
TIME, STEP = 100 * 10**9, 10**8
Item = tuple[str, int, Any]
"""(topic, time of recording, message)."""


def picture(number: int, stamp: int) -> Any:
    """A picture that tells its number: its first value."""
    pixels = PICTURE + np.uint8(number)
    return messages.image_message(pixels, "rgb8", messages.header_message(stamp, "camera"))


def labels(number: int, stamp: int) -> Any:
    """Labels that tell their number."""
    pixels = np.full(PICTURE.shape[:2], number, np.uint8)
    return messages.image_message(pixels, "mono8", messages.header_message(stamp, "camera"))


def drive(count: int, stamps: Sequence[int] | None = None, labelled: bool = True) -> list[Item]:
    """Pictures, each after its labels."""
    items: list[Item] = []
    for number in range(count):
        time = TIME + number * STEP
        stamp = time if stamps is None else stamps[number]
        if labelled:
            items.append((LABELS_TOPIC, time, labels(number, stamp)))
        items.append((IMAGE_TOPIC, time, picture(number, stamp)))
    return items


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<I", len(data)) + data


def record(opcode: int, body: bytes) -> bytes:
    return bytes([opcode]) + struct.pack("<Q", len(body)) + body


def schema(number: int, kind: str) -> bytes:
    return record(3, struct.pack("<H", number) + text(kind) + text("ros2msg") + text(""))


def channel(number: int, topic: str, schema_number: int, encoding: str = "cdr") -> bytes:
    return record(4, struct.pack("<HH", number, schema_number) + text(topic) + text(encoding) + text(b""))


def message(number: int, time: int, data: bytes) -> bytes:
    return record(5, struct.pack("<HIQQ", number, 0, time, time) + data)


def chunk(records: bytes, compression: str = "", packed: bytes | None = None, checksum: int = 0) -> bytes:
    packed = records if packed is None else packed
    head = struct.pack("<QQQI", 0, 0, len(records), checksum) + text(compression)
    return record(6, head + struct.pack("<Q", len(packed)) + packed)


def mcap(records: Iterable[bytes]) -> bytes:
    """An MCAP file without index and summary, as the profile fastwrite leaves it."""
    end = record(15, bytes(4)) + record(2, bytes(20)) + MAGIC
    return MAGIC + record(1, text("ros2") + text("test")) + b"".join(records) + end


def mcap_records(items: Iterable[Item]) -> list[bytes]:
    """Schemas and channels, each before its first message, and the messages."""
    records: list[bytes] = []
    channels: dict[str, int] = {}
    for topic, time, item in items:
        if topic not in channels:
            number = channels[topic] = len(channels) + 1
            records += [schema(number, item.__msgtype__), channel(number, topic, number)]
        records.append(message(channels[topic], time, bytes(messages.serialize(item))))
    return records


def ros1_picture(number: int, stamp: int) -> bytes:
    """The picture as ROS 1 serializes it."""
    store = get_typestore(Stores.ROS1_NOETIC)
    types = store.types
    time = types["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
    header = types["std_msgs/msg/Header"](seq=number, stamp=time, frame_id="left")
    pixels = (PICTURE + np.uint8(number)).reshape(-1)
    return bytes(store.serialize_ros1(types[messages.IMAGE](header, 12, 16, "rgb8", 0, 48, pixels), messages.IMAGE))
