"""Camera messages into RGB arrays: one table of encodings, and JPEG and PNG.

The functions take any object with the fields of ``sensor_msgs/Image`` or ``CompressedImage``; ROS is not needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from densehybrid_ros.errors import InputError

_JPEG_START = b"\xff\xd8\xff"
_JPEG_SCAN = b"\xff\xda"
_JPEG_END = b"\xff\xd9"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xae\x42\x60\x82"

Converter = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Encoding:
    """How the pixels of one encoding lie in a message.

    Attributes:
        channels: Values a pixel.
        bytes_per_value: 1, or 2 for 16-bit encodings, which are scaled to 8 bits.
        to_rgb: Turns uint8 [H, W, channels] into uint8 RGB [H, W, 3]; a view where that is enough.
        even_width: Whether two neighbouring pixels share their colour.
    """

    channels: int
    to_rgb: Converter
    bytes_per_value: int = 1
    even_width: bool = False


def _first_three(pixels: np.ndarray) -> np.ndarray:
    return pixels[:, :, :3]


def _reversed_three(pixels: np.ndarray) -> np.ndarray:
    return pixels[:, :, 2::-1]


def _opencv(code: int) -> Converter:
    def convert(pixels: np.ndarray) -> np.ndarray:
        return cv2.cvtColor(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels, code)

    return convert


_gray = _opencv(cv2.COLOR_GRAY2RGB)
# ROS names a mosaic by the first two rows from the left; OpenCV's older constants by the second row from its second
# column, so RGGB is "BG" there.
_BAYER = {
    "rggb": _opencv(cv2.COLOR_BayerBG2RGB),
    "bggr": _opencv(cv2.COLOR_BayerRG2RGB),
    "gbrg": _opencv(cv2.COLOR_BayerGR2RGB),
    "grbg": _opencv(cv2.COLOR_BayerGB2RGB),
}
_uyvy = Encoding(2, _opencv(cv2.COLOR_YUV2RGB_UYVY), even_width=True)
_yuyv = Encoding(2, _opencv(cv2.COLOR_YUV2RGB_YUY2), even_width=True)

ENCODINGS: dict[str, Encoding] = {
    "rgb8": Encoding(3, _first_three),
    "bgr8": Encoding(3, _reversed_three),
    "rgba8": Encoding(4, _first_three),
    "bgra8": Encoding(4, _reversed_three),
    "mono8": Encoding(1, _gray),
    # The generic encodings don't say what their channels are; they come from OpenCV, whose order is BGR.
    "8UC1": Encoding(1, _gray),
    "8UC3": Encoding(3, _reversed_three),
    "8UC4": Encoding(4, _reversed_three),
    "rgb16": Encoding(3, _first_three, bytes_per_value=2),
    "bgr16": Encoding(3, _reversed_three, bytes_per_value=2),
    "rgba16": Encoding(4, _first_three, bytes_per_value=2),
    "bgra16": Encoding(4, _reversed_three, bytes_per_value=2),
    "mono16": Encoding(1, _gray, bytes_per_value=2),
    "16UC1": Encoding(1, _gray, bytes_per_value=2),
    "16UC3": Encoding(3, _reversed_three, bytes_per_value=2),
    **{f"bayer_{mosaic}8": Encoding(1, convert) for mosaic, convert in _BAYER.items()},
    **{f"bayer_{mosaic}16": Encoding(1, convert, bytes_per_value=2) for mosaic, convert in _BAYER.items()},
    "uyvy": _uyvy,
    "yuv422": _uyvy,  # the old name
    "yuyv": _yuyv,
    "yuv422_yuy2": _yuyv,  # the old name
}
"""Name in ``sensor_msgs/Image.encoding`` -> how it is read. An encoding is added by one line here."""


def rgb_from_image(message: Any) -> np.ndarray:
    """Reads a ``sensor_msgs/Image``.

    Args:
        message: The message; ``step``, padding and ``is_bigendian`` are honoured.

    Returns:
        uint8 RGB [H, W, 3]: a view into the message for rgb8, bgr8 and those with alpha, a new array otherwise.

    Raises:
        InputError: The encoding is not supported, or the size disagrees with the data.
    """
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        raise InputError(f"encoding {message.encoding!r} is not supported; supported are {', '.join(ENCODINGS)}")
    return encoding.to_rgb(_pixels(message, encoding))


def rgb_from_compressed(message: Any) -> np.ndarray:
    """Reads a ``sensor_msgs/CompressedImage`` that holds a JPEG or a PNG.

    Returns:
        uint8 RGB [H, W, 3].

    Raises:
        InputError: The data is neither, is cut short, or can't be decoded.
    """
    data = bytes(message.data)
    if message.format.startswith("bayer_"):
        raise InputError(f"format {message.format!r}: a compressed Bayer mosaic is not supported; send colours")
    if data.startswith(_JPEG_START):
        kind = "JPEG"
        # Decoders fill what is missing with grey, so the end is looked for. Both markers can't occur in a scan.
        complete = data.rfind(_JPEG_END) > data.rfind(_JPEG_SCAN) > 0
    elif data.startswith(_PNG_START):
        kind, complete = "PNG", _PNG_END in data[-64:]
    else:
        raise InputError(f"{len(data)} bytes of format {message.format!r} are neither JPEG nor PNG")
    if not complete:
        raise InputError(f"{kind} of {len(data)} bytes is cut short")
    try:
        # A camera's picture lies in the optical frame as it is: an orientation in its metadata must not turn it.
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error as error:
        raise InputError(f"{kind} of {len(data)} bytes can't be decoded ({error.err})") from error
    if image is None:
        raise InputError(f"{kind} of {len(data)} bytes can't be decoded")
    return image[:, :, ::-1]


def rgb_from_message(message: Any) -> np.ndarray:
    """Reads a ``sensor_msgs/Image`` or ``CompressedImage``, of rclpy or of rosbags; see the two functions above."""
    return rgb_from_image(message) if hasattr(message, "encoding") else rgb_from_compressed(message)


def _pixels(message: Any, encoding: Encoding) -> np.ndarray:
    """Returns the pixels as uint8 [H, W, channels], a view for 8-bit encodings."""
    height, width, step = int(message.height), int(message.width), int(message.step)
    data = np.frombuffer(message.data, dtype=np.uint8)
    row = width * encoding.channels * encoding.bytes_per_value
    if height < 1 or width < 1:
        raise InputError(f"size {width}x{height} is empty")
    if encoding.even_width and width % 2:
        raise InputError(f"width {width} is odd, which {message.encoding} can't be")
    # The padding behind the last row may be missing.
    if step < row or not step * (height - 1) + row <= data.size <= step * height:
        expected = f"{width}x{height} {message.encoding} with step {step} needs step >= {row} and {step * height} bytes"
        raise InputError(f"size disagrees with the data: {expected}, but there are {data.size} bytes")
    strides = (step, encoding.channels, 1)
    if encoding.bytes_per_value == 1:
        return np.lib.stride_tricks.as_strided(data, (height, width, encoding.channels), strides)
    wide = np.lib.stride_tricks.as_strided(data, (height, row), (step, 1)).copy()
    values = wide.view(">u2" if message.is_bigendian else "<u2").astype(np.uint16, copy=False)
    return cv2.convertScaleAbs(values, alpha=255.0 / 65535.0).reshape(height, width, encoding.channels)
