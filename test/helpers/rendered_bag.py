# SPDX-License-Identifier: Apache-2.0
"""Frames as bags, and short drives on the rendered road."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from densehybrid_ros.bags.frames import BagFrame
from densehybrid_ros.bags.sources import RenderedFrames
from densehybrid_ros.bags.writer import BagWriter


def write_frames(path: Path, frames: Iterable[BagFrame], **options: Any) -> Path:
    """Writes frames into a bag; options as of ``BagWriter``. Returns ``path``."""
    with BagWriter(path, **options) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def write_drive(
    path: Path,
    frames: int = 4,
    size: tuple[int, int] = (256, 128),
    seed: int = 3,
    change: Callable[[BagFrame], BagFrame] = lambda frame: frame,
    **changes: Any,
) -> Path:
    """Writes a drive at ten frames a second; ``change`` and ``changes`` alter each frame. Returns ``path``."""
    rendered = RenderedFrames(seed, frames, size, 10.0)
    return write_frames(path, (replace(change(frame), **changes) for frame in rendered))
