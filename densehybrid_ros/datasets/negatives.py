"""Negatives to paste: object cut-outs with an alpha channel."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.errors import InputError
from densehybrid_ros.progress import progress

_SUFFIXES = {".webp", ".png"}


def load_cutouts(folder: Path) -> list[Tensor]:
    """Loads all cut-outs of a folder, cropped to what is opaque.

    Args:
        folder: Holds ``.webp`` or ``.png`` files with an alpha channel.

    Returns:
        uint8 [4, h, w] tensors: red, green, blue, alpha (255 = object).

    Raises:
        InputError: The folder is missing or empty, or a file can't be read or has no alpha channel.
    """
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in _SUFFIXES)
    if not files:
        raise InputError(f"{folder}: no cut-outs (.webp or .png with alpha); point negatives.root at them")
    return [_load(path) for path in progress(files, "load cut-outs", unit="cut-out")]


def _load(path: Path) -> Tensor:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise InputError(f"{path}: not a readable image")
    if image.ndim != 3 or image.shape[2] != 4:
        raise InputError(f"{path}: a cut-out needs an alpha channel")
    rows, columns = np.nonzero(image[:, :, 3] >= 128)
    if not rows.size:
        raise InputError(f"{path}: nothing in it is opaque")
    image = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    return torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA).transpose(2, 0, 1).copy())
