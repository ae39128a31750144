"""Reading picture files: frames, label maps and disparities, whole or with one line that says what is wrong."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import PIL.Image

from densehybrid_ros.errors import InputError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Files that count as pictures, in lower case."""

_PNG_SIGNATURE, _PNG_PALETTE = b"\x89PNG\r\n\x1a\n", b"\x03"  # the colour type stands at byte 25
_START_OF_SCAN, _END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"


def read_color(path: Path) -> np.ndarray:
    """Reads a picture as uint8 RGB [H, W, 3].

    Raises:
        InputError: The file is missing, truncated or no picture.
    """
    return cv2.cvtColor(_decode(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def read_with_alpha(path: Path) -> np.ndarray:
    """Reads a picture as uint8 [H, W, 4], RGB and opacity, or [H, W, 3] where it has no alpha channel.

    Raises:
        InputError: The file is missing, truncated or no picture.
    """
    picture = _decode(path, cv2.IMREAD_UNCHANGED)
    if picture.ndim == 3 and picture.shape[2] == 4 and picture.dtype == np.uint8:
        return cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA)
    return read_color(path)


def read_labels(path: Path) -> np.ndarray:
    """Reads a label picture as uint8 [H, W]: one value a pixel.

    Of a PNG with a palette (Mapillary Vistas) these are the indices, not the colours. Three equal 8-bit channels count
    as one.

    Raises:
        InputError: The file is missing, truncated, no picture, or holds no single 8-bit value a pixel.
    """
    data = _read(path)
    if data[:8] == _PNG_SIGNATURE and data[25:26] == _PNG_PALETTE:
        return _palette_indices(data, path)
    labels = _decode_bytes(data, path, cv2.IMREAD_UNCHANGED)
    if labels.ndim == 3 and labels.shape[2] == 3 and np.all(labels == labels[:, :, :1]):
        labels = np.ascontiguousarray(labels[:, :, 0])
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise InputError(f"{path}: labels must be 8-bit grey, one id a pixel; this is {_describe(labels)}")
    return labels


def read_disparity(path: Path) -> np.ndarray:
    """Reads a disparity picture in the layout of Cityscapes and Lost and Found.

    Returns:
        float32 [H, W] in pixels, d = (p - 1) / 256; 0 where p = 0 (invalid).

    Raises:
        InputError: The file is missing, truncated, no picture, or not of 16 bits and one channel.
    """
    stored = _decode(path, cv2.IMREAD_UNCHANGED)
    if stored.ndim != 2 or stored.dtype != np.uint16:
        raise InputError(f"{path}: disparity must be 16-bit grey, d = (p - 1) / 256; this is {_describe(stored)}")
    return np.maximum(stored.astype(np.float32) - 1.0, 0.0) / 256.0


def read_instances(path: Path) -> np.ndarray:
    """Reads an instance picture as uint16 [H, W]; 0 belongs to no instance.

    Raises:
        InputError: The file is missing, truncated, no picture, or has several channels.
    """
    stored = _decode(path, cv2.IMREAD_UNCHANGED)
    if stored.ndim != 2 or stored.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{path}: instances must be 8- or 16-bit grey; this is {_describe(stored)}")
    return stored.astype(np.uint16)


def read_id_colors(path: Path) -> np.ndarray:
    """Reads a picture whose colours are numbers, red + 256 green + 65536 blue (COCO's panoptic format).

    Returns:
        uint32 [H, W].

    Raises:
        InputError: The file is missing, truncated or no picture.
    """
    red, green, blue = np.moveaxis(read_color(path).astype(np.uint32), -1, 0)
    return red + 256 * green + 65536 * blue


def list_pictures(folder: Path) -> list[Path]:
    """Returns the picture files of a folder, sorted by name.

    Raises:
        InputError: The folder is missing or holds no picture.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    pictures = [path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES]
    if not pictures:
        raise InputError(f"{folder}: holds no pictures ({', '.join(PICTURE_SUFFIXES)})")
    return sorted(pictures)


def _describe(picture: np.ndarray) -> str:
    channels = 1 if picture.ndim == 2 else picture.shape[2]
    return f"{picture.dtype.itemsize * 8}-bit with {channels} channel{'s' if channels > 1 else ''}"


def _decode(path: Path, flags: int) -> np.ndarray:
    return _decode_bytes(_read(path), path, flags)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from error


def _palette_indices(data: bytes, path: Path) -> np.ndarray:
    """OpenCV gives the colours of a palette, which may be alike for two classes; Pillow gives the indices."""
    try:
        with PIL.Image.open(io.BytesIO(data)) as picture:
            return np.array(picture, dtype=np.uint8)
    except (OSError, SyntaxError, ValueError) as error:  # SyntaxError is Pillow's for a broken PNG chunk
        raise InputError(f"{path}: truncated or not a picture") from error


def _decode_bytes(data: bytes, path: Path, flags: int) -> np.ndarray:
    picture = None if not data or _is_cut_jpeg(data) else cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if picture is None:
        raise InputError(f"{path}: truncated or not a picture")
    return picture


def _is_cut_jpeg(data: bytes) -> bool:
    """Whether a JPEG ends within its last scan, which OpenCV 4 fills with grey without an error."""
    return data.startswith(b"\xff\xd8") and data.rfind(_END_OF_IMAGE) < data.rfind(_START_OF_SCAN)
