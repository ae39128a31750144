# SPDX-License-Identifier: Apache-2.0
"""Picture files: frames, label maps and disparities, whole or with one line that says what is wrong.

What reads one raises an InputError where the file is missing, truncated, no picture, or none of the kind that is read.
"""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import PIL.Image

from densehybrid_ros.errors import InputError, name_some
from densehybrid_ros.files import write_together

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Files that count as pictures, in lower case."""

_PNG_SIGNATURE, _PNG_BITS = b"\x89PNG\r\n\x1a\n", 24  # the place of the bits a channel
_START_OF_SCAN, _END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"


def read_color(path: Path) -> np.ndarray:
    """Reads a picture as uint8 RGB [H, W, 3]."""
    return cv2.cvtColor(_decode(_read(path), path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def read_with_alpha(path: Path) -> np.ndarray:
    """Reads a picture as uint8 [H, W, 4], RGB and opacity, or [H, W, 3] where it has no alpha channel."""
    picture = read_values(path)
    if picture.ndim == 3 and picture.shape[2] == 4 and picture.dtype == np.uint8:
        return cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA)
    return read_color(path)


def read_labels(path: Path) -> np.ndarray:
    """Reads a label picture as uint8 [H, W]: the number stored for each pixel.

    Of a picture with a palette (Mapillary Vistas) these are the indices, not the colours. Less than 8 bits count as
    they are, so that a 1-bit mask holds 0 and 1; more bits count where the numbers fit into 8. Three equal channels
    count as one, and so do four where the last, the opacity, is the same everywhere.
    """
    data = _read(path)
    stored = _stored_numbers(data, path)
    if stored is None:
        stored = _decode(data, path, cv2.IMREAD_UNCHANGED)
    labels = stored
    if stored.ndim == 3:
        colours, opacity = stored[:, :, :3], stored[:, :, 3:]
        if np.all(colours == colours[:, :, :1]) and np.all(opacity == opacity[0, 0]):
            labels = colours[:, :, 0]
    with np.errstate(invalid="ignore"):  # of numbers that are none
        narrow = np.ascontiguousarray(labels, np.uint8)
    if narrow.ndim != 2 or not np.array_equal(narrow, labels):
        kind = "colours" if stored.ndim == 3 else "values"
        what = f"{_describe(stored)} and holds the {kind} {name_some(_occurring(stored))}"
        raise InputError(f"{path}: labels must be 8-bit grey, one id a pixel; this is {what}")
    return narrow


def read_disparity(path: Path) -> np.ndarray:
    """Reads a disparity picture in the layout of Cityscapes and Lost and Found.

    Returns:
        float32 [H, W] in pixels, d = (p - 1) / 256; 0 where p = 0 (invalid).
    """
    stored = read_values(path)
    if stored.ndim != 2 or stored.dtype != np.uint16:
        raise InputError(f"{path}: disparity must be 16-bit grey, d = (p - 1) / 256; this is {_describe(stored)}")
    return np.maximum(stored.astype(np.float32) - 1.0, 0.0) / 256.0


def read_values(path: Path) -> np.ndarray:
    """Reads a picture as its file stores it, such as float32 [H, W] of a TIFF."""
    return _decode(_read(path), path, cv2.IMREAD_UNCHANGED)


def read_instances(path: Path) -> np.ndarray:
    """Reads an instance picture as uint16 [H, W]; 0 belongs to no instance."""
    stored = read_values(path)
    if stored.ndim != 2 or stored.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{path}: instances must be 8- or 16-bit grey; this is {_describe(stored)}")
    return stored.astype(np.uint16)


def write_picture(path: Path, picture: np.ndarray, quality: int = 95) -> None:
    """Writes uint8 RGB [H, W, 3], or uint8 or uint16 [H, W], whole or not at all; the ending says the kind."""
    stored = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix.lower() in (".jpg", ".jpeg") else []
    write_together({path: cv2.imencode(path.suffix, stored, options)[1].tobytes()}, sync=False)


def list_pictures(folder: Path, deep: bool = False) -> list[Path]:
    """Returns the picture files of a folder, sorted by name; if ``deep``, those of the folders in it, too."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    pictures = [
        path for path in (folder.rglob("*") if deep else folder.iterdir()) if path.suffix.lower() in PICTURE_SUFFIXES
    ]
    if not pictures:
        raise InputError(f"{folder}: holds no pictures ({', '.join(PICTURE_SUFFIXES)})")
    return sorted(pictures)


def _describe(picture: np.ndarray) -> str:
    channels = 1 if picture.ndim == 2 else picture.shape[2]
    return f"{picture.dtype.itemsize * 8}-bit with {channels} channel{'s' if channels > 1 else ''}"


def _occurring(picture: np.ndarray) -> list[str]:
    """Writes every value or colour, (red, green, blue) or with the opacity as a fourth, that a picture holds."""
    pixels = picture.reshape(len(picture) * picture.shape[1], -1)
    pixels = pixels[np.append(True, (pixels[1:] != pixels[:-1]).any(axis=1))]  # one of a run is enough
    colours = pixels[:, [2, 1, 0, 3][: pixels.shape[1]]] if pixels.shape[1] > 1 else pixels
    return [str(item[0] if len(item) == 1 else tuple(item)) for item in np.unique(colours, axis=0).tolist()]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from error


def _stored_numbers(data: bytes, path: Path) -> np.ndarray | None:
    """Indices of a palette, or grey of less than 8 bits, neither of which OpenCV gives; None of other pictures."""
    try:
        picture = PIL.Image.open(io.BytesIO(data))
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError):
        return None  # OpenCV may know it
    levels = 255
    if data[:8] == _PNG_SIGNATURE and picture.mode == "L":
        levels = (1 << data[_PNG_BITS]) - 1
    if picture.mode not in ("1", "P") and levels == 255:
        return None
    try:
        return np.array(picture, np.uint8) // (255 // levels)
    except (OSError, SyntaxError, ValueError) as error:  # SyntaxError is Pillow's for a broken PNG chunk
        raise InputError(f"{path}: truncated or not a picture") from error


def _decode(data: bytes, path: Path, flags: int) -> np.ndarray:
    picture = None if not data or _is_cut_jpeg(data) else cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if picture is None:
        raise InputError(f"{path}: truncated or not a picture")
    return picture


def _is_cut_jpeg(data: bytes) -> bool:
    """Whether a JPEG ends within its last scan, which OpenCV 4 fills with grey without an error."""
    return data.startswith(b"\xff\xd8") and data.rfind(_END_OF_IMAGE) < data.rfind(_START_OF_SCAN)
