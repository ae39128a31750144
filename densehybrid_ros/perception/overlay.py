# SPDX-License-Identifier: Apache-2.0
"""The picture for people: class colours over the camera image, unknown regions highlighted, hazards in boxes.

The node's overlay, those of replay and predict, and the demo's pictures are all drawn here; so is the score's picture
of 16 bits.
"""

from __future__ import annotations

from datetime import datetime, timezone

import cv2
import numpy as np

from densehybrid_ros.datasets.taxonomy import SemanticClass, color_table
from densehybrid_ros.hazards.hazard import State
from densehybrid_ros.hazards.picture import Mark, draw_caption, draw_marks, hazard_marks, mark_text
from densehybrid_ros.perception.alert import Alert
from densehybrid_ros.perception.perception import Perceived

SCORE_SCALE, SCORE_OFFSET = 1 / 256, -128.0
"""Nats of one step, and of the value 0; scores beyond -128..127.996 are taken for these."""

_UNKNOWN_OPACITY = 0.6
_OUTLINE_WIDTH = 2
_CLOCK_SINCE = 1e8  # seconds: stamps from here on are times of day, those below count from a start


def frame_overlay(perceived: Perceived, opacity: float, moment: str = "") -> np.ndarray:
    """Draws all that is said of a frame: classes, unknown regions, hazards, time, and the alert's level and message.

    Args:
        perceived: The frame and what was made of it.
        opacity: Share of the class colours, 0..1.
        moment: What to call the frame in the caption; empty: its stamp.

    Returns:
        uint8 RGB [H, W, 3], C-contiguous.
    """
    frame, alert = perceived.frame, perceived.alert
    overlay = compose_overlay(frame.image, perceived.masks.open_set, perceived.classes, opacity)
    if perceived.hazards is not None:
        draw_marks(overlay, hazard_marks(perceived.hazards))
    draw_caption(overlay, moment or moment_text(frame.stamp), alert.level, alert.summary.message)
    return overlay


def moment_text(stamp: float) -> str:
    """Writes a stamp in seconds for people: the time of day (UTC), or seconds where it counts from a start."""
    if stamp < _CLOCK_SINCE:
        return f"{stamp:.2f} s"
    return f"{datetime.fromtimestamp(stamp, timezone.utc):%H:%M:%S.%f}"[:-4]


def alert_marks(alert: Alert) -> list[Mark]:
    """Returns the marks of the hazards that an alert names, the nearest last. An alert does not name candidates."""
    marks = []
    for status in reversed(alert.hazards):
        values = status.values
        if values["state"] == State.ACTIVE.value:
            left, top, width, height = (int(values[f"box_{side}"]) for side in ("left", "top", "width", "height"))
            distance = float(values["distance_m"])
            text = mark_text(int(values["id"]), None if np.isnan(distance) else distance)
            marks.append(Mark((left, top, width, height), text, status.level, values["missed_frames"] == "0"))
    return marks


def compose_overlay(
    image: np.ndarray, open_set: np.ndarray, classes: tuple[SemanticClass, ...], opacity: float
) -> np.ndarray:
    """Paints an open-set mask over a picture.

    Args:
        image: uint8 RGB [H, W, 3], any strides.
        open_set: uint8 [H, W], train ids, K = number of ``classes`` where unknown.
        classes: Class table of the model.
        opacity: Share of the class colours, 0..1. Unknown regions are painted at 0.6 and outlined.

    Returns:
        uint8 RGB [H, W, 3], C-contiguous.
    """
    table = color_table(classes).reshape(256, 1, 3)
    # OpenCV swaps channels about ten times faster than NumPy copies a reversed view.
    is_reversed = image.strides[2] < 0
    image = cv2.cvtColor(image[:, :, ::-1], cv2.COLOR_BGR2RGB) if is_reversed else np.ascontiguousarray(image)
    overlay = cv2.addWeighted(image, 1.0 - opacity, cv2.applyColorMap(open_set, table), opacity, 0.0)
    unknown = np.asarray(open_set == len(classes)).view(np.uint8)
    left, top, width, height = cv2.boundingRect(unknown)
    if width:
        box = slice(top, top + height), slice(left, left + width)
        color = tuple(int(value) for value in table[len(classes), 0])
        painted = np.full_like(image[box], color)
        tinted = cv2.addWeighted(image[box], 1.0 - _UNKNOWN_OPACITY, painted, _UNKNOWN_OPACITY, 0.0)
        cv2.copyTo(tinted, unknown[box], overlay[box])
        contours, _ = cv2.findContours(unknown[box], cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(overlay[box], contours, -1, color, _OUTLINE_WIDTH)
    return overlay


def score_steps(score: np.ndarray) -> np.ndarray:
    """Returns uint16 [H, W] of a score in nats, float32 [H, W]: nats = SCORE_SCALE * value + SCORE_OFFSET."""
    nearest = np.clip(score, SCORE_OFFSET, SCORE_OFFSET + 65535 * SCORE_SCALE)
    # Rounds; what is no number becomes 0.
    return cv2.addWeighted(nearest, 1 / SCORE_SCALE, nearest, 0.0, -SCORE_OFFSET / SCORE_SCALE, dtype=cv2.CV_16U)
