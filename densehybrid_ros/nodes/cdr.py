# SPDX-License-Identifier: Apache-2.0
"""The bytes of images as DDS carries them (CDR of XCDR1): read without a copy, and the head that lies before pixels."""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass

from std_msgs.msg import Header

from densehybrid_ros.errors import InputError

_PADDING = 3  # bytes that may follow a message, so that its length is a multiple of four
_ENCAPSULATION = 4


@dataclass(frozen=True)
class ImageView:
    """A ``sensor_msgs/Image`` in its bytes; the fields are those of the message, ``data`` lies where it came."""

    header: Header
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: memoryview


@dataclass(frozen=True)
class CompressedImageView:
    """A ``sensor_msgs/CompressedImage`` in its bytes."""

    header: Header
    format: str
    data: memoryview


def read_image(data: bytes) -> ImageView:
    """Reads a serialised ``sensor_msgs/Image`` of either byte order.

    Raises:
        InputError: The bytes are none.
    """
    reader = _Reader(data, "sensor_msgs/msg/Image")
    header, height, width = reader.header(), reader.number(), reader.number()
    encoding, is_bigendian, step = reader.text(), reader.byte(), reader.number()
    return ImageView(header, height, width, encoding, is_bigendian, step, reader.rest())


def read_compressed_image(data: bytes) -> CompressedImageView:
    """Reads a serialised ``sensor_msgs/CompressedImage`` of either byte order.

    Raises:
        InputError: The bytes are none.
    """
    reader = _Reader(data, "sensor_msgs/msg/CompressedImage")
    return CompressedImageView(reader.header(), reader.text(), reader.rest())


def image_head(header: Header, height: int, width: int, encoding: str, row_bytes: int) -> bytes:
    """Returns what precedes the pixels in a serialised ``sensor_msgs/Image`` without padding, little-endian."""
    stamp = struct.pack("<iI", header.stamp.sec, header.stamp.nanosec)
    sizes = struct.pack("<II", height, width)
    body = _aligned(stamp + _text(header.frame_id)) + sizes + _text(encoding)
    body = _aligned(body + bytes([sys.byteorder == "big"]))
    return b"\0\1\0\0" + body + struct.pack("<II", row_bytes, height * row_bytes)


def _text(text: str) -> bytes:
    encoded = text.encode() + b"\0"
    return struct.pack("<I", len(encoded)) + encoded


def _aligned(body: bytes) -> bytes:
    return body + bytes(-len(body) % 4)


class _Reader:
    """Takes values of a message one after another and never looks beyond its end."""

    def __init__(self, data: bytes, kind: str) -> None:
        self._data, self._kind, self._at = memoryview(data), kind, 0
        if len(data) < _ENCAPSULATION or data[0] != 0 or data[1] > 1:
            raise self._error("they are not in plain CDR (XCDR1)")
        self._order = "<" if data[1] else ">"
        self._at = _ENCAPSULATION

    def header(self) -> Header:
        seconds, nanoseconds = self._unpack("iI", 8)
        header = Header(frame_id=self.text())
        header.stamp.sec, header.stamp.nanosec = seconds, nanoseconds
        return header

    def number(self) -> int:
        self._at += -self._at % 4  # the encapsulation is four bytes long, so it moves no boundary
        return int(self._unpack("I", 4)[0])

    def byte(self) -> int:
        return int(self._unpack("B", 1)[0])

    def text(self) -> str:
        content = bytes(self._take(self.number()))
        try:
            return content.removesuffix(b"\0").decode()
        except UnicodeDecodeError as error:
            raise self._error("a text in them is not UTF-8") from error

    def rest(self) -> memoryview:
        """Takes a sequence of bytes that ends the message."""
        content = self._take(self.number())
        if len(self._data) - self._at > _PADDING:
            raise self._error(f"{len(self._data) - self._at} bytes follow its end")
        return content

    def _unpack(self, layout: str, size: int) -> tuple[int, ...]:
        return struct.unpack(self._order + layout, self._take(size))

    def _take(self, size: int) -> memoryview:
        end = self._at + size
        if end > len(self._data):
            raise self._error(f"they are cut short: its next field needs {size} bytes")
        content, self._at = self._data[self._at : end], end
        return content

    def _error(self, problem: str) -> InputError:
        return InputError(f"{len(self._data)} bytes are no {self._kind}: {problem}; check its publisher")
