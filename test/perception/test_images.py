# SPDX-License-Identifier: Apache-2.0
"""Every encoding of the table, against pictures whose colours are known."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from densehybrid_ros.errors import InputError
from densehybrid_ros.perception.images import ENCODINGS, is_deep, plane, rgb_from_message

HEIGHT, WIDTH = 12, 16
QUADRANTS = np.array([[[200, 40, 60], [30, 180, 50]], [[20, 60, 210], [150, 150, 20]]], dtype=np.uint8)
# The first two rows of a mosaic, as ROS names them: which channel (0 red, 1 green, 2 blue) a pixel has.
MOSAICS = {
    "rggb": [[0, 1], [1, 2]],
    "bggr": [[2, 1], [1, 0]],
    "gbrg": [[1, 2], [0, 1]],
    "grbg": [[1, 0], [2, 1]],
}


def picture() -> np.ndarray:
    """RGB with another colour in each quadrant, so that swapped channels and transposed axes show."""
    return QUADRANTS.repeat(HEIGHT // 2, axis=0).repeat(WIDTH // 2, axis=1)


def mosaic(image: np.ndarray, pattern: str) -> np.ndarray:
    channel = np.tile(MOSAICS[pattern], (image.shape[0] // 2, image.shape[1] // 2))
    return np.take_along_axis(image, channel[:, :, None], axis=2)


def yuv(image: np.ndarray, across: int, down: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """BT.601 studio swing from its definition; the pixels of a block share the mean of their colours."""
    red, green, blue = np.moveaxis(image.astype(float), 2, 0)
    luma = 16 + 0.257 * red + 0.504 * green + 0.098 * blue
    u = 128 - 0.148 * red - 0.291 * green + 0.439 * blue
    v = 128 + 0.439 * red - 0.368 * green - 0.071 * blue
    blocks = (HEIGHT // down, down, WIDTH // across, across)
    u, v = (plane.reshape(blocks).mean(axis=(1, 3)) for plane in (u, v))
    return np.rint(luma).astype(np.uint8), np.rint(u).astype(np.uint8), np.rint(v).astype(np.uint8)


def yuv422(image: np.ndarray, luma_first: bool) -> np.ndarray:
    luma, u, v = yuv(image, 2, 1)
    chroma = np.stack([u, v], axis=2).reshape(HEIGHT, WIDTH)
    return np.stack((luma, chroma) if luma_first else (chroma, luma), axis=2)


def planar(image: np.ndarray, encoding: str) -> np.ndarray:
    """[lines, WIDTH, 1]: the brightness of all pixels, then pairs of their colours."""
    block = (1, 1) if encoding == "nv24" else (2, 2)
    luma, u, v = yuv(image, *block)
    pair = (v, u) if encoding == "nv21" else (u, v)
    return np.concatenate([luma, np.stack(pair, axis=2).reshape(-1, WIDTH)])[:, :, None]


def pixels_in(encoding: str) -> np.ndarray:
    """The picture as a camera of this encoding gives it; 16-bit ones in this machine's byte order."""
    image = picture()
    name = encoding.removesuffix("16").removesuffix("8")
    alpha = np.full((HEIGHT, WIDTH, 1), 99, dtype=np.uint8)
    if encoding in ("uyvy", "yuv422"):
        return yuv422(image, luma_first=False)
    if encoding in ("yuyv", "yuv422_yuy2"):
        return yuv422(image, luma_first=True)
    if encoding.startswith("nv"):
        return planar(image, encoding)
    if name.startswith("bayer_"):
        pixels = mosaic(image, name.removeprefix("bayer_"))
    elif encoding in ("mono8", "8UC1", "mono16", "16UC1"):
        pixels = image[:, :, :1]
    elif name in ("rgb", "rgba"):
        pixels = image
    else:
        pixels = image[:, :, ::-1]
    if name in ("rgba", "bgra") or encoding == "8UC4":
        pixels = np.concatenate([pixels, alpha], axis=2)
    if encoding.startswith("16U") or encoding.endswith("16"):
        return pixels.astype(np.uint16) * 257
    return pixels


def message_of(pixels: np.ndarray, encoding: str, padding: int = 0, big_endian: bool = False) -> SimpleNamespace:
    swapped = pixels.astype(pixels.dtype.newbyteorder(">" if big_endian else "<"))
    rows = np.ascontiguousarray(swapped).view(np.uint8).reshape(pixels.shape[0], -1)
    data = np.pad(rows, ((0, 0), (0, padding)), constant_values=123).reshape(-1)
    return SimpleNamespace(
        height=HEIGHT if encoding.startswith("nv") else pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(big_endian),
        step=rows.shape[1] + padding,
        data=data,
    )


