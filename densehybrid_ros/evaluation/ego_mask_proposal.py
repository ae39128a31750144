"""Finds what stays at one place of the picture while the vehicle moves: its own bonnet, dirt on the lens."""

from __future__ import annotations

import cv2
import numpy as np

from densehybrid_ros.evaluation.threshold_sweep import ScoredDriveFrame

_MOVING = 1.0  # m/s
_FEWEST_FRAMES = 10
_SHARE = 0.8  # of the frames in which a pixel is unknown
_MARGIN = 0.006  # of the picture's width, by which the mask is wider: outlines jitter


class EgoMaskProposal:
    """Counts in how many frames each pixel is unknown; frames of a vehicle that stands do not count.

    Args:
        threshold: Of the score in nats.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._counts: np.ndarray | None = None
        self._frames = 0

    def update(self, frame: ScoredDriveFrame) -> None:
        """Takes in a frame; without a speed the vehicle is taken to move."""
        speed = frame.known.ego_speed
        if speed is not None and speed < _MOVING:
            return
        if self._counts is None or self._counts.shape != frame.score.shape:
            self._counts, self._frames = np.zeros(frame.score.shape, np.uint32), 0
        self._counts += frame.score > self._threshold
        self._frames += 1

    def compute(self, min_area: int) -> np.ndarray | None:
        """Returns bool [H, W], True in the regions of at least ``min_area`` pixels that stay; None without one."""
        if self._counts is None or self._frames < _FEWEST_FRAMES:
            return None
        stays = (self._counts >= _SHARE * self._frames).astype(np.uint8)
        _, labels, statistics, _ = cv2.connectedComponentsWithStats(stays)
        large = statistics[:, cv2.CC_STAT_AREA] >= min_area
        large[0] = False
        if not large.any():
            return None
        margin = 2 * max(1, round(_MARGIN * stays.shape[1])) + 1
        grown = cv2.dilate(large[labels].astype(np.uint8), np.ones((margin, margin), np.uint8))
        return grown > 0
