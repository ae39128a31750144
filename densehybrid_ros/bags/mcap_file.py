# SPDX-License-Identifier: Apache-2.0
"""MCAP files: chunked or not, with or without index and summary."""

from __future__ import annotations

import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from densehybrid_ros.bags.metadata import is_latched
from densehybrid_ros.bags.record_file import Channel, Record, RecordFile

_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 0x03, 0x04, 0x05, 0x06, 0x0F
_READ = (_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK)
_RECORD_HEAD = 9  # opcode and length


class McapFile(RecordFile):
    """An MCAP file, read record by record: neither index nor summary are needed."""

    magic = b"\x89MCAP0\r\n"
    message_code, chunk_code = _MESSAGE, _CHUNK

    def __init__(self, path: Path) -> None:
        """Notes which file to read."""
        super().__init__(path)
        self._schemas: dict[int, str] = {}
        self._schema_of: dict[int, int] = {}

    def _record(self, stream: BinaryIO, left: int) -> Record:
        head = stream.read(_RECORD_HEAD)
        if len(head) < _RECORD_HEAD or not head[0]:
            raise ValueError("no record")
        length = int.from_bytes(head[1:], "little")
        if head[0] in _READ or length > left:
            return Record(head[0], b"", *self._body(stream, head[0], length, left - len(head)))
        stream.seek(length, os.SEEK_CUR)
        return Record(head[0], b"", b"", True)

    def _message(self, record: Record) -> tuple[int, int, memoryview]:
        channel, _, time = struct.unpack_from("<HIQ", record.body)
        return channel, time, memoryview(record.body)[22:]

    def _packed(self, record: Record) -> tuple[memoryview, str]:
        compression, end = _text(record.body, 28)
        return memoryview(record.body)[end + 8 :], compression

    def _checksum(self, record: Record) -> int:
        return int(struct.unpack_from("<I", record.body, 24)[0])

    def _learn(self, record: Record) -> None:
        if record.opcode == _DATA_END:
            self._has_ended = True
        elif record.opcode == _SCHEMA:
            self._schemas[_number(record.body, 0)] = _text(record.body, 2)[0]
        elif record.opcode == _CHANNEL:
            topic, end = _text(record.body, 4)
            encoding, end = _text(record.body, end)
            latched = is_latched(_pairs(record.body, end).get("offered_qos_profiles"))
            self._schema_of[_number(record.body, 0)] = _number(record.body, 2)
            self.channels[_number(record.body, 0)] = Channel(topic, "", encoding or "cdr", latched)
        else:
            return
        for number, schema in self._schema_of.items():  # a schema may come after its channel
            self.channels[number] = replace(self.channels[number], kind=self._schemas.get(schema, ""))


def _number(body: bytes, at: int) -> int:
    return int.from_bytes(body[at : at + 2], "little")


def _text(body: bytes, at: int) -> tuple[str, int]:
    """Returns a text that follows its length, and where it ends."""
    (length,) = struct.unpack_from("<I", body, at)
    end = at + 4 + length
    if end > len(body):
        raise ValueError("a text is longer than its record")
    return body[at + 4 : end].decode(errors="replace"), end


def _pairs(body: bytes, at: int) -> dict[str, str]:
    """Returns the pairs of texts that follow their length in bytes."""
    end = at + 4 + struct.unpack_from("<I", body, at)[0]
    at, pairs = at + 4, {}
    while at < end:
        key, at = _text(body, at)
        pairs[key], at = _text(body, at)
    return pairs