def assert_shows_the_picture(image: np.ndarray, encoding: str) -> None:
    expected = picture()
    if "mono" in encoding or encoding.endswith("UC1"):
        expected = expected[:, :, :1].repeat(3, axis=2)
    assert image.dtype == np.uint8
    assert image.shape == expected.shape
    if encoding.startswith("bayer_"):
        # Interpolation blurs across the borders of the quadrants and of the image.
        inner = np.zeros((HEIGHT, WIDTH), dtype=bool)
        inner[2 : HEIGHT // 2 - 2, 2 : WIDTH // 2 - 2] = inner[HEIGHT // 2 + 2 : -2, WIDTH // 2 + 2 : -2] = True
        np.testing.assert_allclose(image[inner].astype(int), expected[inner], atol=2)
    else:
        tolerance = 3 if encoding[:2] in ("uy", "yu", "nv") else 0
        np.testing.assert_allclose(image.astype(int), expected, atol=tolerance)


@pytest.mark.parametrize("padding", [0, 10])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding(encoding: str, padding: int) -> None:
    message = message_of(pixels_in(encoding), encoding, padding)
    if encoding == "nv24" and padding:
        with pytest.raises(InputError, match="nv24 with padding"):
            rgb_from_message(message)
        return
    assert_shows_the_picture(rgb_from_message(message), encoding)
    if padding:
        message.data = message.data[:-padding]  # that of the last row may be missing
        assert_shows_the_picture(rgb_from_message(message), encoding)


@pytest.mark.parametrize("encoding", [name for name, row in ENCODINGS.items() if row.bytes_per_value == 2])
def test_both_byte_orders(encoding: str) -> None:
    message = message_of(pixels_in(encoding), encoding, padding=3, big_endian=True)
    assert_shows_the_picture(rgb_from_message(message), encoding)
    wrong = message_of(pixels_in(encoding) + 1, encoding, big_endian=True)
    wrong.is_bigendian = 0
    assert not np.array_equal(rgb_from_message(wrong), rgb_from_message(message))


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "8UC3"])
def test_colours_are_not_copied(encoding: str) -> None:
    message = message_of(pixels_in(encoding), encoding, padding=8)
    assert np.shares_memory(rgb_from_message(message), message.data)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"encoding": "32FC1"}, "encoding '32FC1' is not supported; supported are rgb8"),
        ({"encoding": ""}, "is not supported"),
        ({"encoding": "\n" + "x" * 10**6}, r"^encoding '\?x{116}\.\.\.' is not supported; .{,400}$"),
        ({"height": HEIGHT + 1}, "size disagrees with the data"),
        ({"height": HEIGHT - 1}, "size disagrees with the data"),
        ({"width": WIDTH + 1}, "size disagrees with the data"),
        ({"step": WIDTH * 3 - 1}, "size disagrees with the data"),
        ({"data": np.zeros(0, np.uint8)}, "there are 0 bytes"),
        ({"height": 0}, "is empty"),
        ({"width": 5, "encoding": "uyvy"}, "size 5x12 is odd"),
    ],
)
def test_bad_images_are_named(change: dict[str, object], reason: str) -> None:
    message = message_of(pixels_in("rgb8"), "rgb8")
    vars(message).update(change)
    with pytest.raises(InputError, match=reason):
        rgb_from_message(message)


@pytest.mark.parametrize(("encoding", "kind"), [("mono8", "u1"), ("16UC1", "u2"), ("32FC1", "f4")])
@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("padding", [0, 5])
def test_a_plane_is_read_as_it_is(encoding: str, kind: str, big_endian: bool, padding: int) -> None:
    values = np.array([[1, 2, 3], [40, 50, 250]], kind)
    found = plane(message_of(values, encoding, padding, big_endian))
    np.testing.assert_array_equal(found, values)
    assert found.dtype == values.dtype
    assert found.dtype.isnative


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"width": 4}, "size disagrees with the data: 4x2 with step 3, but 6 bytes"),
        ({"encoding": "mono16"}, "size disagrees with the data"),
        ({"height": 0}, "size disagrees with the data"),
        ({"encoding": "rgb8"}, "encoding 'rgb8'; supported are mono8"),
    ],
)
def test_what_is_no_plane_is_named(change: dict[str, object], reason: str) -> None:
    message = message_of(np.zeros((2, 3), np.uint8), "mono8")
    vars(message).update(change)
    with pytest.raises(InputError, match=reason):
        plane(message)


