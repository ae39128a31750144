# SPDX-License-Identifier: Apache-2.0
"""The picture shows what the stage says where it says it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from some_hazards import FRAME, NEAR

from densehybrid_ros.hazards.hazard import Level
from densehybrid_ros.hazards.picture import LEVEL_COLORS, Mark, draw_caption, draw_marks, hazard_marks

BOX = replace(NEAR.region, left=200, top=120, width=20, height=20)
HAZARD = replace(NEAR, region=BOX, level=Level.ERROR)


def is_drawn(picture: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool((picture == color).all(axis=2).any())


@pytest.mark.parametrize("width", [640, 2048])
def test_boxes_are_drawn_in_the_colour_of_the_level(width: int) -> None:
    canvas = np.zeros((width // 2, width, 3), dtype=np.uint8)
    marks = hazard_marks(replace(FRAME, hazards=(HAZARD, replace(HAZARD, missed=1, level=Level.WARN)), candidates=()))
    assert [mark.text for mark in marks] == ["#7 20.0 m"] * 2
    draw_marks(canvas, marks)
    color = LEVEL_COLORS[Level.ERROR]
    for rows, columns in ((120, slice(200, 220)), (139, slice(200, 220)), (slice(120, 140), 200)):
        assert (canvas[rows, columns] == color).all()
    assert not canvas[125:135, 205:215].any()
    assert is_drawn(canvas[80:118, 200:330], color), "the tag, which grows with the picture"


def test_candidates_are_dashed_and_without_a_text() -> None:
    canvas = np.zeros((320, 640, 3), dtype=np.uint8)
    draw_marks(canvas, hazard_marks(replace(FRAME, hazards=(), candidates=(HAZARD,))))
    upper = (canvas[120, 200:220] == 235).all(axis=1)
    assert 0.4 < upper.mean() < 0.9
    assert not canvas[:118].any()


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (637, 311, 2, 9), (0, 0, 640, 320), (-5, 330, 3, 3)])
def test_boxes_at_any_place_and_of_any_size(box: tuple[int, int, int, int]) -> None:
    draw_marks(np.zeros((320, 640, 3), dtype=np.uint8), [Mark(box, "#1 2.0 m", level) for level in (None, Level.WARN)])


@pytest.mark.parametrize("width", [64, 640, 2048])
def test_a_caption_fits_the_picture_and_covers_little_of_it(width: int) -> None:
    canvas = np.full((width // 2, width, 3), 90, dtype=np.uint8)
    draw_caption(canvas, "frame_000012_1.20s", Level.WARN, "4 hazards, nearest 9.7 m ahead, reached in 1.0 s")
    changed = (canvas != 90).any(axis=2)
    assert changed[0].all()
    assert not changed[round(0.08 * width) :].any()
    assert is_drawn(canvas, LEVEL_COLORS[Level.WARN]) or width == 64
    assert not (canvas[:, -width // 100 :] > 90).any(), "nothing is cut at the right edge"
