# SPDX-License-Identifier: Apache-2.0
"""Camera messages into RGB arrays: one table of encodings, and JPEG and PNG; and whether the camera is frozen.

The functions take any object with the fields of ``sensor_msgs/Image`` or ``CompressedImage``; ROS is not needed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from densehybrid_ros.errors import InputError, shown

FROZEN = "camera frozen"
"""Name of the problem."""

_COMPARED_ROWS = 64  # of a picture, or columns; a living camera has noise in all of them
_JPEG_START = b"\xff\xd8\xff"
_JPEG_SCAN = b"\xff\xda"
_JPEG_END = b"\xff\xd9"
_COEFFICIENTS = 64  # of a block of a JPEG
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNK = 12  # bytes of a chunk's length, name and checksum

_PLANES = {"mono8": "u1", "8UC1": "u1", "mono16": "u2", "16UC1": "u2", "32FC1": "f4"}

Converter = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Encoding:
    """How the pixels of one encoding lie in a message."""

    channels: int  # Values a pixel
    to_rgb: Converter  # Turns uint8 [H, W, channels] into uint8 RGB [H, W, 3]; a view where that is enough
    bytes_per_value: int = 1  # 1, or 2 for 16-bit encodings, which are scaled to 8 bits
    shared: tuple[int, int] = (1, 1)  # (width, height) of a block of pixels that share their colour
    planar: bool = False  # Whether the brightness of all pixels comes first, then their colours


def _first_three(pixels: np.ndarray) -> np.ndarray:
    return pixels[:, :, :3]


def _reversed_three(pixels: np.ndarray) -> np.ndarray:
    return pixels[:, :, 2::-1]


def _opencv(code: int) -> Converter:
    def convert(pixels: np.ndarray) -> np.ndarray:
        return cv2.cvtColor(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels, code)

    return convert


def _nv24(lines: np.ndarray) -> np.ndarray:
    height, width = len(lines) // 3, lines.shape[1]
    colours = lines[height:].reshape(height, width, 2)
    return cv2.transform(np.concatenate([lines[:height], colours], axis=2), _BT601)


# Y, U, V and 1 -> red, green, blue: the studio swing of OpenCV's other conversions.
_BT601 = np.array([[1.164, 0.0, 1.596, -222.9], [1.164, -0.392, -0.813, 135.6], [1.164, 2.017, 0.0, -276.8]])
_gray = _opencv(cv2.COLOR_GRAY2RGB)
# ROS names a mosaic by the first two rows from the left; OpenCV's older constants by the second row from its second
# column, so RGGB is "BG" there.
_BAYER = {
    "rggb": _opencv(cv2.COLOR_BayerBG2RGB),
    "bggr": _opencv(cv2.COLOR_BayerRG2RGB),
    "gbrg": _opencv(cv2.COLOR_BayerGR2RGB),
    "grbg": _opencv(cv2.COLOR_BayerGB2RGB),
}
_uyvy = Encoding(2, _opencv(cv2.COLOR_YUV2RGB_UYVY), shared=(2, 1))
_yuyv = Encoding(2, _opencv(cv2.COLOR_YUV2RGB_YUY2), shared=(2, 1))

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
    "nv12": Encoding(1, _opencv(cv2.COLOR_YUV2RGB_NV12), shared=(2, 2), planar=True),
    "nv21": Encoding(1, _opencv(cv2.COLOR_YUV2RGB_NV21), shared=(2, 2), planar=True),
    "nv24": Encoding(1, _nv24, planar=True),
}
"""Name in ``sensor_msgs/Image.encoding`` -> how it is read. An encoding is added by one line here."""


def rgb_from_message(message: Any, most_pixels: int | None = None, bits: int = 16) -> np.ndarray:
    """Reads a ``sensor_msgs/Image``, or a ``CompressedImage`` that holds a JPEG or a PNG.

    Of an image ``step``, padding and ``is_bigendian`` are honoured. A damaged picture is refused as far as it shows: a
    JPEG that the decoder has to repair, a PNG whose checksums disagree. A JPEG has no checksums, so a damage that
    happens to decode is not found.

    Args:
        message: The message, of rclpy or of rosbags.
        most_pixels: Of the picture; None: any number.
        bits: Of the 16 of a 16-bit encoding or PNG those that count.

    Returns:
        uint8 RGB [H, W, 3]: a view into the message for rgb8, bgr8 and those with alpha, a new array otherwise.

    Raises:
        InputError: The encoding or format is not supported, the picture too large, cut short or damaged, or its size
            disagrees with the data.
    """
    if not hasattr(message, "encoding"):
        return _rgb_from_compressed(message, most_pixels, bits)
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        name = shown(message.encoding)
        raise InputError(f"encoding {name!r} is not supported; supported are {', '.join(ENCODINGS)}")
    _check_pixels(message.width, message.height, most_pixels)
    return encoding.to_rgb(_pixels(message, encoding, bits))


def _rgb_from_compressed(message: Any, most_pixels: int | None, bits: int) -> np.ndarray:
    data, name = bytes(message.data), shown(message.format)
    if message.format.startswith("bayer_"):
        raise InputError(f"format {name!r}: a compressed Bayer mosaic is not supported; send colours")
    if data.startswith(_JPEG_START):
        return _rgb_from_jpeg(data, most_pixels)
    if data.startswith(_PNG_START):
        return _rgb_from_png(data, most_pixels, bits)
    raise InputError(f"{len(data)} bytes of format {name!r} are neither JPEG nor PNG")


def is_deep(message: Any) -> bool:
    """Whether a message has 16 bits a value, by its encoding or, of a PNG, its format ("mono16; png compressed ")."""
    name = message.encoding if hasattr(message, "encoding") else message.format.partition(";")[0]
    return name in ENCODINGS and ENCODINGS[name].bytes_per_value == 2


def _check_pixels(width: int, height: int, most: int | None) -> None:
    if most is not None and width * height > most:
        raise InputError(f"{width}x{height} exceeds {most} pixels; raise max_image_pixels if such pictures are wanted")


def _rgb_from_jpeg(data: bytes, most_pixels: int | None) -> np.ndarray:
    try:
        import simplejpeg
    except ImportError as error:
        # OpenCV's decoder repairs damage without a word, and a grey road has no hazard.
        raise InputError("JPEG pictures need simplejpeg, which finds damage: pip install simplejpeg") from error
    name = f"JPEG of {len(data)} bytes is damaged or can't be decoded"
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        raise InputError(f"{name} ({shown(str(error))})") from error
    _check_pixels(width, height, most_pixels)
    try:
        image: np.ndarray = simplejpeg.decode_jpeg(data, "RGB")
    except ValueError as error:
        # Webcams pad their pictures with zeros, some before the end marker: that is whole.
        end = data.rfind(_JPEG_END)
        unpadded = data[: max(end, 0)].rstrip(b"\0")
        unpadded += b"\0" * unpadded.endswith(b"\xff")  # that zero is the picture's own
        if len(unpadded) < end and "before marker 0xd9" in str(error):
            return _rgb_from_jpeg(unpadded + _JPEG_END, most_pixels)
        raise InputError(f"{name} ({shown(str(error))})") from error
    if _coefficients(data) < _COEFFICIENTS * (1 if colours == "Gray" else 3):
        raise InputError(f"{name} (scans are missing)")
    return image


def _coefficients(data: bytes) -> int:
    """Counts the coefficients that the scans of a JPEG give to their last bit, a block of each component.

    The decoder takes a progressive one that ends between two scans for whole.
    """
    at, found = 2, 0
    while data[at : at + 2] != _JPEG_SCAN and at < len(data):  # segments may hold another JPEG, a thumbnail
        at += 1 if data[at + 1 : at + 2] == b"\xff" else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    end = data.find(_JPEG_END, at)
    while 0 <= at < end:
        components = data[at + 4]
        first, last, bits = data[at + 5 + 2 * components : at + 8 + 2 * components]
        if bits % 16 == 0:
            found += components * (last - first + 1)
        at = data.find(_JPEG_SCAN, at + 2)
    return found


def _rgb_from_png(data: bytes, most_pixels: int | None, bits: int) -> np.ndarray:
    name = f"PNG of {len(data)} bytes"
    _check_pixels(int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"), most_pixels)
    at = len(_PNG_START)
    while data[at + 4 : at + 8] != b"IEND":
        end = at + _PNG_CHUNK + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            raise InputError(f"{name} is cut short")
        if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise InputError(f"{name} is damaged: a checksum disagrees")
        at = end
    try:
        # A camera's picture lies in the optical frame as it is: an orientation in its metadata must not turn it.
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error as error:
        raise InputError(f"{name} can't be decoded ({shown(error.err)})") from error
    if image is None:
        raise InputError(f"{name} can't be decoded")
    return (_to_8_bits(image, bits) if image.dtype == np.uint16 else image)[:, :, ::-1]


def _to_8_bits(values: np.ndarray, bits: int) -> np.ndarray:
    return cv2.convertScaleAbs(values, alpha=255.0 / (2**bits - 1))


def _pixels(message: Any, encoding: Encoding, bits: int) -> np.ndarray:
    """Returns the pixels as uint8 [H, W, channels], a view for 8-bit encodings; [lines, W, 1] of planar ones."""
    height, width, step = int(message.height), int(message.width), int(message.step)
    data = np.frombuffer(message.data, dtype=np.uint8)
    row = width * encoding.channels * encoding.bytes_per_value
    across, down = encoding.shared
    if height < 1 or width < 1:
        raise InputError(f"size {width}x{height} is empty")
    if width % across or height % down:
        raise InputError(f"size {width}x{height} is odd, which {message.encoding} can't be")
    lines = height + 2 * height // (across * down) if encoding.planar else height
    # The padding behind the last row may be missing.
    if step < row or not step * (lines - 1) + row <= data.size <= step * lines:
        expected = f"{width}x{height} {message.encoding} with step {step} needs step >= {row} and {step * lines} bytes"
        raise InputError(f"size disagrees with the data: {expected}, but there are {data.size} bytes")
    if lines == 3 * height and step > row:
        raise InputError(f"{message.encoding} with padding (step {step}, width {width}) is not supported")
    strides = (step, encoding.channels, 1)
    if encoding.bytes_per_value == 1:
        return np.lib.stride_tricks.as_strided(data, (lines, width, encoding.channels), strides)
    wide = np.lib.stride_tricks.as_strided(data, (height, row), (step, 1)).copy()
    values = wide.view(">u2" if message.is_bigendian else "<u2").astype(np.uint16, copy=False)
    return _to_8_bits(values, bits).reshape(height, width, encoding.channels)


def plane(message: Any) -> np.ndarray:
    """Returns the one channel of a ``sensor_msgs/Image`` as it is, in native byte order.

    Args:
        message: An image of mono8, 8UC1, mono16, 16UC1 or 32FC1; padding and byte order are honoured.

    Returns:
        [H, W] of uint8, uint16 or float32, contiguous; a view into the message where that is enough.

    Raises:
        InputError: Another encoding, or a size that disagrees with the data.
    """
    if message.encoding not in _PLANES:
        raise InputError(f"encoding {shown(message.encoding)!r}; supported are {', '.join(_PLANES)}")
    dtype = np.dtype(_PLANES[message.encoding]).newbyteorder(">" if message.is_bigendian else "<")
    height, width, step = int(message.height), int(message.width), int(message.step)
    data, row = np.frombuffer(message.data, dtype=np.uint8), width * dtype.itemsize
    if step < row or data.size < height * step or height * width == 0:
        raise InputError(f"size disagrees with the data: {width}x{height} with step {step}, but {data.size} bytes")
    values = np.ascontiguousarray(data[: height * step].reshape(height, step)[:, :row]).view(dtype)
    return values.astype(dtype.newbyteorder("="), copy=False)


class StillPicture:
    """Tells a frozen camera: compares each picture with the one before."""

    def __init__(self) -> None:
        self._sample: np.ndarray = np.empty((0, 0, 3), np.uint8)
        self._same_since = 0.0
        self._plain_since: float | None = None

    def problem(self, image: np.ndarray, now: float, timeout: float) -> str | None:
        """Takes in a picture and says what is wrong with the camera, "NAME: what".

        Args:
            image: uint8 RGB [H, W, 3], any strides.
            now: Seconds.
            timeout: Seconds that a picture may stay the same, or of one colour.
        """
        step = max(1, min(image.shape[:2]) // _COMPARED_ROWS)
        sample = image[::step, ::step].copy()
        if not np.array_equal(sample, self._sample):
            self._sample, self._same_since = sample, now
        if np.any(sample != sample[0, 0]):
            self._plain_since = None
        elif self._plain_since is None:
            self._plain_since = now
        for what, since in (("the same picture", self._same_since), ("pictures of one colour", self._plain_since)):
            if since is not None and now - since >= timeout:
                return f"{FROZEN}: {what} for {now - since:.1f} s"
        return None
