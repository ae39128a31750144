# SPDX-License-Identifier: Apache-2.0
"""Finds what stays at one place of the picture while the vehicle moves: its own bonnet, a border, dirt on the lens."""

from __future__ import annotations

import cv2
import numpy as np

_MOVING = 1.0  # m/s
_FEWEST_FRAMES, _FEWEST_FOR_SPOTS = 10, 100  # what is far away stays at one place for long
_SHARE, _GROWN_SHARE = 0.8, 0.6  # of the frames in which a region is unknown: in its core, and up to its rim
_MARGIN = 0.006  # of the picture's width, by which the mask is wider: outlines jitter
_GAP = 0.04  # of the picture's width, between parts of one bonnet, and between it and the border
_DIRT = 0.003  # of the picture: the largest region away from the border
_LARGEST = 0.3  # of the picture: more is no own vehicle


class EgoMaskProposal:
    """Counts in how many frames each pixel is unknown; frames of a vehicle that stands do not count.

    The threshold of the score, in nats, is a low one, so that the regions are whole.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._counts = np.zeros((0, 0), np.uint32)
        self._frames = 0

    def update(self, score: np.ndarray, speed: float | None) -> None:
        """Takes in the score of a frame, float32 [H, W], and the speed in m/s; without one the vehicle moves."""
        if speed is not None and speed < _MOVING:
            return
        if self._counts.shape != score.shape:
            self._counts, self._frames = np.zeros(score.shape, np.uint32), 0
        self._counts += score > self._threshold
        self._frames += 1

    def compute(self, min_area: int) -> tuple[np.ndarray | None, bool]:
        """Finds the regions of at least ``min_area`` pixels that stay.

        Returns:
            bool [H, W], True in them, None without one; and whether regions were left out since they are no own
            vehicle: too large, ahead, or away from the border and more than a spot.
        """
        if self._frames < _FEWEST_FRAMES:
            return None, False
        sure, grown = (self._counts >= share * self._frames for share in (_SHARE, _GROWN_SHARE))
        height, width = sure.shape
        inner = np.zeros(sure.shape, bool)
        inner[height // 10 : -(height // 3), width // 10 : -(width // 10)] = True
        grown &= sure | (np.arange(height)[:, None] >= height - height // 3)
        gap, margin = (max(1, round(share * width)) for share in (_GAP, _MARGIN))
        mask, left_out = np.zeros(sure.shape, bool), False
        for part, at_border in ((grown & inner, False), (grown & ~inner, True)):
            _, labels = cv2.connectedComponents(part.astype(np.uint8))
            kept = np.bincount(labels[sure], minlength=labels.max() + 1) >= min_area
            kept[0] = False
            own = cv2.dilate(kept[labels].astype(np.uint8), _square(margin))
            own = _without_holes(own, gap) if at_border else own
            count, labels = cv2.connectedComponents(own)
            for region in (labels == number for number in range(1, count)):
                if _fits(region) and (at_border or self._frames >= _FEWEST_FOR_SPOTS):
                    mask |= region
                else:
                    left_out = True
        return (mask if mask.any() else None), left_out


def _square(reach: int) -> np.ndarray:
    return np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)


def _without_holes(mask: np.ndarray, gap: int) -> np.ndarray:
    """Closes gaps, those to the border too, and fills what a region or the border encloses; uint8 [H, W]."""
    framed = np.pad(mask, 2 * gap, constant_values=1)
    closed = cv2.morphologyEx(framed, cv2.MORPH_CLOSE, _square(gap // 2))
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(1 - closed, connectivity=4)
    outside = 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA])) if len(statistics) > 1 else -1
    return (labels != outside)[2 * gap : -2 * gap, 2 * gap : -2 * gap].astype(np.uint8)


def _fits(region: np.ndarray) -> bool:
    """Whether a region can be the own vehicle, which lies at the border, or a spot of dirt; neither lies ahead."""
    height, width = region.shape
    touches = region[0].any() or region[-1].any() or region[:, 0].any() or region[:, -1].any()
    # An obstacle that the vehicle drives towards stays at one place, too.
    ahead = region[height // 3 : -(height // 3), width // 3 : -(width // 3)]
    largest = (_LARGEST if touches else _DIRT) * region.size
    return bool(np.count_nonzero(region) <= largest and not ahead.any())
