"""Held-out frames that commands choose by."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

_SIZE = (64, 96)


@pytest.fixture(scope="session")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two sets, of two frames of noise each, with an anomaly that nothing marks."""
    root = tmp_path_factory.mktemp("frames")
    rng = np.random.default_rng(1)
    for name in ("road_anomaly21_val", "road_obstacle21_val"):
        for folder in ("image", "label"):
            (root / name / folder).mkdir(parents=True)
        for index in range(2):
            label = np.zeros(_SIZE, np.uint8)
            label[20:40, 30:60] = 1
            image = rng.integers(0, 255, (*_SIZE, 3), np.uint8)
            assert cv2.imwrite(str(root / name / "image" / f"{index}.png"), image)
            assert cv2.imwrite(str(root / name / "label" / f"{index}.png"), label)
    return root
