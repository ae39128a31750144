# SPDX-License-Identifier: Apache-2.0
"""Short drives on the rendered road as bags."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from densehybrid_ros.bags.frames import BagFrame
from densehybrid_ros.bags.sources import RenderedFrames
from densehybrid_ros.bags.writer import BagWriter


def write_drive(
    path: Path,
    frames: int = 4,
    size: tuple[int, int] = (256, 128),
    seed: int = 3,
    change: Callable[[BagFrame], BagFrame] = lambda frame: frame,
    **changes: Any,
) -> Path:
    """Writes a drive at ten frames a second; ``change`` and ``changes`` alter each frame. Returns ``path``."""
    with BagWriter(path) as writer:
        for frame in RenderedFrames(seed, frames, size, 10.0):
            writer.write(replace(change(frame), **changes))
    return path
