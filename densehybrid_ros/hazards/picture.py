# SPDX-License-Identifier: Apache-2.0
"""How hazards are drawn: boxes and a caption in the camera's picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from densehybrid_ros.hazards.hazard import Hazard, HazardFrame, Level

Color = tuple[int, int, int]

LEVEL_COLORS: dict[Level, Color] = {
    Level.OK: (80, 200, 80),
    Level.WARN: (255, 190, 40),
    Level.ERROR: (240, 60, 60),
    Level.STALE: (128, 128, 128),
}
"""Red, green and blue of each level."""

CANDIDATE_COLOR = (235, 235, 235)
_INK = (225, 225, 225)
_LETTERS = cv2.FONT_HERSHEY_SIMPLEX
_SMALLEST_LETTERS, _COLUMNS_OF_FULL_LETTERS = 0.4, 2400  # letters of size 0.4 are 9 pixels high
_CAPTION_DARKENING = 0.3


class Mark(NamedTuple):
    """What is drawn of one hazard."""

    box: tuple[int, int, int, int]  # left, top, width and height in pixels
    text: str  # beside the box; empty: none
    level: Level | None  # its colour; None: a candidate, dashed in grey
    is_seen: bool = True  # whether it is seen in this frame; else its box is a prediction, and thin


def hazard_marks(frame: HazardFrame) -> list[Mark]:
    """Returns the marks of a frame's candidates and hazards, the nearest last, on top of all others."""

    def mark(hazard: Hazard, level: Level | None) -> Mark:
        region = hazard.region
        text = "" if level is None else mark_text(hazard.id, hazard.distance)
        return Mark((region.left, region.top, region.width, region.height), text, level, hazard.missed == 0)

    candidates = [mark(hazard, None) for hazard in reversed(frame.candidates)]
    return candidates + [mark(hazard, hazard.level) for hazard in reversed(frame.hazards)]


def mark_text(number: int, distance: float | None) -> str:
    """Returns a hazard's id and distance in metres, as written beside its box."""
    return f"#{number}" if distance is None else f"#{number} {distance:.1f} m"


def draw_marks(canvas: np.ndarray, marks: Sequence[Mark]) -> None:
    """Draws boxes with their texts; letters and lines grow with the picture.

    Args:
        canvas: uint8 RGB [H, W, 3], C-contiguous; drawn upon.
        marks: What to draw, the last on top.
    """
    line = max(2, round(canvas.shape[1] / 700))
    for box, _, level, is_seen in marks:
        left, top, width, height = box
        right, bottom = left + width - 1, top + height - 1
        if level is None:
            cv2.polylines(canvas, _dashes(left, top, right, bottom, 3 * line), False, CANDIDATE_COLOR, line - 1)
        else:
            cv2.rectangle(canvas, (left, top), (right, bottom), LEVEL_COLORS[level], line if is_seen else line // 2)
    for box, text, level, _ in marks:
        if text and level is not None:
            _tag(canvas, text, box, LEVEL_COLORS[level])


def draw_caption(canvas: np.ndarray, moment: str, level: Level, text: str) -> None:
    """Writes one line along the upper edge.

    Args:
        canvas: uint8 RGB [H, W, 3], C-contiguous; drawn upon.
        moment: Time or name of the frame.
        level: Of the alert.
        text: What the alert says.
    """
    width = canvas.shape[1]
    words = f"{moment}  {level.name}  ", text
    columns = sum(cv2.getTextSize(word, _LETTERS, 1.0, 1)[0][0] for word in words)
    size = min(1.2 * _letters(width), 0.97 * width / columns)
    row, margin = round(30 * size), round(0.01 * width)
    band = canvas[: round(42 * size)]
    cv2.convertScaleAbs(band, band, _CAPTION_DARKENING)
    for word, color in zip(words, (LEVEL_COLORS[level], _INK), strict=True):
        cv2.putText(canvas, word, (margin, row), _LETTERS, size, color, max(1, round(2 * size)), cv2.LINE_AA)
        margin += cv2.getTextSize(word, _LETTERS, size, max(1, round(2 * size)))[0][0]


def _letters(width: int) -> float:
    """Returns the size of letters that can be read in a picture of so many columns."""
    return max(_SMALLEST_LETTERS, width / _COLUMNS_OF_FULL_LETTERS)


def _dashes(left: int, top: int, right: int, bottom: int, length: int) -> list[np.ndarray]:
    """Returns pieces of a box's sides with half as long gaps between them; a short side has two."""
    across, down = (
        range(low, high, max(2, min(3 * length // 2, 2 * (high - low) // 3)))
        for low, high in ((left, right), (top, bottom))
    )
    pieces = [((x, y), (min(x + 2 * across.step // 3, right), y)) for y in (top, bottom) for x in across]
    pieces += [((x, y), (x, min(y + 2 * down.step // 3, bottom))) for x in (left, right) for y in down]
    return list(np.array(pieces, np.int32).reshape(-1, 2, 2))


def _tag(canvas: np.ndarray, text: str, box: tuple[int, int, int, int], color: Color) -> None:
    """Writes dark text on a ground of the colour above the box, or below it where there is no room."""
    rows, columns = canvas.shape[:2]
    size = _letters(columns)
    thickness = max(1, round(2 * size))
    (width, height), below = cv2.getTextSize(text, _LETTERS, size, thickness)
    margin = round(8 * size)
    width, height = width + 2 * margin, height + below + margin
    left, caption = max(0, min(box[0], columns - width)), round(50 * size)
    bottom = box[1] if box[1] - height > caption else min(rows, box[1] + box[3] + height)
    cv2.rectangle(canvas, (left, bottom - height), (left + width, bottom), color, cv2.FILLED)
    place = left + margin, bottom - below - margin // 2
    cv2.putText(canvas, text, place, _LETTERS, size, (0, 0, 0), thickness, cv2.LINE_AA)
