# SPDX-License-Identifier: Apache-2.0
"""ROS 1 bags, read record by record: the index is not needed."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from densehybrid_ros.bags.record_file import Channel, Record, RecordFile

_MESSAGE, _CHUNK, _CHUNK_INFO, _CONNECTION = 0x02, 0x05, 0x06, 0x07
_LARGEST_HEAD = 1 << 20  # bytes; what claims more is damaged


class Rosbag1File(RecordFile):
    """A .bag file of format 2.0."""

    magic = b"#ROSBAG V2.0\n"
    message_code, chunk_code = _MESSAGE, _CHUNK

    def _record(self, stream: BinaryIO, left: int) -> Record:
        (length,) = struct.unpack("<I", stream.read(4))
        if length > _LARGEST_HEAD:
            raise ValueError("no record")
        if length + 8 > left:
            stream.seek(0, os.SEEK_END)
            return Record(0, b"", b"", False)
        head = stream.read(length)
        opcode = _fields(head)["op"][0]
        (size,) = struct.unpack("<I", stream.read(4))
        left -= 8 + length
        if opcode in (_MESSAGE, _CHUNK, _CONNECTION) or size > left:
            return Record(opcode, head, *self._body(stream, opcode, size, left))
        stream.seek(size, os.SEEK_CUR)
        return Record(opcode, head, b"", True)

    def _message(self, record: Record) -> tuple[int, int, memoryview]:
        fields = _fields(record.head)
        seconds, nanoseconds = struct.unpack("<II", fields["time"])
        return int.from_bytes(fields["conn"], "little"), seconds * 10**9 + nanoseconds, memoryview(record.body)

    def _packed(self, record: Record) -> tuple[memoryview, str]:
        return memoryview(record.body), _fields(record.head)["compression"].decode()

    def _learn(self, record: Record) -> None:
        if record.opcode == _CHUNK_INFO:  # these close a bag
            self._has_ended = True
        elif record.opcode == _CONNECTION:
            head, more = _fields(record.head), _fields(record.body)
            kind = more.get("type", b"").decode(errors="replace")
            topic = head["topic"].decode(errors="replace")
            number = int.from_bytes(head["conn"], "little")
            self.channels[number] = Channel(topic, kind, "ros1", more.get("latching") == b"1")


def _fields(head: bytes) -> dict[str, bytes]:
    """Returns the fields of a header: each is its length, its name, "=" and its value."""
    at, fields = 0, {}
    while at < len(head):
        (length,) = struct.unpack_from("<I", head, at)
        name, _, value = head[at + 4 : at + 4 + length].partition(b"=")
        fields[name.decode(errors="replace")] = value
        at += 4 + length
    return fields
