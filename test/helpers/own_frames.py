# SPDX-License-Identifier: Apache-2.0
"""Small frames of somebody's own classes, as docs/your-data.md wants them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

CLASSES = """\
classes:
  - {id: 1, name: track, color: [90, 90, 90], drivable: true}
  - {id: 2, name: vegetation}
  - {id: 3, name: sky}
ignore: [0, 255]
unknown: [9]
"""
"""Their classes.yaml; vegetation and sky are classes of the shipped models."""
_COLORS = {0: (0, 0, 0), 1: (90, 90, 90), 2: (40, 120, 30), 3: (220, 190, 120), 9: (20, 30, 230)}  # BGR


def own_label(height: int = 64, width: int = 128) -> np.ndarray:
    """Sky above vegetation above a track, an unknown on it, and a strip that is ignored."""
    label = np.full((height, width), 1, np.uint8)
    label[: height // 2], label[: height // 4] = 2, 3
    label[-height // 4 : -height // 8, width // 3 : width // 2] = 9
    label[:, :4] = 0
    return label


def write_frame(image: Path, label: Path, values: np.ndarray, seed: int = 0) -> None:
    """Saves a label picture and a picture that shows its values by colour."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((*values.shape, 3), np.float32)
    for value, color in _COLORS.items():
        pixels[values == value] = color
    pixels += rng.normal(0, 8, pixels.shape)
    for path, picture in ((image, pixels.clip(0, 255).astype(np.uint8)), (label, values)):
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), picture)


def write_own_frames(root: Path, count: int) -> Path:
    """Writes ``root/frames/SPLIT/{images,labels}`` with classes.yaml, frames of two sizes; returns ``root/frames``."""
    frames = root / "frames"
    for folder in (frames / "train", frames / "val"):
        for number in range(count):
            label = own_label(64, 128) if number % 2 else own_label(80, 120)
            write_frame(folder / "images" / f"{number}.png", folder / "labels" / f"{number}.png", label, number)
    (frames / "classes.yaml").write_text(CLASSES)
    return frames
