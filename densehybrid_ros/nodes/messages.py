"""ROS messages: their classes by name, and images without going through Python objects a byte at a time."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import numpy as np
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from densehybrid_ros.errors import InputError


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


def image_message(header: Header, pixels: np.ndarray, encoding: str) -> Image:
    """Makes an image message without padding.

    Args:
        header: Taken over as it is: the stamp and frame of the camera's message.
        pixels: C-contiguous [H, W] or [H, W, C] of the encoding's element type. It must not change until the
            message is published, because the message may refer to it.
        encoding: One of sensor_msgs/image_encodings.hpp.
    """
    height, width = pixels.shape[:2]
    message = Image(height=height, width=width, encoding=encoding, step=pixels.nbytes // height)
    message.header = header
    message.is_bigendian = int(sys.byteorder == "big")
    if _TAKES_BUFFERS:
        # Saves one of four copies. The setter of `data` would copy, so it is passed by; see _takes_buffers.
        message._data = pixels.data.cast("B")
    else:
        fill_data(message, pixels)
    return message


def fill_data(message: Any, pixels: np.ndarray) -> None:
    """Appends C-contiguous pixels to the empty ``data`` of a message: one copy, on every ROS 2 distribution."""
    message.data.frombytes(pixels.data.cast("B"))


def _takes_buffers() -> bool:
    """Tries whether the installed message code serialises any buffer in the place of an ``array.array``.

    It has since 2021 (rosidl_python, pull request 129), but nothing promises that it stays so.
    """
    pixels = np.arange(6, dtype=np.uint8)
    filled = Image(height=2, width=3, step=3, encoding="mono8")
    fill_data(filled, pixels)
    referring = Image(height=2, width=3, step=3, encoding="mono8")
    try:
        referring._data = pixels.data
        return bool(serialize_message(referring) == serialize_message(filled))
    except Exception:
        return False


_TAKES_BUFFERS = _takes_buffers()
