# SPDX-License-Identifier: Apache-2.0
"""Damaged messages of the fault campaign, serialised as they travel. No ROS here."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import cv2
import numpy as np

from densehybrid_ros.bags import messages
from densehybrid_ros.bags.messages import make, serialize
from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.perception.images import ENCODINGS
from fault_tally import cut, flipped, zeroed

SIZE = (256, 128)
"""Width and height of good frames."""

WILD = (float("nan"), float("inf"), float("-inf"), 1e308, -1e308, 3e38, -1.0, 0.0, 5e-324, 1e-30, 2.0**31, 123.456)
"""Numbers that a field may have and should not."""

_CAMERA = Camera(*SIZE, 280.0, 280.0, 127.5, 63.5, baseline=0.21, pitch=0.04, mount_height=1.22)
_FIRST_SECOND = 1_000_000_000
_HUGE = (2**31 - 1, 2**31, 2**32 - 1)
_KEPT = 1  # bytes of a cut message: an empty one stalls Fast DDS between a reliable writer and its reader
_TEXTS = ("", " ", "\0", "a\nb", "é☃🚗", "x" * 100_000, "%s%n{}", "nan", "../../x")
_STRANGE_ENCODINGS = ("RGB8", "rgb64", "32FC1", "64FC3", "rgb8 ", "bayer_xxxx8", "nv21", "rgb8\0", "8UC5", *_TEXTS)


@dataclass(frozen=True)
class Damaged:
    """A damaged message.

    Attributes:
        what: How it is damaged.
        data: As it travels.
        is_seen: Whether the damage must be seen, so that no answer may come.
        is_good: Whether it is strange but right, so that an answer must come.
        topic: "" for the picture, else camera_info, disparity or odometry.
    """

    what: str
    data: bytes
    is_seen: bool = False
    is_good: bool = False
    topic: str = ""


def stamp_of(number: int) -> tuple[int, int]:
    """Seconds and nanoseconds of a message; no two numbers share them."""
    return _FIRST_SECOND + number, 123_456_789


def header(number: int, frame_id: str = "camera") -> Any:
    """Makes the header of a message."""
    sec, nanosec = stamp_of(number)
    stamp = make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
    return make("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def good_picture(number: int) -> np.ndarray:
    """Returns RGB uint8 [H, W, 3] of a good frame."""
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]]
    return np.stack((rows, columns, rows + columns + number), axis=2).astype(np.uint8)


def good_frame(number: int, transport: str) -> bytes:
    """Returns a frame without damage."""
    if transport == "compressed":
        compression = ("jpeg", "png")[number % 2]
        message = messages.compressed_image_message(good_picture(number), compression, header(number))
    else:
        message = messages.image_message(good_picture(number), "rgb8", header(number))
    return bytes(serialize(message))


def raw_image(random: Random, number: int) -> Damaged:
    """Draws a damaged ``sensor_msgs/Image``."""
    return random.choice(_RAW)(random, number)


def compressed_image(random: Random, number: int) -> Damaged:
    """Draws a damaged ``sensor_msgs/CompressedImage``."""
    return random.choice(_COMPRESSED)(random, number)


def side_message(random: Random, number: int) -> Damaged:
    """Draws a damaged camera_info, disparity or odometry."""
    topic = random.choice(("camera_info", "disparity", "odometry"))
    message = {"camera_info": _camera_info, "disparity": _disparity, "odometry": _odometry}[topic](random, number)
    data = bytes(serialize(message))
    how = random.choice(("values", "values", "values", "cut", "flipped"))
    if how == "cut":
        data = cut(random, data, kept=_KEPT)
    elif how == "flipped":
        data = flipped(random, data)
    return Damaged(f"{topic}, {how}", data, topic=topic)


def _image(random: Random, number: int, encoding: str = "rgb8", **changes: Any) -> Any:
    width, height = 2 * random.randint(8, 40), 2 * random.randint(4, 20)
    row = width * ENCODINGS[encoding].channels * ENCODINGS[encoding].bytes_per_value
    step = row + random.choice((0, 0, 0, 1, 64))
    fields = {
        "header": header(number),
        "height": height,
        "width": width,
        "encoding": encoding,
        "is_bigendian": 0,
        "step": step,
        "data": _pixels(random, step * height),
    }
    return make(messages.IMAGE, **fields | changes)


def _pixels(random: Random, size: int) -> np.ndarray:
    kind = random.randrange(4)
    if kind == 0:
        return np.full(size, random.choice((0, 1, 127, 255)), np.uint8)
    if kind == 1:
        return np.arange(size, dtype=np.uint64).astype(np.uint8)
    if kind == 2:
        return np.resize(np.array([0, 255], np.uint8), size)
    return np.frombuffer(random.randbytes(size), np.uint8)


def _raw(what: str, message: Any, is_seen: bool = False, is_good: bool = False) -> Damaged:
    return Damaged(what, bytes(serialize(message)), is_seen, is_good)


def _every_encoding(random: Random, number: int) -> Damaged:
    encoding = random.choice([name for name, layout in ENCODINGS.items() if not layout.planar])
    return _raw(
        f"pixels of {encoding}", _image(random, number, encoding, is_bigendian=random.randrange(2)), False, True
    )


def _every_text(random: Random, number: int) -> Damaged:
    text = random.choice([item for item in _TEXTS if "\0" not in item])
    return _raw(f"frame id {text[:9]!r}", _image(random, number, header=header(number, text)), False, True)


def _every_order(random: Random, number: int) -> Damaged:
    return _raw("is_bigendian", _image(random, number, is_bigendian=random.randrange(256)), False, True)


def _stamp(random: Random, number: int) -> Damaged:
    sec = random.choice((-1, 0, -(2**31), 2**31 - 1, random.randrange(2**31)))
    stamp = make("builtin_interfaces/msg/Time", sec=sec, nanosec=random.choice((0, 10**9, 2**32 - 1)))
    return _raw(f"stamp {sec}", _image(random, number, header=make("std_msgs/msg/Header", stamp=stamp, frame_id="x")))


def _tiny(random: Random, number: int) -> Damaged:
    width, height = random.randint(1, 9), random.randint(1, 9)
    fields: dict[str, Any] = {
        "width": width,
        "height": height,
        "step": 3 * width,
        "data": _pixels(random, 3 * width * height),
    }
    return _raw(f"size {width}x{height}", _image(random, number, **fields))


def _size(random: Random, number: int) -> Damaged:
    message = _image(random, number)
    if random.random() < 0.5:
        message.width = random.choice((0, message.step + 1, 65_536, *_HUGE))
        return _raw(f"width {message.width}", message, True)
    message.height = random.choice((0, 1, message.height - 1, message.height + 2, 65_536, *_HUGE))
    return _raw(f"height {message.height}", message, True)


def _step(random: Random, number: int) -> Damaged:
    message = _image(random, number)
    message.step = random.choice((0, 1, 3 * message.width - 1, message.step + 65, *_HUGE))
    return _raw(f"step {message.step}", message, True)


def _encoding(random: Random, number: int) -> Damaged:
    name = random.choice(_STRANGE_ENCODINGS)
    message = _image(random, number)
    message.encoding = name
    # Whether what stands behind a NUL counts is the middleware's affair.
    return _raw(f"encoding {name[:12]!r}", message, name != "rgb8\0")


def _other_encoding(random: Random, number: int) -> Damaged:
    message = _image(random, number)
    message.encoding = random.choice([name for name, item in ENCODINGS.items() if item.bytes_per_value == 2])
    needed = ENCODINGS[message.encoding].channels * 2 * message.width
    return _raw(f"rgb8 called {message.encoding}", message, needed > message.step)


def _data(random: Random, number: int) -> Damaged:
    message = _image(random, number)
    size, row = len(message.data), 3 * message.width
    least = message.step * (message.height - 1) + row
    wanted = random.choice((0, 1, least - 1, random.randrange(least), size + 1, size + message.step, 3 * size))
    message.data = np.resize(message.data, wanted)
    return _raw(f"{wanted} bytes of data instead of {size}", message, True)


def _cut(random: Random, number: int) -> Damaged:
    return Damaged("message cut", cut(random, bytes(serialize(_image(random, number))), 8, _KEPT), True)


def _flipped(random: Random, number: int) -> Damaged:
    return Damaged("message flipped", flipped(random, bytes(serialize(_image(random, number))), last=64))


def _noise(random: Random, number: int) -> Damaged:
    return Damaged("noise", b"\0\1\0\0" + random.randbytes(random.randrange(400)))


def _lengths(random: Random, number: int) -> Damaged:
    data = bytearray(serialize(_image(random, number)))
    place = random.choice((12, data.index(b"rgb8\0") - 4))
    data[place : place + 4] = struct.pack("<I", random.choice((*_HUGE, 10**6)))
    return Damaged("length of a text", bytes(data), True)


def _no_text(random: Random, number: int) -> Damaged:
    data = bytearray(serialize(_image(random, number)))
    word, where = random.choice(((b"camera", "frame id"), (b"rgb8", "encoding")))
    place = data.index(word)
    data[place : place + len(word)] = bytes(random.randrange(128, 256) for _ in word)
    return Damaged(f"{where} is no UTF-8", bytes(data), where == "encoding")


Draw = Callable[[Random, int], Damaged]

_RAW: tuple[Draw, ...] = (
    _every_encoding,
    _every_text,
    _every_order,
    _stamp,
    _tiny,
    *(_size, _step, _encoding, _data, _cut, _flipped) * 2,
    _other_encoding,
    _noise,
    _lengths,
    _no_text,
)


def _packed(random: Random, kind: str) -> bytes:
    height, width = 8 * random.randint(2, 8), 8 * random.randint(2, 16)
    pixels = cv2.blur(np.frombuffer(random.randbytes(height * width * 3), np.uint8).reshape(height, width, 3), (5, 5))
    return cv2.imencode({"jpeg": ".jpg", "png": ".png"}[kind], pixels)[1].tobytes()


def _packed_message(number: int, data: bytes, what: str = "jpeg", text: str | None = None) -> bytes:
    wire = f"rgb8; {what} compressed bgr8" if text is None else text
    fields = {"header": header(number), "format": wire, "data": np.frombuffer(data, np.uint8)}
    return bytes(serialize(make(messages.COMPRESSED_IMAGE, **fields)))


def _kind(random: Random) -> str:
    return random.choice(("jpeg", "png"))


def _every_format(random: Random, number: int) -> Damaged:
    kind, text = _kind(random), random.choice([item for item in _TEXTS if "\0" not in item])
    data = _packed_message(number, _packed(random, kind), text=text)
    return Damaged(f"{kind} of format {text[:9]!r}", data, is_good=True)


def _packed_cut(random: Random, number: int) -> Damaged:
    kind = _kind(random)
    data = _packed(random, kind)
    return Damaged(f"{kind} cut", _packed_message(number, cut(random, data, least=14)), True)


def _packed_cut_with_end(random: Random, number: int) -> Damaged:
    kind = _kind(random)
    data, end = _packed(random, kind), {"jpeg": 2, "png": 12}[kind]
    begin = data.rindex(b"\xff\xda") + 14 if kind == "jpeg" else 41
    kept = data[: random.randint(begin, begin + (len(data) - begin) // 2)]
    return Damaged(f"{kind} cut, with its end", _packed_message(number, kept + data[-end:]), True)


def _packed_flipped(random: Random, number: int) -> Damaged:
    kind = _kind(random)
    data = flipped(random, _packed(random, kind))
    # A PNG has a checksum over everything; the picture of a JPEG may only look different.
    return Damaged(f"{kind} flipped", _packed_message(number, data), kind == "png")


def _packed_zeroed(random: Random, number: int) -> Damaged:
    kind = _kind(random)
    data = _packed(random, kind)
    damaged = zeroed(random, data, first=8)
    return Damaged(f"{kind} zeroed", _packed_message(number, damaged), kind == "png" and damaged != data)


def _packed_huge(random: Random, number: int) -> Damaged:
    kind = _kind(random)
    data = bytearray(_packed(random, kind))
    height, width = random.choice(((65_000, 65_000), (32_000, 32_000), (20_000, 9_000), (4_000, 60_000), (0, 0)))
    if kind == "jpeg":
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = struct.pack(">HH", height, width)
    else:
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return Damaged(f"{kind} that calls itself {width}x{height}", _packed_message(number, bytes(data)), True)


def _packed_noise(random: Random, number: int) -> Damaged:
    start = random.choice((b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF"))
    return Damaged("noise", _packed_message(number, start + random.randbytes(random.randrange(300))), True)


def _packed_message_cut(random: Random, number: int) -> Damaged:
    return Damaged("message cut", cut(random, _packed_message(number, _packed(random, "jpeg")), 8, _KEPT), True)


def _packed_message_flipped(random: Random, number: int) -> Damaged:
    return Damaged("message flipped", flipped(random, _packed_message(number, _packed(random, "png")), last=64))


_COMPRESSED: tuple[Draw, ...] = (
    _every_format,
    _packed_cut,
    _packed_cut_with_end,
    _packed_flipped,
    _packed_flipped,
    _packed_zeroed,
    _packed_huge,
    _packed_noise,
    _packed_message_cut,
    _packed_message_flipped,
)


def _camera_info(random: Random, number: int) -> Any:
    message = messages.camera_info_message(_CAMERA, header(number))
    for name in random.sample(("k", "p", "d", "r"), random.randint(1, 3)):
        values = getattr(message, name).copy()
        values[random.randrange(len(values))] = random.choice(WILD)
        setattr(message, name, values)
    for name in random.sample(("height", "width", "binning_x", "binning_y"), random.randint(0, 2)):
        setattr(message, name, random.choice((0, 1, 3, *_HUGE)))
    for name in random.sample(("x_offset", "y_offset", "height", "width"), random.randint(0, 2)):
        setattr(message.roi, name, random.choice((0, 1, *_HUGE)))
    return message


def _disparity(random: Random, number: int) -> Any:
    kinds = (
        np.full(SIZE[::-1], random.choice(WILD)),
        np.frombuffer(random.randbytes(4 * SIZE[0] * SIZE[1]), np.float32),
    )
    with np.errstate(all="ignore"):
        pixels = random.choice(kinds).astype(np.float32).reshape(SIZE[::-1])
    message = messages.disparity_message(pixels, _CAMERA, header(number))
    with np.errstate(all="ignore"):
        for name in random.sample(("f", "t", "min_disparity", "max_disparity", "delta_d"), random.randint(0, 3)):
            setattr(message, name, float(np.float32(random.choice(WILD))))
    if random.random() < 0.3:
        name = random.choice(("height", "width", "step"))
        setattr(message.image, name, random.choice((0, 1, *_HUGE)))
    if random.random() < 0.2:
        message.image.encoding = random.choice(_STRANGE_ENCODINGS)
    return message


def _odometry(random: Random, number: int) -> Any:
    message = messages.odometry_message(random.choice(WILD), header(number), random.choice(_TEXTS))
    for name in random.sample("xyz", 2):
        setattr(message.twist.twist.linear, name, random.choice(WILD))
    message.header.stamp.sec = random.choice((-(2**31), 0, 2**31 - 1, message.header.stamp.sec))
    return message
