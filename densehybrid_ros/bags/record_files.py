# SPDX-License-Identifier: Apache-2.0
"""Files of records, some of which hold further records packed: MCAP files and ROS 1 bags, whole, cut or damaged.

Both are read record by record, so that neither index nor summary are needed.
"""

from __future__ import annotations

import bz2
import os
import struct
import sys
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple, Protocol

import yaml
from lz4.frame import LZ4FrameDecompressor  # type: ignore[import-untyped]

from densehybrid_ros.files import writing

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
Place = tuple[int, int]
"""Where a message lies in its file, in the file's own terms."""

_DECOMPRESSORS: dict[str, Any] = {
    "zstd": zstd.ZstdDecompressor,
    "lz4": LZ4FrameDecompressor,
    "bz2": bz2.BZ2Decompressor,
}
_PIECE = 1 << 16  # bytes at a time, so that damage costs what lies behind it alone
_CHUNKS_KEPT = 3  # unpacked, for messages that are read out of order
_LARGEST_REST = 1 << 28  # bytes of a cut chunk that are looked at
_LARGEST_HEAD = 1 << 20  # bytes of a ROS 1 header; what claims more is damaged
_TRANSIENT_LOCAL = (1, "1", "transient_local")


@dataclass(frozen=True)
class Channel:
    """What a file says about the messages of one topic."""

    topic: str  # Its name
    kind: str  # Message type as the file writes it; empty where it does not say
    encoding: str = "cdr"  # How the messages are serialized: "cdr", "ros1", "json",
    latched: bool = False  # Whether late subscribers get the last message


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


class _Record(NamedTuple):
    """One record; ``body`` is short where the file is cut and empty where nobody needs it."""

    opcode: int
    head: bytes
    body: bytes
    is_whole: bool


class _RecordFile(ABC):
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
    def _record(self, stream: BinaryIO, left: int) -> _Record:
        """Reads the next record, of which ``left`` bytes are there at most; ValueError where there is none."""

    @abstractmethod
    def _message(self, record: _Record) -> tuple[int, int, memoryview]:
        """Returns (channel, time of recording in ns, data)."""

    @abstractmethod
    def _packed(self, record: _Record) -> tuple[memoryview, str]:
        """Returns (packed records, kind of compression) of a chunk."""

    def _checksum(self, record: _Record) -> int:
        """Returns the CRC-32 of the unpacked records of a chunk; 0 where the file does not say."""
        return 0

    @abstractmethod
    def _learn(self, record: _Record) -> None:
        """Takes note of any other record."""


class McapFile(_RecordFile):
    """An MCAP file, chunked or not."""

    magic = b"\x89MCAP0\r\n"
    message_code, chunk_code = 0x05, 0x06
    schema_code, channel_code, end_code = 0x03, 0x04, 0x0F

    def __init__(self, path: Path) -> None:
        """Notes which file to read."""
        super().__init__(path)
        self._schemas: dict[int, str] = {}
        self._schema_of: dict[int, int] = {}

    def _record(self, stream: BinaryIO, left: int) -> _Record:
        head = stream.read(9)  # opcode and length
        if len(head) < 9 or not head[0]:
            raise ValueError("no record")
        length = int.from_bytes(head[1:], "little")
        read = self.schema_code, self.channel_code, self.message_code, self.chunk_code
        if head[0] in read or length > left:
            return _Record(head[0], b"", *self._body(stream, head[0], length, left - len(head)))
        stream.seek(length, os.SEEK_CUR)
        return _Record(head[0], b"", b"", True)

    def _message(self, record: _Record) -> tuple[int, int, memoryview]:
        channel, _, time = struct.unpack_from("<HIQ", record.body)
        return channel, time, memoryview(record.body)[22:]

    def _packed(self, record: _Record) -> tuple[memoryview, str]:
        compression, end = _text(record.body, 28)
        return memoryview(record.body)[end + 8 :], compression

    def _checksum(self, record: _Record) -> int:
        return int(struct.unpack_from("<I", record.body, 24)[0])

    def _learn(self, record: _Record) -> None:
        if record.opcode == self.end_code:
            self._has_ended = True
        elif record.opcode == self.schema_code:
            self._schemas[_number(record.body, 0)] = _text(record.body, 2)[0]
        elif record.opcode == self.channel_code:
            topic, end = _text(record.body, 4)
            encoding, end = _text(record.body, end)
            latched = is_latched(_pairs(record.body, end).get("offered_qos_profiles"))
            self._schema_of[_number(record.body, 0)] = _number(record.body, 2)
            self.channels[_number(record.body, 0)] = Channel(topic, "", encoding or "cdr", latched)
        else:
            return
        for number, schema in self._schema_of.items():  # a schema may come after its channel
            self.channels[number] = replace(self.channels[number], kind=self._schemas.get(schema, ""))


