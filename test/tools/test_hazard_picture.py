# SPDX-License-Identifier: Apache-2.0
"""The picture of a frame beside the road from above."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from densehybrid_ros.hazards.hazard import Hazard, HazardFrame, Level, Location, Region, Source, State
from densehybrid_ros.hazards.picture import LEVEL_COLORS
from hazard_picture import hazard_picture, view_from_above

PLACE = Location((3.0, 1.2, 30.0), 30.0, 3.0, 1.0, 2.0, Source.GROUND_PLANE)
REGION = Region(400, 200, 120, 20, 20, (210.0, 130.0), 3.0, 2.0)
HAZARD = Hazard(4, State.ACTIVE, REGION, 0.9, PLACE, None, Level.ERROR, 5, 0, 0.0)


def frame_of(hazard: Hazard) -> HazardFrame:
    drivable = np.zeros((32, 64), dtype=bool)
    drivable[20:] = True
    return HazardFrame(0.0, (hazard,), (), (), Level.ERROR, "text", (), 0, drivable)


def is_drawn(picture: np.ndarray, rows: slice, columns: slice) -> bool:
    return bool((picture[rows, columns] == LEVEL_COLORS[Level.ERROR]).all(axis=2).any())


def test_view_from_above() -> None:
    """30 m ahead of 60 is half-way up, 3 m to the right of 12 five eighths to the right."""
    picture = view_from_above(frame_of(HAZARD), 480, 320)
    assert is_drawn(picture, slice(237, 243), slice(197, 203))
    empty = view_from_above(frame_of(replace(HAZARD, location=Location())), 480, 320)
    assert not is_drawn(empty, slice(None), slice(None))


@pytest.mark.parametrize("height", [128, 512])
def test_both_side_by_side(height: int) -> None:
    image = np.full((height, 2 * height, 3), 90, dtype=np.uint8)
    picture = hazard_picture(image, frame_of(HAZARD))
    assert picture.shape == (height, 2 * height + height // 2, 3)
    assert (image == 90).all()
    lowest = picture[-1, : 2 * height]
    assert (lowest != 90).any(), "the drivable surface is tinted"
