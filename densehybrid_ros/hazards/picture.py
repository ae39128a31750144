"""A picture of what the hazard stage says: the camera's view beside the road from above."""

from __future__ import annotations

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
_CANDIDATE, _DRIVABLE, _PAPER, _INK = (190, 190, 190), (60, 160, 255), (32, 34, 38), (225, 225, 225)
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
    return np.concatenate(
        [camera_view(image, frame), view_from_above(frame, image.shape[0], image.shape[0] // 2)], axis=1
    )


def camera_view(image: np.ndarray, frame: HazardFrame) -> np.ndarray:
    """Draws drivable surface and hazards over the picture; uint8 RGB [H, W, 3]."""
    canvas = np.ascontiguousarray(image).copy()
    height, width = canvas.shape[:2]
    if frame.drivable is not None:
        surface = cv2.resize(frame.drivable.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        tinted = cv2.addWeighted(canvas, 1 - _DRIVABLE_OPACITY, np.full_like(canvas, _DRIVABLE), _DRIVABLE_OPACITY, 0.0)
        cv2.copyTo(tinted, surface, canvas)
    scale = height / 512
    for hazard in [*frame.candidates, *reversed(frame.hazards)]:  # the nearest last, on top of all others
        region, color = hazard.region, _color(hazard, frame)
        corner = region.left + region.width - 1, region.top + region.height - 1
        thickness = max(1, round((2 if hazard.missed == 0 else 1) * scale))
        cv2.rectangle(canvas, (region.left, region.top), corner, color, thickness)
        if hazard in frame.hazards:
            _write(canvas, _label(hazard), (region.left, region.top - round(4 * scale)), color, 0.42 * scale)
    _write(canvas, frame.summary, (round(8 * scale), round(20 * scale)), LEVEL_COLORS[frame.level], 0.6 * scale)
    return canvas


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
        color = _color(hazard, frame)
        near, far = (hazard.distance + sign * hazard.distance_std for sign in (-1, 1))
        cv2.line(canvas, place(hazard.lateral, near), place(hazard.lateral, far), color, max(1, round(scale)))
        left, right = (place(hazard.lateral + sign * hazard.width / 2, hazard.distance) for sign in (-1, 1))
        cv2.line(canvas, left, right, color, max(2, round(4 * scale)))
        _write(canvas, f"#{hazard.id}", (right[0] + 4, right[1] + 4), color, 0.42 * scale)
    return canvas


def _color(hazard: Hazard, frame: HazardFrame) -> Color:
    return LEVEL_COLORS[hazard.level] if hazard in frame.hazards else _CANDIDATE


def _label(hazard: Hazard) -> str:
    if hazard.distance is None or hazard.distance_std is None:
        return f"#{hazard.id}"
    return f"#{hazard.id} {hazard.distance:.1f}+-{hazard.distance_std:.1f} m"


def _write(canvas: np.ndarray, text: str, place: tuple[int, int], color: Color, size: float) -> None:
    """Writes text on a dark ground, kept within the picture."""
    (width, height), below = cv2.getTextSize(text, _LETTERS, size, 1)
    column = max(0, min(place[0], canvas.shape[1] - width))
    row = max(height + 1, min(place[1], canvas.shape[0] - below))
    ground = canvas[row - height - 1 : row + below, column : column + width]
    ground[:] = ground // 3
    cv2.putText(canvas, text, (column, row), _LETTERS, size, color, 1, cv2.LINE_AA)