class Rosbag1File(_RecordFile):
    """A .bag file of format 2.0."""

    magic = b"#ROSBAG V2.0\n"
    message_code, chunk_code = 0x02, 0x05
    info_code, connection_code = 0x06, 0x07

    def _record(self, stream: BinaryIO, left: int) -> _Record:
        (length,) = struct.unpack("<I", stream.read(4))
        if length > _LARGEST_HEAD:
            raise ValueError("no record")
        if length + 8 > left:
            stream.seek(0, os.SEEK_END)
            return _Record(0, b"", b"", False)
        head = stream.read(length)
        opcode = _fields(head)["op"][0]
        (size,) = struct.unpack("<I", stream.read(4))
        left -= 8 + length
        if opcode in (self.message_code, self.chunk_code, self.connection_code) or size > left:
            return _Record(opcode, head, *self._body(stream, opcode, size, left))
        stream.seek(size, os.SEEK_CUR)
        return _Record(opcode, head, b"", True)

    def _message(self, record: _Record) -> tuple[int, int, memoryview]:
        fields = _fields(record.head)
        seconds, nanoseconds = struct.unpack("<II", fields["time"])
        return int.from_bytes(fields["conn"], "little"), seconds * 10**9 + nanoseconds, memoryview(record.body)

    def _packed(self, record: _Record) -> tuple[memoryview, str]:
        return memoryview(record.body), _fields(record.head)["compression"].decode()

    def _learn(self, record: _Record) -> None:
        if record.opcode == self.info_code:  # these close a bag
            self._has_ended = True
        elif record.opcode == self.connection_code:
            head, more = _fields(record.head), _fields(record.body)
            kind = more.get("type", b"").decode(errors="replace")
            topic = head["topic"].decode(errors="replace")
            number = int.from_bytes(head["conn"], "little")
            self.channels[number] = Channel(topic, kind, "ros1", more.get("latching") == b"1")


def unpack(data: bytes | memoryview, kind: str) -> tuple[bytes, str]:
    """Unpacks data.

    Args:
        data: Packed data; it may be cut.
        kind: zstd, lz4 or bz2; empty or "none" for data that are not packed.

    Returns:
        (what could be unpacked, what is wrong with the rest: empty where nothing is).
    """
    if kind in ("", "none"):
        return bytes(data), ""
    if kind not in _DECOMPRESSORS:
        return b"", f"compression {kind!r} is unknown"
    decompressor, parts = _DECOMPRESSORS[kind](), []
    try:
        for start in range(0, len(data), _PIECE):
            if decompressor.eof:
                break
            parts.append(decompressor.decompress(data[start : start + _PIECE]))
    except (zstd.ZstdError, RuntimeError, OSError, EOFError) as error:
        return b"".join(parts), f"{kind} data are damaged ({error})"
    return b"".join(parts), "" if decompressor.eof else f"{kind} data end in the middle"


def unpack_file(path: Path, target: Path) -> str:
    """Unpacks a zstd file, of one that is cut as much as there is; returns what is wrong, empty where nothing is."""
    with zstd.open(path, "rb") as packed, writing(target), target.open("wb") as unpacked:
        try:
            while piece := packed.read1(_PIECE):
                unpacked.write(piece)
        except EOFError:
            return "ends in the middle"
        except zstd.ZstdError as error:
            return f"zstd data are damaged ({error})"
    return ""


def is_latched(profiles: object) -> bool:
    """Tells from the offered QoS profiles, as text or as YAML gives them, whether one of them is transient local."""
    try:
        content = yaml.safe_load(profiles) if isinstance(profiles, str) else profiles
    except yaml.YAMLError:
        return False
    return isinstance(content, list) and any(
        isinstance(item, dict) and item.get("durability") in _TRANSIENT_LOCAL for item in content
    )


def _left(stream: BinaryIO) -> int:
    position = stream.tell()
    size = stream.seek(0, os.SEEK_END)
    stream.seek(position)
    return size - position


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


def _fields(head: bytes) -> dict[str, bytes]:
    """Returns the fields of a header: each is its length, its name, "=" and its value."""
    at, fields = 0, {}
    while at < len(head):
        (length,) = struct.unpack_from("<I", head, at)
        name, _, value = head[at + 4 : at + 4 + length].partition(b"=")
        fields[name.decode(errors="replace")] = value
        at += 4 + length
    return fields
