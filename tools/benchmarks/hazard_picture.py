# SPDX-License-Identifier: Apache-2.0
"""Draws what the hazard stage says about a frame: its picture, and beside it the road from above."""

from __future__ import annotations

import cv2
import numpy as np

from densehybrid_ros.hazards.hazard import HazardFrame
from densehybrid_ros.hazards.picture import (
    CANDIDATE_COLOR,
    LEVEL_COLORS,
    Color,
    draw_caption,
    draw_marks,
    hazard_marks,
)

_DRIVABLE, _PAPER, _INK = (60, 160, 255), (32, 34, 38), (225, 225, 225)
_DRIVABLE_OPACITY = 0.2
_AHEAD, _ASIDE, _RING = 60.0, 12.0, 10  # metres: how far the view from above reaches, and between two lines
_LETTERS = cv2.FONT_HERSHEY_SIMPLEX


def hazard_picture(image: np.ndarray, frame: HazardFrame) -> np.ndarray:
    """Draws a frame: drivable surface, hazards and candidates, and beside it where they stand.

    Args:
        image: uint8 RGB [H, W, 3].
        frame: What the stage says about it.

    Returns:
        uint8 RGB [H, W + H / 2, 3].
    """
    canvas = np.ascontiguousarray(image).copy()
    height, width = canvas.shape[:2]
    if frame.drivable is not None:
        surface = cv2.resize(frame.drivable.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        tinted = cv2.addWeighted(canvas, 1 - _DRIVABLE_OPACITY, np.full_like(canvas, _DRIVABLE), _DRIVABLE_OPACITY, 0.0)
        cv2.copyTo(tinted, surface, canvas)
    draw_marks(canvas, hazard_marks(frame))
    draw_caption(canvas, f"{frame.stamp:.2f} s", frame.level, frame.summary)
    return np.concatenate([canvas, view_from_above(frame, height, height // 2)], axis=1)


def view_from_above(frame: HazardFrame, height: int, width: int) -> np.ndarray:
    """Draws where hazards stand, 60 m ahead and 12 m to each side; a bar is their standard deviation.

    Args:
        frame: What the stage says.
        height: Rows of the picture.
        width: Columns of the picture.

    Returns:
        uint8 RGB [height, width, 3].
    """
    canvas = np.full((height, width, 3), _PAPER, dtype=np.uint8)
    scale = height / 512

    def place(aside: float, ahead: float) -> tuple[int, int]:
        return round(width * (0.5 + 0.5 * aside / _ASIDE)), round((height - 1) * (1 - ahead / _AHEAD))

    for ahead in range(0, int(_AHEAD) + 1, _RING):
        cv2.line(canvas, place(-_ASIDE, ahead), place(_ASIDE, ahead), (70, 72, 78), 1)
        _write(canvas, f"{ahead} m", (3, place(0, ahead)[1] - 3), (140, 140, 140), 0.36 * scale)
    cv2.line(canvas, place(0, 0), place(0, _AHEAD), (70, 72, 78), 1)
    nose, wing = place(0, 1.5), round(5 * scale)
    cv2.fillPoly(canvas, [np.array([nose, (nose[0] - wing, height), (nose[0] + wing, height)], np.int32)], _INK)
    for hazard in [*frame.candidates, *reversed(frame.hazards)]:
        if hazard.distance is None or hazard.lateral is None or hazard.distance_std is None or hazard.width is None:
            continue
        if hazard.distance > _AHEAD:
            continue
        color = LEVEL_COLORS[hazard.level] if hazard in frame.hazards else CANDIDATE_COLOR
        near, far = (hazard.distance + sign * hazard.distance_std for sign in (-1, 1))
        cv2.line(canvas, place(hazard.lateral, near), place(hazard.lateral, far), color, max(1, round(scale)))
        left, right = (place(hazard.lateral + sign * hazard.width / 2, hazard.distance) for sign in (-1, 1))
        cv2.line(canvas, left, right, color, max(2, round(4 * scale)))
        _write(canvas, f"#{hazard.id}", (right[0] + 4, right[1] + 4), color, 0.42 * scale)
    return canvas


def _write(canvas: np.ndarray, text: str, place: tuple[int, int], color: Color, size: float) -> None:
    """Writes text on a dark ground, kept within the picture."""
    (width, height), below = cv2.getTextSize(text, _LETTERS, size, 1)
    column = max(0, min(place[0], canvas.shape[1] - width))
    row = max(height + 1, min(place[1], canvas.shape[0] - below))
    ground = canvas[row - height - 1 : row + below, column : column + width]
    ground[:] = ground // 3
    cv2.putText(canvas, text, (column, row), _LETTERS, size, color, 1, cv2.LINE_AA)
