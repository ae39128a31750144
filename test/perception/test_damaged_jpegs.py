# SPDX-License-Identifier: Apache-2.0
"""JPEGs that the decoder would have to repair are refused; whole ones of any encoder are not."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from types import SimpleNamespace

import cv2
import numpy as np
import PIL.Image
import pytest

from densehybrid_ros.errors import InputError
from densehybrid_ros.perception.images import rgb_from_message

_END = b"\xff\xd9"
_SCAN = b"\xff\xda"


def scene(height: int = 240, width: int = 320) -> np.ndarray:
    random = np.random.default_rng(1)
    picture = np.linspace(60, 200, height)[:, None, None] + random.normal(0, 6, (height, width, 3))
    picture[height // 2 :, width // 3 : width // 2] = (200, 30, 90)
    return np.clip(picture, 0, 255).astype(np.uint8)


def by_opencv(quality: int, progressive: bool, restarts: int) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)]
    return bytes(cv2.imencode(".jpg", scene(), [*options, cv2.IMWRITE_JPEG_RST_INTERVAL, restarts])[1].tobytes())


def by_pillow(quality: int, progressive: bool, restarts: int) -> bytes:
    stream, more = io.BytesIO(), {"restart_marker_rows": 1} if restarts else {}
    PIL.Image.fromarray(scene()).save(stream, "JPEG", quality=quality, progressive=progressive, **more)
    return stream.getvalue()


JPEGS = [
    encode(quality, progressive, restarts)
    for encode in (by_opencv, by_pillow)
    for quality in (40, 90)
    for progressive in (False, True)
    for restarts in (0, 4)
]


def without_tables(data: bytes) -> bytes:
    """As webcams send it: no Huffman tables, which everybody knows."""
    found, at = data[:2], 2
    while data[at : at + 2] != _SCAN:
        after = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        found += b"" if data[at + 1] == 0xC4 else data[at:after]
        at = after
    return found + data[at:]


def read(data: bytes) -> np.ndarray:
    return rgb_from_message(SimpleNamespace(format="jpeg", data=data))


@pytest.mark.parametrize("change", [bytes, lambda data: data + bytes(37), lambda data: data + b"junk" + data[:50]])
def test_whole_ones_are_read_as_opencv_reads_them(change: Callable[[bytes], bytes]) -> None:
    for data in JPEGS:
        expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
        # Builds of libjpeg differ in how they round.
        np.testing.assert_allclose(read(change(data)).astype(int), expected, atol=2)


def test_webcams_leave_tables_out_and_pad_with_zeros() -> None:
    data = by_opencv(80, False, 0)
    webcam = without_tables(data)
    assert len(webcam) < len(data)
    for sent in (webcam, webcam[:-2] + bytes(5) + _END, webcam[:-2] + b"\xff" * 3 + _END):
        np.testing.assert_array_equal(read(sent), read(data))
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    sizes = ((8 + seed // 9, 16 + seed % 9) for seed in range(4000))
    small = (cv2.imencode(".jpg", scene(*size), options)[1].tobytes() for size in sizes)
    stuffed = next(data for data in small if data.endswith(b"\xff\0" + _END))
    np.testing.assert_array_equal(read(stuffed[:-2] + bytes(5) + _END), read(stuffed))


def replaced(data: bytes, at: int, removed: int, put: bytes) -> bytes:
    return data[:at] + put + data[at + removed :]


DAMAGES: dict[str, Callable[[bytes, int], bytes]] = {
    "zeros": lambda data, at: replaced(data, at, 1400, bytes(1400)),
    "ones": lambda data, at: replaced(data, at, 64, b"\xff" * 64),
    "cut, end put behind": lambda data, at: data[:at] + _END,
    "cut, zeros and end put behind": lambda data, at: data[:at] + bytes(2000) + _END,
    "doubled": lambda data, at: data[: at + 500] + data[at:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_ones_are_refused(damage: str, capfd: pytest.CaptureFixture[str]) -> None:
    for data in JPEGS:
        scan = data.index(_SCAN) + 14
        for share in (0.3, 0.6):
            with pytest.raises(InputError, match=r"^JPEG of \d+ bytes is damaged"):
                read(DAMAGES[damage](data, scan + int((len(data) - scan) * share)))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("encode", [by_opencv, by_pillow])
def test_a_progressive_one_that_ends_between_two_scans_is_refused(encode: Callable[..., bytes]) -> None:
    data = encode(90, True, 0)
    last = data.rindex(_SCAN)
    shorter = data[: data.rindex(b"\xff\xc4", 0, last)] + _END
    assert cv2.imdecode(np.frombuffer(shorter, np.uint8), cv2.IMREAD_COLOR) is not None
    with pytest.raises(InputError, match="scans are missing"):
        read(shorter)


def test_a_thumbnail_is_no_part_of_the_picture() -> None:
    data, thumbnail = by_opencv(90, True, 0), by_opencv(10, False, 0)
    segment = b"\xff\xff\xe1" + (2 + len(thumbnail)).to_bytes(2, "big") + thumbnail
    np.testing.assert_array_equal(read(data[:2] + segment + data[2:]), read(data))


def test_without_the_strict_decoder_none_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    with pytest.raises(InputError, match="pip install simplejpeg"):
        read(JPEGS[0])
