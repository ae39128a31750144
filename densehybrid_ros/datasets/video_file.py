# SPDX-License-Identifier: Apache-2.0
"""Writing a video, whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from densehybrid_ros.errors import InputError, OutputError
from densehybrid_ros.files import make_folder

CODECS = {".mp4": ("avc1", "mp4v"), ".webm": ("VP80",)}
"""Ending of a video -> codecs, the first that OpenCV has is used. Browsers play avc1 (H.264) and VP80, not mp4v."""

_RATES = 0.1, 120.0  # frames a second that players take


@contextmanager
def video_file(path: Path, period: int) -> Iterator[Callable[[np.ndarray], None]]:
    """Yields what adds a frame, uint8 RGB [H, W, 3]; the video takes the place of ``path`` when the block ends well.

    A frame of another size than the first is brought to that. Without a frame nothing is written.

    Args:
        path: The file, with one of the endings of ``CODECS``.
        period: Nanoseconds from a frame to the next; 0: ten frames a second.

    Raises:
        InputError: The first frame is too small.
        OutputError: It can't be written.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{secrets.token_hex(4)}{path.suffix}")
    writer, size, count = None, (0, 0), 0

    def add(picture: np.ndarray) -> None:
        nonlocal writer, size, count
        if writer is None:
            height, width = picture.shape[:2]
            size = width // 2 * 2, height // 2 * 2  # codecs want even sides
            if not all(size):
                raise InputError(f"{path}: frames of {width}x{height} pixels are too small for a video")
            writer = _open(temporary, path, float(np.clip(1e9 / (period or 1e8), *_RATES)), size)
        if picture.shape[1::-1] != size:
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        count += 1

    try:
        yield add
        if writer is not None:
            writer.release()
            # OpenCV does not say when a frame finds no room.
            if not temporary.is_file() or cv2.VideoCapture(str(temporary)).get(cv2.CAP_PROP_FRAME_COUNT) < count:
                raise OutputError(f"{path}: can't be written whole; is the disk full?")
            temporary.replace(path)
    finally:
        if writer is not None:
            writer.release()
        temporary.unlink(missing_ok=True)


def _open(temporary: Path, path: Path, rate: float, size: tuple[int, int]) -> cv2.VideoWriter:
    with _silence():  # FFmpeg complains of every codec that it lacks
        for codec in CODECS[path.suffix.lower()]:
            writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*codec), rate, size)
            if writer.isOpened():
                return writer
    raise OutputError(f"{path}: can't be written: the folder is read-only, or OpenCV has no codec for {path.suffix}")


@contextmanager
def _silence() -> Iterator[None]:
    """Sends what C libraries print on stderr nowhere."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
