"""Reading picture files: frames, label maps and disparities, whole or with one line that says what is wrong."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from densehybrid_ros.errors import InputError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Files that count as pictures, in lower case."""

_START_OF_SCAN, _END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"


def read_color(path: Path) -> np.ndarray:
    """Reads a picture as uint8 RGB [H, W, 3].

    Raises:
        InputError: The file is missing, truncated or no picture.
    """
    return cv2.cvtColor(_decode(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def read_labels(path: Path) -> np.ndarray:
    """Reads a label picture as uint8 [H, W]: one value a pixel.

    Three equal 8-bit channels count as one.

    Raises:
        InputError: The file is missing, truncated, no picture, or holds no single 8-bit value a pixel.
    """
    labels = _decode(path, cv2.IMREAD_UNCHANGED)
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
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from error
    picture = None if not data or _is_cut_jpeg(data) else cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if picture is None:
        raise InputError(f"{path}: truncated or not a picture")
    return picture


def _is_cut_jpeg(data: bytes) -> bool:
    """Whether a JPEG ends within its last scan, which OpenCV 4 fills with grey without an error."""
    return data.startswith(b"\xff\xd8") and data.rfind(_END_OF_IMAGE) < data.rfind(_START_OF_SCAN)
