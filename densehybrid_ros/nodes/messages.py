# SPDX-License-Identifier: Apache-2.0
"""ROS messages: their classes by name, point clouds, and images as the bytes (CDR of XCDR1) that DDS carries.

Typed messages of large images take longer than the model, so images are read where their bytes lie, and published as
bytes.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import struct
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.serde import SerdeError
from sensor_msgs.msg import CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header

from densehybrid_ros.bags.messages import typestore
from densehybrid_ros.errors import InputError

OVERRIDABLE = QoSOverridingOptions.with_default_policies()
"""Of all inputs and outputs: which policies the parameters ``qos_overrides`` may change."""

_KINDS = {"f4": PointField.FLOAT32, "u4": PointField.UINT32, "u1": PointField.UINT8}


def qos(depth: int, reliable: bool = True, latched: bool = False) -> QoSProfile:
    """Makes a profile, one of its own for each topic, because ``qos_overrides`` change it."""
    return QoSProfile(
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def message_class(name: str) -> Any:
    """Returns the class of a message type such as ``sensor_msgs/msg/Image``.

    Raises:
        InputError: The package is not installed or has no such message.
    """
    package, _, message = name.replace("/msg/", "/").partition("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), message)
    except (ImportError, AttributeError) as error:
        raise InputError(f"message type {name}: not installed; install the ROS package {package}") from error


def is_installed(name: str) -> bool:
    """Whether the class of a message type can be imported."""
    try:
        message_class(name)
    except InputError:
        return False
    return True


def read_message(kind: str, data: bytes) -> Any:
    """Reads a serialised message of a type such as ``sensor_msgs/msg/Image``, of either byte order.

    Returns:
        An object with the fields of the message and a ``std_msgs/Header``; its arrays lie in ``data``.

    Raises:
        InputError: The bytes are none.
    """
    try:
        message: Any = typestore().deserialize_cdr(memoryview(data), kind)
    except SerdeError as error:
        raise InputError(f"{len(data)} bytes are no {kind} ({error}); check its publisher") from error
    header = Header(frame_id=message.header.frame_id)
    header.stamp.sec, header.stamp.nanosec = message.header.stamp.sec, message.header.stamp.nanosec
    message.header = header
    return message


@dataclass(frozen=True)
class Picture:
    """An image to publish.

    Attributes:
        header: The stamp and frame of the camera's message.
        pixels: C-contiguous [H, W] or [H, W, C] of the encoding's element type.
        encoding: One of sensor_msgs/image_encodings.hpp.
    """

    header: Header
    pixels: np.ndarray
    encoding: str


class PicturePublisher:
    """Publishes pictures from one buffer that is used again and again; one thread calls it.

    rclpy copies bytes into a string first, converts typed messages, and holds Python's lock meanwhile; this calls what
    lies below it, so that the executor's thread goes on. Where ROS has another layout, pictures go the typed way.
    """

    def __init__(self) -> None:
        self._buffer = np.empty(0, np.uint8)

    def publish(self, publisher: Publisher, picture: Picture) -> None:
        """Publishes a picture; a RuntimeError if ROS refuses it."""
        if not _PUBLISHES_BYTES:
            publisher.publish(image_message(picture))
            return
        content = self.serialized(picture)
        message = _SerializedMessage(content.ctypes.data, content.size, content.size)
        with publisher.handle:
            status = _rcl_publish()(publisher.handle.pointer, ctypes.byref(message), None)
        if status:
            raise RuntimeError(f"publishing on {publisher.topic_name} failed with rcl's status {status}")

    def serialized(self, picture: Picture) -> np.ndarray:
        """Returns the bytes of the ``sensor_msgs/Image``, uint8 [bytes]; they hold until the next call."""
        pixels = picture.pixels
        head = _image_head(picture)
        size = len(head) + pixels.nbytes
        if self._buffer.size < size:
            self._buffer = np.empty(size, np.uint8)
        self._buffer[: len(head)] = np.frombuffer(head, np.uint8)
        self._buffer[len(head) : size] = pixels.reshape(-1).view(np.uint8)
        return self._buffer[:size]


def _image_head(picture: Picture) -> bytes:
    """What precedes the pixels in a serialised ``sensor_msgs/Image`` without padding, little-endian."""
    stamp, pixels = picture.header.stamp, picture.pixels
    height, width = pixels.shape[:2]
    body = _aligned(struct.pack("<iI", stamp.sec, stamp.nanosec) + _text(picture.header.frame_id))
    body += struct.pack("<II", height, width) + _text(picture.encoding)
    body = _aligned(body + bytes([sys.byteorder == "big"]))
    return b"\0\1\0\0" + body + struct.pack("<II", pixels.nbytes // height, pixels.nbytes)


def _text(text: str) -> bytes:
    encoded = text.encode() + b"\0"
    return struct.pack("<I", len(encoded)) + encoded


def _aligned(body: bytes) -> bytes:
    return body + bytes(-len(body) % 4)


def image_message(picture: Picture) -> Image:
    """Makes the typed message of a picture, without padding; it works on every ROS 2 distribution."""
    pixels = picture.pixels
    height, width = pixels.shape[:2]
    message = Image(height=height, width=width, encoding=picture.encoding, step=pixels.nbytes // height)
    message.header = picture.header
    message.is_bigendian = int(sys.byteorder == "big")
    fill_data(message, pixels)
    return message


def fill_data(message: Any, pixels: np.ndarray) -> None:
    """Appends C-contiguous pixels to the empty ``data`` of a message: one copy, on every ROS 2 distribution."""
    message.data.frombytes(pixels.data.cast("B"))


def point_cloud(header: Header, points: np.ndarray) -> PointCloud2:
    """Makes a cloud with a field for each one of the array.

    It is C-contiguous, of float32, uint32 and uint8: [N], all finite, or organised [H, W], which may hold NaN.
    """
    width = points.shape[-1]
    message = PointCloud2(header=header, height=points.size // max(width, 1) or 1, width=width)
    for name, (kind, offset, *_) in (points.dtype.fields or {}).items():
        message.fields.append(PointField(name=name, offset=offset, datatype=_KINDS[kind.str[1:]], count=1))
    message.is_bigendian = sys.byteorder == "big"
    message.is_dense = points.ndim == 1
    message.point_step, message.row_step = points.itemsize, points.itemsize * width
    if points.size:
        fill_data(message, points.view(np.uint8))
    return message


class _SerializedMessage(ctypes.Structure):
    """``rcutils_uint8_array_t``, of which only buffer, length and capacity are read; then come five pointers."""

    _fields_ = (
        ("buffer", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
        ("capacity", ctypes.c_size_t),
        ("allocator", ctypes.c_void_p * 5),
    )


@functools.cache
def _rcl_publish() -> Any:
    """Returns ``rcl_publish_serialized_message`` of the library that rclpy has loaded; ctypes frees Python's lock."""
    function = ctypes.CDLL("librcl.so").rcl_publish_serialized_message
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    function.restype = ctypes.c_int
    return function


def _publishes_bytes() -> bool:
    """Tries whether rcl is to be had and lays images out as ``_image_head`` does."""
    picture = Picture(Header(frame_id="probe"), np.arange(6, dtype=np.uint8).reshape(2, 3), "mono8")
    try:
        _rcl_publish()
        ours = PicturePublisher().serialized(picture).tobytes()
        # Not their bytes: those between two fields are whatever lay in memory.
        return bool(deserialize_message(ours, Image) == image_message(picture))
    except Exception:
        return False


_PUBLISHES_BYTES = _publishes_bytes()

for _kind in (Image, CompressedImage):  # the first one compiles what reads them; no frame is to wait for that
    read_message(f"sensor_msgs/msg/{_kind.__name__}", bytes(serialize_message(_kind())))
