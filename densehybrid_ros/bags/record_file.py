# SPDX-License-Identifier: Apache-2.0
"""Files of records, some of which hold further records packed: what MCAP and ROS 1 bags have in common."""

from __future__ import annotations

import os
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, ClassVar, NamedTuple, Protocol

from densehybrid_ros.bags.compression import unpack

Place = tuple[int, int]
"""Where a message lies in its file, in the file's own terms."""

_CHUNKS_KEPT = 3  # unpacked, for messages that are read out of order
_LARGEST_REST = 1 << 28  # bytes of a cut chunk that are looked at


@dataclass(frozen=True)
class Channel:
    """What a file says about the messages of one topic.

    Attributes:
        topic: Its name.
        kind: Message type as the file writes it; empty where it does not say.
        encoding: How the messages are serialized: "cdr", "ros1", "json", ...
        latched: Whether late subscribers get the last message.
    """

    topic: str
    kind: str
    encoding: str = "cdr"
    latched: bool = False


class StoredMessage(NamedTuple):
    """A message as it lies in a file."""

    channel: int
    time: int
    place: Place
    data: bytes | memoryview


class StoredFile(Protocol):
    """One file of a recording."""

    channels: dict[int, Channel]
    """Known as far as the file was scanned."""
    damage: str
    """Why the last scan ended early or left something out; empty where it did not."""

    def scan(self) -> Iterator[StoredMessage]:
        """Yields all messages in the order of the file, as far as it is whole."""
        ...

    def read(self, place: Place) -> bytes:
        """Returns the data of a message again."""
        ...


class Record(NamedTuple):
    """One record; ``body`` is short where the file is cut and holds nothing where nobody needs it."""

    opcode: int
    head: bytes
    body: bytes
    is_whole: bool


class RecordFile(ABC):
    """A file of records. A StoredFile."""

    magic: ClassVar[bytes]
    message_code: ClassVar[int]
    chunk_code: ClassVar[int]

    def __init__(self, path: Path) -> None:
        """Notes which file to read."""
        self._path = path
        self.channels: dict[int, Channel] = {}
        self.damage = ""
        self._has_ended = False
        self._chunk = lru_cache(_CHUNKS_KEPT)(self._unpacked_chunk)

    def scan(self) -> Iterator[StoredMessage]:
        """Yields all messages in the order of the file, as far as it is whole."""
        self.damage, self._has_ended = "", False
        with self._path.open("rb") as stream:
            if stream.read(len(self.magic)) != self.magic:
                self.damage = "is empty" if not self._path.stat().st_size else "does not begin as such a file does"
                return
            yield from self._walk(stream, 0)
        self._note("ends in the middle")

    def read(self, place: Place) -> bytes:
        """Returns the data of a message again."""
        chunk, position = place
        with BytesIO(self._chunk(chunk)) if chunk else self._path.open("rb") as stream:
            stream.seek(position)
            return bytes(self._message(self._record(stream, _left(stream)))[2])

    def _walk(self, stream: BinaryIO, chunk: int) -> Iterator[StoredMessage]:
        """Goes through the records of the file (``chunk`` 0) or of the chunk that lies there in the file."""
        while left := _left(stream):
            position = stream.tell()
            message, content = None, b""
            try:
                record = self._record(stream, left)
                if not record.is_whole:
                    self._note("ends in the middle")
                if record.opcode == self.chunk_code and not chunk:
                    content, damage = unpack(*self._packed(record))
                    checksum = self._checksum(record)
                    if checksum and not damage and zlib.crc32(content) != checksum:
                        damage = f"holds a chunk whose checksum disagrees at byte {position}"
                    self._note(damage)
                elif record.opcode == self.message_code and record.is_whole:
                    number, time, data = self._message(record)
                    message = StoredMessage(number, time, (chunk, position), data)
                elif record.is_whole:
                    self._learn(record)
            except (struct.error, ValueError, KeyError):
                self._note(f"holds no record at byte {position}")
                return
            if message:
                yield message
            elif content:
                yield from self._walk(BytesIO(content), position)

    def _note(self, damage: str) -> None:
        if not self._has_ended:
            self.damage = self.damage or damage

    def _unpacked_chunk(self, position: int) -> bytes:
        with self._path.open("rb") as stream:
            stream.seek(position)
            return unpack(*self._packed(self._record(stream, _left(stream))))[0]

    def _body(self, stream: BinaryIO, opcode: int, length: int, left: int) -> tuple[bytes, bool]:
        """Reads the body of a record; of a cut one only a chunk's."""
        if length <= left:
            return stream.read(length), True
        body = stream.read(min(left, _LARGEST_REST)) if opcode == self.chunk_code else b""
        stream.seek(0, os.SEEK_END)
        return body, False

    @abstractmethod
    def _record(self, stream: BinaryIO, left: int) -> Record:
        """Reads the next record, of which ``left`` bytes are there at most; ValueError where there is none."""

    @abstractmethod
    def _message(self, record: Record) -> tuple[int, int, memoryview]:
        """Returns (channel, time of recording in ns, data)."""

    @abstractmethod
    def _packed(self, record: Record) -> tuple[memoryview, str]:
        """Returns (packed records, kind of compression) of a chunk."""

    def _checksum(self, record: Record) -> int:
        """Returns the CRC-32 of the unpacked records of a chunk; 0 where the file does not say."""
        return 0

    @abstractmethod
    def _learn(self, record: Record) -> None:
        """Takes note of any other record."""


def _left(stream: BinaryIO) -> int:
    position = stream.tell()
    size = stream.seek(0, os.SEEK_END)
    stream.seek(position)
    return size - position
