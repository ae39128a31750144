# SPDX-License-Identifier: Apache-2.0
"""Frames and negatives of a tiny training run."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def write_small_frames(root: Path) -> Path:
    """``cityscapes_640`` in small, stretched frames of 64x64, and two cut-outs in ``negatives``."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for part in ("image", "label"):
            (root / split / part).mkdir(parents=True)
        for number in range(count):
            image = cv2.resize(rng.integers(0, 255, (8, 8, 3), np.uint8), (64, 64))
            label = cv2.resize(rng.integers(0, 19, (4, 4), np.uint8), (64, 64), interpolation=cv2.INTER_NEAREST)
            cv2.imwrite(str(root / split / "image" / f"{number}.jpg"), image)
            cv2.imwrite(str(root / split / "label" / f"{number}.png"), label)
    negatives = root / "negatives"
    negatives.mkdir()
    for number in range(2):
        cv2.imwrite(str(negatives / f"{number}.png"), rng.integers(0, 255, (20, 30, 4), np.uint8) | 128)
    return root
