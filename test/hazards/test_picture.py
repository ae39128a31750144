"""The picture shows what the stage says where it says it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from densehybrid_ros.hazards.hazard import Hazard, HazardFrame, Level, Location, Region, Source, State
from densehybrid_ros.hazards.picture import LEVEL_COLORS, camera_view, hazard_picture, view_from_above

PLACE = Location((3.0, 1.2, 30.0), 30.0, 3.0, 1.0, 2.0, Source.GROUND_PLANE)
REGION = Region(400, 200, 120, 20, 20, (210.0, 130.0), 3.0, 2.0)
HAZARD = Hazard(4, State.ACTIVE, REGION, 0.9, PLACE, None, Level.ERROR, 5, 0, 0.0)


def frame_of(*hazards: Hazard, candidates: tuple[Hazard, ...] = ()) -> HazardFrame:
    drivable = np.zeros((32, 64), dtype=bool)
    drivable[20:] = True
    return HazardFrame(0.0, hazards, candidates, (), Level.ERROR, "text", (), 0, drivable)


def is_drawn(picture: np.ndarray, color: tuple[int, int, int], rows: slice, columns: slice) -> bool:
    return bool((picture[rows, columns] == color).all(axis=2).any())


def test_box_and_drivable_surface() -> None:
    image = np.full((256, 512, 3), 90, dtype=np.uint8)
    picture = camera_view(image, frame_of(HAZARD))
    assert (image == 90).all()
    assert is_drawn(picture, LEVEL_COLORS[Level.ERROR], slice(120, 122), slice(200, 220))
    assert (picture[240, 400] != 90).any()
    assert (picture[60, 400] == 90).all()


def test_candidates_are_grey() -> None:
    image = np.zeros((256, 512, 3), dtype=np.uint8)
    picture = camera_view(image, replace(frame_of(candidates=(HAZARD,)), drivable=None))
    assert not is_drawn(picture, LEVEL_COLORS[Level.ERROR], slice(100, None), slice(None))
    assert is_drawn(picture, (190, 190, 190), slice(120, 122), slice(200, 220))


def test_view_from_above() -> None:
    """30 m ahead of 60 is half-way up, 3 m to the right of 12 five eighths to the right."""
    picture = view_from_above(frame_of(HAZARD), 480, 320)
    assert is_drawn(picture, LEVEL_COLORS[Level.ERROR], slice(237, 243), slice(197, 203))
    empty = view_from_above(frame_of(replace(HAZARD, location=Location())), 480, 320)
    assert not is_drawn(empty, LEVEL_COLORS[Level.ERROR], slice(None), slice(None))


@pytest.mark.parametrize("height", [128, 512])
def test_both_side_by_side(height: int) -> None:
    picture = hazard_picture(np.zeros((height, 2 * height, 3), dtype=np.uint8), frame_of(HAZARD))
    assert picture.shape == (height, 2 * height + height // 2, 3)
