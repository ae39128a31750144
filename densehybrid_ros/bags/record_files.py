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
from typing import Any, BinaryIO, ClassVar, NamedTuple

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
    time: int  # of recording, in nanoseconds
    data: bytes | memoryview
    place: Place = (0, 0)


class _Chunk(NamedTuple):
    """Records that are packed."""

    packed: memoryview
    compression: str
    checksum: int = 0  # CRC-32 of the records; 0 where the file does not say


class _RecordFile(ABC):
    """A file of records."""

    magic: ClassVar[bytes]

    def __init__(self, path: Path) -> None:
        """Notes which file to read."""
        self._path = path
        self.channels: dict[int, Channel] = {}
        self.damage = ""
        self._has_ended = False
        self._chunk = lru_cache(_CHUNKS_KEPT)(self._unpacked_chunk)

    def scan(self) -> Iterator[StoredMessage]:
        """Yields all messages in the order of the file, as far as it is whole.

        ``channels`` is known as far as the file was scanned; ``damage`` says why the last scan ended early or left
        something out, and is empty where it did not.
        """
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
            found = self._next(stream)
            assert isinstance(found, StoredMessage)
            return bytes(found.data)

    def _walk(self, stream: BinaryIO, chunk: int) -> Iterator[StoredMessage]:
        """Goes through the records of the file (``chunk`` 0) or of the chunk that lies there in the file."""
        while _left(stream):
            position, content = stream.tell(), b""
            try:
                found = self._next(stream)
                if isinstance(found, _Chunk) and not chunk:
                    content, damage = unpack(found.packed, found.compression)
                    if found.checksum and not damage and zlib.crc32(content) != found.checksum:
                        damage = f"holds a chunk whose checksum disagrees at byte {position}"
                    self._note(damage)
            except (struct.error, ValueError, LookupError):
                self._note(f"holds no record at byte {position}")
                return
            if isinstance(found, StoredMessage):
                yield found._replace(place=(chunk, position))
            elif content:
                yield from self._walk(BytesIO(content), position)

    def _note(self, damage: str) -> None:
        if not self._has_ended:
            self.damage = self.damage or damage

    def _unpacked_chunk(self, position: int) -> bytes:
        with self._path.open("rb") as stream:
            stream.seek(position)
            found = self._next(stream)
        assert isinstance(found, _Chunk)
        return unpack(found.packed, found.compression)[0]

    def _body(self, stream: BinaryIO, length: int, is_wanted: bool, is_chunk: bool) -> bytes | None:
        """Reads the body of a record; of a cut one only a chunk's. None: it is cut, or nobody needs it."""
        left = _left(stream)
        if length > left:
            self._note("ends in the middle")
            body = stream.read(min(left, _LARGEST_REST)) if is_chunk else None
            stream.seek(0, os.SEEK_END)
            return body
        if is_wanted:
            return stream.read(length)
        stream.seek(length, os.SEEK_CUR)
        return None

    @abstractmethod
    def _next(self, stream: BinaryIO) -> StoredMessage | _Chunk | None:
        """Reads the next record, and takes note of what is neither a message nor a chunk.

        Raises:
            ValueError, LookupError, struct.error: There is none.
        """


class McapFile(_RecordFile):
    """An MCAP file, chunked or not."""

    magic = b"\x89MCAP0\r\n"

    def __init__(self, path: Path) -> None:
        """Notes which file to read."""
        super().__init__(path)
        self._schemas: dict[int, str] = {}
        self._schema_of: dict[int, int] = {}

    def _next(self, stream: BinaryIO) -> StoredMessage | _Chunk | None:
        head = stream.read(9)  # opcode and length
        if len(head) < 9 or not head[0]:
            raise ValueError("no record")
        code = head[0]
        body = self._body(stream, int.from_bytes(head[1:], "little"), code in (3, 4, 5, 6, 15), is_chunk=code == 6)
        if body is None:
            return None
        if code == 5:
            number, _, time = struct.unpack_from("<HIQ", body)
            return StoredMessage(number, time, memoryview(body)[22:])
        if code == 6:
            compression, end = _text(body, 28)
            return _Chunk(memoryview(body)[end + 8 :], compression, struct.unpack_from("<I", body, 24)[0])
        if code == 15:  # the end of the data
            self._has_ended = True
        elif code == 3:
            (number,) = struct.unpack_from("<H", body)
            self._schemas[number] = _text(body, 2)[0]
        else:
            number, schema = struct.unpack_from("<HH", body)
            topic, end = _text(body, 4)
            encoding, end = _text(body, end)
            latched = is_latched(_pairs(body, end).get("offered_qos_profiles"))
            self._schema_of[number] = schema
            self.channels[number] = Channel(topic, "", encoding or "cdr", latched)
        for number, schema in self._schema_of.items():  # a schema may come after its channel
            self.channels[number] = replace(self.channels[number], kind=self._schemas.get(schema, ""))
        return None


class Rosbag1File(_RecordFile):
    """A .bag file of format 2.0."""

    magic = b"#ROSBAG V2.0\n"

    def _next(self, stream: BinaryIO) -> StoredMessage | _Chunk | None:
        (length,) = struct.unpack("<I", stream.read(4))
        if length > _LARGEST_HEAD:
            raise ValueError("no record")
        if length + 4 > _left(stream):
            self._note("ends in the middle")
            stream.seek(0, os.SEEK_END)
            return None
        head = _fields(stream.read(length))
        code = head["op"][0]
        (size,) = struct.unpack("<I", stream.read(4))
        body = self._body(stream, size, code in (2, 5, 6, 7), is_chunk=code == 5)
        if body is None:
            return None
        if code == 2:
            seconds, nanoseconds = struct.unpack("<II", head["time"])
            number = int.from_bytes(head["conn"], "little")
            return StoredMessage(number, seconds * 10**9 + nanoseconds, memoryview(body))
        if code == 5:
            return _Chunk(memoryview(body), head["compression"].decode())
        if code == 6:  # what lies in a chunk; these close a bag
            self._has_ended = True
        else:
            more = _fields(body)
            topic, kind = (text.decode(errors="replace") for text in (head["topic"], more.get("type", b"")))
            number = int.from_bytes(head["conn"], "little")
            self.channels[number] = Channel(topic, kind, "ros1", more.get("latching") == b"1")
        return None


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
