# SPDX-License-Identifier: Apache-2.0
"""A drive after the network has run: kept small, and read again as often as settings are to be judged."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from densehybrid_ros.confidence import RegionClassifier
from densehybrid_ros.evaluation.hazard_figures import FrameTruth
from densehybrid_ros.evaluation.replay import Answer
from densehybrid_ros.evaluation.threshold_sweep import ScoredDriveFrame, scored_frame, sweep_thresholds
from densehybrid_ros.hazards.region_points import WIDEST_MARGIN

_FIRST = 8  # frames from which the lowest threshold is chosen
_UNKNOWN_SHARE = 0.1  # of their pixels exceed it
_SAMPLED = 16  # every so many-th of the scores above it, in order, is kept for the choice of thresholds
_DISPLAY_WIDTH, _JPEG_QUALITY = 1024, 80


class _Packed:
    """An array, compressed."""

    def __init__(self, array: np.ndarray) -> None:
        self._like = array.dtype, array.shape
        self._data = zlib.compress(np.ascontiguousarray(array).tobytes(), 1)

    def array(self) -> np.ndarray:
        kind, shape = self._like
        return np.frombuffer(zlib.decompress(self._data), kind).reshape(shape)


@dataclass(frozen=True)
class KeptFrame:
    """A frame: scores where a pixel exceeds the lowest threshold, and disparities there and about it.

    Attributes:
        jpeg: The picture at display size; None where it is not shown.
    """

    jpeg: bytes | None
    _frame: ScoredDriveFrame
    _semantic: _Packed
    _score: _Packed
    _disparity: _Packed | None
    _labels: _Packed | None

    @classmethod
    def of(cls, answer: Answer, floor: float, is_shown: bool, is_clean: bool) -> KeptFrame:
        """Keeps an answer.

        Args:
            answer: The frame and what was made of it.
            floor: The lowest threshold in nats.
            is_shown: Whether the picture is kept.
            is_clean: Whether no obstacle is in the frame: every hazard is a false alarm.
        """
        frame, high = scored_frame(answer), answer.score > floor
        margin = 2 * math.ceil(WIDEST_MARGIN * high.shape[1]) + 1
        truth = FrameTruth(np.zeros(answer.score.shape, np.uint8), ()) if is_clean else frame.truth
        known = frame.known
        disparity = known.disparity
        if disparity is not None:
            near = cv2.dilate(high.view(np.uint8), np.ones((margin, margin), np.uint8))
            pixels = _Packed(np.where(near, disparity.pixels, np.float32(0)))
            known = replace(known, disparity=replace(disparity, pixels=np.zeros(0, np.float32)))
        size = known.image.shape
        known = replace(known, image=np.broadcast_to(np.uint8(0), size))
        return cls(
            jpeg=_display(answer.recorded.image) if is_shown else None,
            _frame=replace(
                frame,
                known=known,
                semantic=np.zeros(0),
                score=np.zeros(0),
                truth=truth and FrameTruth(np.zeros(0), truth.obstacles),
            ),
            _semantic=_Packed(frame.semantic),
            _score=_Packed(np.where(high, frame.score, np.float32(floor))),
            _disparity=pixels if disparity is not None else None,
            _labels=_Packed(truth.labels) if truth else None,
        )

    def frame(self) -> ScoredDriveFrame:
        """Returns the frame as it was, but for scores and disparities below the lowest threshold."""
        frame, known = self._frame, self._frame.known
        if self._disparity is not None and known.disparity is not None:
            known = replace(known, disparity=replace(known.disparity, pixels=self._disparity.array()))
        truth = FrameTruth(self._labels.array(), frame.truth.obstacles) if self._labels and frame.truth else None
        return replace(frame, known=known, semantic=self._semantic.array(), score=self._score.array(), truth=truth)


class KeptDrive:
    """Keeps a drive frame by frame.

    Args:
        own: Thresholds that are swept as they are; the first is the parameter's.
        choose: Whether more are chosen from the scores.
        every: One picture of so many frames is kept.
        is_clean: Whether no obstacle is in the drive.
        classifier: The card's; the scores that it looks at are kept as well.

    Attributes:
        frames: The frames.
        obstacles: Whether a frame has a labelled obstacle.
        tenth: The score that a tenth of the pixels of the first frames exceed; scores above it are kept exactly.
    """

    def __init__(
        self, own: list[float], choose: bool, every: int, is_clean: bool, classifier: RegionClassifier | None = None
    ) -> None:
        self._own, self._choose, self._every, self._is_clean = own, choose, every, is_clean
        self._waiting: list[Answer] = []
        self._kept = math.inf if classifier is None else classifier.floor
        self._floor: float | None = None if choose else min(own)
        self.tenth = math.inf
        self._samples: list[np.ndarray] = []
        self.frames: list[KeptFrame] = []
        self.obstacles = False

    def add(self, answer: Answer) -> None:
        """Takes in a frame."""
        if answer.recorded.labels is not None:
            self.obstacles |= bool(np.any(answer.recorded.labels == 1))
        self._waiting.append(answer)
        if self._floor is not None or len(self._waiting) >= _FIRST:
            self._keep()

    def _keep(self) -> None:
        if not self.frames:
            scores = np.concatenate([answer.score.ravel()[::_SAMPLED] for answer in self._waiting])
            self.tenth = float(np.quantile(scores, 1 - _UNKNOWN_SHARE))
            if self._floor is None:
                self._floor = min(self._own[0], self.tenth)
            self.tenth = max(self.tenth, self._floor)
        assert self._floor is not None
        for answer in self._waiting:
            high = answer.score[answer.score > self._floor]
            self._samples.append(np.sort(high)[::-1][::_SAMPLED])
            is_shown = len(self.frames) % self._every == 0
            self.frames.append(KeptFrame.of(answer, min(self._floor, self._kept), is_shown, self._is_clean))
        self._waiting = []

    def thresholds(self, count: int) -> tuple[float, ...]:
        """Returns the rising thresholds to sweep once the drive is over: the given ones, and ``count`` chosen ones."""
        if self._waiting:
            self._keep()
        if not self._choose or self._floor is None:
            return tuple(sorted(set(self._own)))
        return sweep_thresholds(np.concatenate(self._samples), self._floor, self._own, count)

    def __iter__(self) -> Iterator[ScoredDriveFrame]:
        """Reads the frames again."""
        return (kept.frame() for kept in self.frames)


def _display(image: np.ndarray) -> bytes:
    height, width = image.shape[:2]
    if width > _DISPLAY_WIDTH:
        size = _DISPLAY_WIDTH, max(1, round(height * _DISPLAY_WIDTH / width))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
