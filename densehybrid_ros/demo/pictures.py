# SPDX-License-Identifier: Apache-2.0
"""Pictures for people from masks and scores."""

from __future__ import annotations

import cv2
import numpy as np

from densehybrid_ros.datasets.taxonomy import VOID

UNKNOWN_COLOR = (0, 229, 255)
"""Colour of unknown pixels in the pictures (red, green, blue): none of the classes comes near it."""

_SEMANTIC_OPACITY = 0.62
_DIMMED_OPACITY = 0.30
_UNKNOWN_OPACITY = 0.80
_COLOR_MAP = cv2.COLORMAP_INFERNO


def semantic_picture(image: np.ndarray, ids: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Lays class colours over the camera picture.

    Args:
        image: uint8 RGB [H, W, 3].
        ids: uint8 [H, W], train ids.
        colors: uint8 [256, 3], colour of every id.

    Returns:
        uint8 RGB [H, W, 3]; pixels without a class show the picture in grey.
    """
    blended = _blend(image, colors[ids], _SEMANTIC_OPACITY)
    return np.where((ids == VOID)[..., None], _gray(image), blended)


def open_set_picture(image: np.ndarray, ids: np.ndarray, unknown: int, colors: np.ndarray) -> np.ndarray:
    """Shows what is unknown, outlined and in one bright colour over the dimmed classes.

    Args:
        image: uint8 RGB [H, W, 3].
        ids: uint8 [H, W], train ids with ``unknown`` among them.
        unknown: The id of unknown pixels.
        colors: uint8 [256, 3], colour of every id.
    """
    is_unknown = ids == unknown
    dimmed = _blend(_gray(image), colors[np.where(is_unknown, VOID, ids)], _DIMMED_OPACITY)
    dimmed = cv2.convertScaleAbs(dimmed, alpha=0.78)
    marked = _blend(image, np.full_like(image, UNKNOWN_COLOR), _UNKNOWN_OPACITY)
    picture = np.where(is_unknown[..., None], marked, dimmed)
    outlines, _ = cv2.findContours(is_unknown.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    thickness = max(1, round(image.shape[1] / 1000))
    return cv2.drawContours(picture, outlines, -1, (255, 255, 255), thickness, cv2.LINE_AA)


def score_picture(score: np.ndarray, low: float, high: float) -> np.ndarray:
    """Shows a score as a colour map from ``low`` (black) to ``high`` (bright).

    Args:
        score: float32 [H, W].
        low: The score of the darkest colour; what lies below looks the same.
        high: The score of the brightest colour, above ``low``.

    Returns:
        uint8 RGB [H, W, 3].
    """
    return cv2.applyColorMap(quantize(score, low, high), _COLOR_MAP)[..., ::-1]


def quantize(score: np.ndarray, low: float, high: float) -> np.ndarray:
    """Returns uint8 [H, W]: 0 at ``low`` and below, 255 at ``high`` and above; NaN becomes 0."""
    steps = (score - low) * (255.0 / (high - low))
    return np.clip(np.nan_to_num(steps, nan=0.0) + 0.5, 0, 255).astype(np.uint8)


def color_map() -> list[str]:
    """Returns the 256 colours of ``score_picture`` as #rrggbb, from low to high."""
    ramp = cv2.applyColorMap(np.arange(256, dtype=np.uint8).reshape(1, -1), _COLOR_MAP)[0, :, ::-1]
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in ramp.tolist()]


def _gray(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def _blend(below: np.ndarray, above: np.ndarray, opacity: float) -> np.ndarray:
    return cv2.addWeighted(np.ascontiguousarray(below), 1.0 - opacity, above, opacity, 0.0)
