# SPDX-License-Identifier: Apache-2.0
"""Label pictures as people save them: the numbers that are read, and the one line on what can't be meant."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from densehybrid_ros.datasets.labelled_set import (
    ANOMALY_VALUES,
    TRAIN_IDS,
    anomaly_values,
    translate_labels,
    what_is_lacking,
)
from densehybrid_ros.datasets.pictures import read_labels
from densehybrid_ros.errors import InputError

LABELS = np.array([[0, 1, 1, 0], [255, 255, 1, 0]], np.uint8)
MASK = LABELS == 1
OPAQUE = np.full_like(LABELS, 255)


def palette(numbers: np.ndarray, *colours: int) -> PIL.Image.Image:
    picture = PIL.Image.frombytes("P", numbers.shape[::-1], numbers.tobytes())
    picture.putpalette([*colours, *(7, 8, 9) * 254])
    return picture


def four_bits(numbers: np.ndarray) -> bytes:
    """A grey PNG of 4 bits a pixel, which Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes((row[0::2] << 4 | row[1::2]).tolist()) for row in numbers)
    header = struct.pack(">IIBBBBB", numbers.shape[1], numbers.shape[0], 4, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_masks_of_one_bit_and_palettes_give_their_numbers(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mask.{suffix}"
    PIL.Image.fromarray(MASK).save(path)
    np.testing.assert_array_equal(read_labels(path), MASK)
    for colours in ((0, 0, 0, 255, 255, 255), (255, 255, 255, 0, 0, 0), (9, 9, 9, 9, 9, 9)):
        palette(LABELS, *colours).save(path)
        np.testing.assert_array_equal(read_labels(path), LABELS)


def test_grey_of_four_bits_holds_the_numbers_as_stored(tmp_path: Path) -> None:
    numbers = np.array([[0, 1, 15, 7], [1, 1, 0, 0]], np.uint8)
    (tmp_path / "a.png").write_bytes(four_bits(numbers))
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), numbers)


@pytest.mark.parametrize(
    ("suffix", "picture"),
    [
        ("png", np.dstack([LABELS] * 3)),
        ("png", np.dstack([*[LABELS] * 3, OPAQUE])),
        ("png", np.dstack([LABELS, OPAQUE])),
        ("png", LABELS.astype(np.uint16)),
        ("tif", LABELS.astype(np.int32)),
        ("tif", LABELS.astype(np.float32)),
    ],
    ids=["rgb", "rgba", "grey with opacity", "16 bits", "32 bits", "float"],
)
def test_grey_in_other_layouts_gives_its_value(tmp_path: Path, suffix: str, picture: np.ndarray) -> None:
    PIL.Image.fromarray(picture).save(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(read_labels(tmp_path / f"a.{suffix}"), LABELS)


@pytest.mark.parametrize(
    ("picture", "found"),
    [
        (
            np.dstack([MASK * 200, MASK * 10, MASK * 0]),
            r"8-bit with 3 channels and holds the colours \(0, 0, 0\), \(200, 10",
        ),
        (np.dstack([*[LABELS] * 3, MASK * 255]), r"colours \(0, 0, 0, 0\), \(1, 1, 1, 255\), \(255, 255, 255, 0\)"),
        (MASK * 65535, "16-bit with 1 channel and holds the values 0, 65535"),
        (np.arange(256, 306).reshape(5, 10), "holds the values 256, 257, 258, 259 and 46 more"),
    ],
    ids=["colours", "opacity", "16 bits", "wide"],
)
def test_what_is_no_label_is_refused_with_what_was_found(tmp_path: Path, picture: np.ndarray, found: str) -> None:
    PIL.Image.fromarray(picture.astype(np.uint8 if picture.ndim == 3 else np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=rf"a\.png: labels must be 8-bit grey, one id a pixel; this is .*{found}"):
        read_labels(tmp_path / "a.png")


def test_a_cut_palette_picture_is_named(tmp_path: Path) -> None:
    data = io.BytesIO()
    palette(np.random.default_rng(0).integers(0, 9, (99, 99), np.uint8)).save(data, "PNG")
    (tmp_path / "a.png").write_bytes(data.getvalue()[:-1000])
    with pytest.raises(InputError, match=r"a\.png: truncated or not a picture"):
        read_labels(tmp_path / "a.png")


def test_foreign_values_come_with_the_mend() -> None:
    smoothed = np.array([[0, 2, 128, 254, 255]], np.uint8)
    with pytest.raises(InputError, match=r"a: label values 2, 128, 254 are not those .*0\.\.1, 255.*without smoothing"):
        translate_labels(smoothed, ANOMALY_VALUES, Path("a"))
    label_ids = np.array([[7, 26, 33]], np.uint8)
    with pytest.raises(InputError, match=r"label values 26, 33 .*\(0\.\.18, 255\); these are label ids of Cityscapes"):
        translate_labels(label_ids, TRAIN_IDS, Path("a"))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((0, 255), "no pixel is an anomaly; the labels hold 0 (inlier), 255 (ignore) alone; save"),
        ((1,), "no pixel is an inlier; the labels hold 1 (anomaly) alone; save"),
        ((255,), "no pixel is labelled; the labels hold 255 (ignore) alone; save"),
        ((0, 1), ""),
    ],
)
def test_what_labels_lack(values: tuple[int, ...], said: str) -> None:
    found = anomaly_values(np.array([values], np.uint8))
    assert found == set(values)
    assert what_is_lacking(found).startswith(said)
    assert bool(what_is_lacking(found)) == bool(said)