def compressed(suffix: str, image: np.ndarray | None = None) -> SimpleNamespace:
    image = picture() if image is None else image
    parameters = [cv2.IMWRITE_JPEG_QUALITY, 100] if suffix == ".jpg" else []
    _, data = cv2.imencode(suffix, image[:, :, ::-1], parameters)
    return SimpleNamespace(format=f"rgb8; {suffix[1:]} compressed bgr8", data=data.tobytes())


def test_png_is_exact() -> None:
    np.testing.assert_array_equal(rgb_from_message(compressed(".png")), picture())


def test_grey_jpeg() -> None:
    _, data = cv2.imencode(".jpg", np.full((16, 16), 90, np.uint8))
    image = rgb_from_message(SimpleNamespace(format="jpeg", data=data.tobytes()))
    np.testing.assert_allclose(image, 90, atol=1)
    assert image.shape == (16, 16, 3)


def test_orientation_in_the_metadata_does_not_turn_the_picture() -> None:
    wide = compressed(".jpg", np.zeros((16, 32, 3), np.uint8))
    # An EXIF segment with one entry: orientation 6, "turn right".
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    exif = b"\xff\xe1" + (8 + len(tiff)).to_bytes(2, "big") + b"Exif\0\0" + tiff
    wide.data = wide.data[:2] + exif + wide.data[2:]
    assert cv2.imdecode(np.frombuffer(wide.data, np.uint8), cv2.IMREAD_COLOR).shape == (32, 16, 3)
    assert rgb_from_message(wide).shape == (16, 32, 3)


@pytest.mark.parametrize(("suffix", "reason"), [(".jpg", "is damaged or can't"), (".png", "is cut short")])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95])
def test_cut_pictures_are_named(suffix: str, reason: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    message = compressed(suffix, noise)
    message.data = message.data[: int(len(message.data) * kept)]
    with pytest.raises(InputError, match=reason):
        rgb_from_message(message)


@pytest.mark.parametrize(("bits", "value"), [(16, 65535), (12, 4095), (10, 1023), (10, 9999), (8, 255)])
def test_the_bits_that_count_reach_from_black_to_white(bits: int, value: int) -> None:
    pixels = np.full((4, 4, 1), value, np.uint16)
    raw = message_of(pixels, "mono16")
    packed = SimpleNamespace(format="mono16; png compressed ", data=cv2.imencode(".png", pixels)[1].tobytes())
    for message in (raw, packed):
        assert is_deep(message)
        assert np.all(rgb_from_message(message, bits=bits) == 255)
    assert not is_deep(message_of(np.zeros((4, 4, 1), np.uint8), "mono8"))


@pytest.mark.parametrize("suffix", ["raw", ".jpg", ".png"])
def test_too_large_pictures_are_not_decoded(suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    message = message_of(pixels_in("rgb8"), "rgb8") if suffix == "raw" else compressed(suffix)
    assert rgb_from_message(message, HEIGHT * WIDTH).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(InputError, match=r"^16x12 exceeds 191 pixels; raise max_image_pixels"):
        rgb_from_message(message, HEIGHT * WIDTH - 1)
    if suffix == ".png":  # nothing but its header is there
        message.data = message.data[:16] + (30000).to_bytes(4, "big") * 2 + bytes(30)
        with pytest.raises(InputError, match=r"^30000x30000 exceeds"):
            rgb_from_message(message, 2**23)


def test_a_damaged_png_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    message = compressed(".png")
    at = message.data.index(b"IDAT") + 20
    message.data = message.data[:at] + bytes([message.data[at] ^ 1]) + message.data[at + 1 :]
    with pytest.raises(InputError, match="a checksum disagrees"):
        rgb_from_message(message)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("h264", b"", "of format 'h264' are neither JPEG nor PNG"),
        ("h264", b"GIF89a" + bytes(50), "neither JPEG nor PNG"),
        ("bayer_rggb8; jpeg compressed ", bytes(100), "mosaic"),
    ],
)
def test_other_formats_are_named(name: str, data: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        rgb_from_message(SimpleNamespace(format=name, data=data))
