# SPDX-License-Identifier: Apache-2.0
"""The anomaly score in 16 bits, as the node publishes it on demand and ``densehybrid predict`` writes it."""

from __future__ import annotations

import cv2
import numpy as np

SCORE_SCALE, SCORE_OFFSET = 1 / 256, -128.0
"""Nats of one step, and of the value 0; scores beyond -128..127.996 are taken for these."""


def score_steps(score: np.ndarray) -> np.ndarray:
    """Returns uint16 [H, W] of a score in nats, float32 [H, W]: nats = SCORE_SCALE * value + SCORE_OFFSET."""
    nearest = np.clip(score, SCORE_OFFSET, SCORE_OFFSET + 65535 * SCORE_SCALE)
    # Rounds; what is no number becomes 0.
    return cv2.addWeighted(nearest, 1 / SCORE_SCALE, nearest, 0.0, -SCORE_OFFSET / SCORE_SCALE, dtype=cv2.CV_16U)
