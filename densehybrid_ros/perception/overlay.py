"""The picture for people: class colours over the camera image, unknown regions highlighted."""

from __future__ import annotations

import cv2
import numpy as np

from densehybrid_ros.datasets.taxonomy import SemanticClass, color_table

_UNKNOWN_OPACITY = 0.6
_OUTLINE_WIDTH = 2


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
    image = _contiguous(image)
    overlay = cv2.addWeighted(image, 1.0 - opacity, cv2.applyColorMap(open_set, table), opacity, 0.0)
    unknown = np.asarray(open_set == len(classes)).view(np.uint8)
    left, top, width, height = cv2.boundingRect(unknown)
    if width:
        box = slice(top, top + height), slice(left, left + width)
        _highlight(overlay[box], image[box], unknown[box], table[len(classes), 0])
    return overlay


def _highlight(overlay: np.ndarray, image: np.ndarray, unknown: np.ndarray, color: np.ndarray) -> None:
    painted = cv2.applyColorMap(unknown, np.broadcast_to(color, (256, 1, 3)).copy())
    tinted = cv2.addWeighted(image, 1.0 - _UNKNOWN_OPACITY, painted, _UNKNOWN_OPACITY, 0.0)
    cv2.copyTo(tinted, unknown, overlay)
    contours, _ = cv2.findContours(unknown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(overlay, contours, -1, tuple(int(value) for value in color), _OUTLINE_WIDTH)


def _contiguous(image: np.ndarray) -> np.ndarray:
    if image.strides[2] < 0:
        # OpenCV swaps channels about ten times faster than NumPy copies a reversed view.
        return cv2.cvtColor(image[:, :, ::-1], cv2.COLOR_BGR2RGB)
    return np.ascontiguousarray(image)
