# SPDX-License-Identifier: Apache-2.0
"""The picture shows what the stage says where it says it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from densehybrid_ros.hazards.hazard import Hazard, HazardFrame, Level, Location, Region, Source, State
from densehybrid_ros.hazards.picture import (
    LEVEL_COLORS,
    Mark,
    draw_caption,
    draw_marks,
    hazard_marks,
    mark_text,
)

PLACE = Location((3.0, 1.2, 30.0), 30.0, 3.0, 1.0, 2.0, Source.GROUND_PLANE)
REGION = Region(400, 200, 120, 20, 20, (210.0, 130.0), 3.0, 2.0)
HAZARD = Hazard(4, State.ACTIVE, REGION, 0.9, PLACE, None, Level.ERROR, 5, 0, 0.0)


def frame_of(*hazards: Hazard, candidates: tuple[Hazard, ...] = ()) -> HazardFrame:
    drivable = np.zeros((32, 64), dtype=bool)
    drivable[20:] = True
    return HazardFrame(0.0, hazards, candidates, (), Level.ERROR, "text", (), 0, drivable)


def is_drawn(picture: np.ndarray, color: tuple[int, int, int], rows: slice, columns: slice) -> bool:
    return bool((picture[rows, columns] == color).all(axis=2).any())


@pytest.mark.parametrize("width", [640, 2048])
def test_boxes_are_drawn_in_the_colour_of_the_level(width: int) -> None:
    canvas = np.zeros((width // 2, width, 3), dtype=np.uint8)
    draw_marks(canvas, hazard_marks(frame_of(HAZARD, replace(HAZARD, missed=1, level=Level.WARN))))
    color = LEVEL_COLORS[Level.ERROR]
    for rows, columns in ((120, slice(200, 220)), (139, slice(200, 220)), (slice(120, 140), 200)):
        assert (canvas[rows, columns] == color).all()
    assert not canvas[125:135, 205:215].any()
    assert is_drawn(canvas, color, slice(80, 118), slice(200, 330)), "the tag, which grows with the picture"
    assert HAZARD.distance is not None
    assert mark_text(HAZARD.id, HAZARD.distance) == "#4 30.0 m"


def test_candidates_are_dashed_and_without_a_text() -> None:
    canvas = np.zeros((320, 640, 3), dtype=np.uint8)
    draw_marks(canvas, hazard_marks(frame_of(candidates=(HAZARD,))))
    upper = (canvas[120, 200:220] == 235).all(axis=1)
    assert 0.4 < upper.mean() < 0.9
    assert not canvas[:118].any()


@pytest.mark.parametrize("size", [(1, 1, 0, 0), (2, 9, 637, 311), (640, 320, 0, 0), (3, 3, -5, 330)])
@pytest.mark.parametrize("level", [None, Level.WARN])
def test_boxes_at_any_place_and_of_any_size(size: tuple[int, int, int, int], level: Level | None) -> None:
    width, height, left, top = size
    draw_marks(np.zeros((320, 640, 3), dtype=np.uint8), [Mark((left, top, width, height), "#1 2.0 m", level)])


@pytest.mark.parametrize("width", [64, 640, 2048])
def test_a_caption_fits_the_picture_and_covers_little_of_it(width: int) -> None:
    canvas = np.full((width // 2, width, 3), 90, dtype=np.uint8)
    draw_caption(canvas, "frame_000012_1.20s", Level.WARN, "4 hazards, nearest 9.7 m ahead, reached in 1.0 s")
    changed = (canvas != 90).any(axis=2)
    assert changed[0].all()
    assert not changed[round(0.08 * width) :].any()
    assert is_drawn(canvas, LEVEL_COLORS[Level.WARN], slice(None), slice(None)) or width == 64
    assert not (canvas[:, -width // 100 :] > 90).any(), "nothing is cut at the right edge"
