# SPDX-License-Identifier: Apache-2.0
"""What a crop shows: colours, and the way from frame to crop."""

from __future__ import annotations

import numpy as np
import pytest

from densehybrid_ros.datasets.training_frames import Overview
from densehybrid_ros.training.crops import Crop, CropContext, Photometry


def context(rows: slice, columns: slice, flip: bool = False) -> CropContext:
    """A frame of 400x800, red from row 240 on, blue above it and green in its leftmost 120 columns."""
    colors = np.zeros((100, 200, 3), np.uint8)
    colors[60:, :, 0], colors[:60, :, 2] = 255, 255
    colors[:, :30] = (0, 255, 0)
    crop = Crop(rows, columns, (200, 200), (0, 0), flip, Photometry())
    return CropContext((200, 200), crop, Overview(colors, np.zeros((100, 200), np.uint8)))


def test_a_row_of_the_frame_is_found_in_the_crop() -> None:
    assert context(slice(200, 300), slice(100, 200)).row(250.0) == 100


@pytest.mark.parametrize("flip", [False, True])
def test_colours_around_a_place_are_the_frames(flip: bool) -> None:
    shown = context(slice(200, 400), slice(100, 300), flip)
    places = {"below": (150, 100), "above": (10, 100), "left": (100, 197 if flip else 2)}
    found = {name: shown.colors(*place, 5).mean(0).tolist() for name, place in places.items()}
    assert found == {"below": [1, 0, 0], "above": [0, 0, 1], "left": [0, 1, 0]}
    assert shown.colors(-900, 100, 5).shape == (0, 3)
