# SPDX-License-Identifier: Apache-2.0
"""A drive after the network has run: kept small, and read again as often as settings are to be judged."""

from __future__ import annotations

import math
import pickle
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from densehybrid_ros.confidence import RegionClassifier
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.gallery import small_jpeg
from densehybrid_ros.evaluation.obstacles import FrameTruth
from densehybrid_ros.evaluation.replay import Answer, frame_truth
from densehybrid_ros.hazards.region_points import WIDEST_MARGIN
from densehybrid_ros.perception.perception import Frame

_FIRST = 8  # frames from which the lowest threshold is chosen
_UNKNOWN_SHARE = 0.1  # of their pixels exceed it
_SAMPLED = 16  # every so many-th of the scores above it, in order, is kept for the choice of thresholds
_DISPLAY_WIDTH = 1024


class DriveFrame(NamedTuple):
    """A frame of a drive as the hazard stage and its judge need it."""

    time: float  # seconds, by the recording's clock
    known: Frame  # what is known at it; of its image the shape alone counts
    semantic: np.ndarray  # uint8 [H, W], train ids
    score: np.ndarray  # float32 [H, W] in nats; what lies below all thresholds may have any value below them
    truth: FrameTruth | None  # what is labelled; None: nothing


class KeptFrame(NamedTuple):
    """A frame: scores where a pixel exceeds the lowest threshold, and disparities there and about it."""

    jpeg: bytes | None  # the picture at display size; None where it is not shown
    packed: bytes  # all else

    def frame(self) -> DriveFrame:
        """Returns the frame as it was, but for scores and disparities below the lowest threshold."""
        frame: DriveFrame = pickle.loads(zlib.decompress(self.packed))
        return frame


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
        self._kept = math.inf if classifier is None else classifier.floor
        self._floor, self.tenth = math.nan if choose else min(own), math.inf
        self._waiting, self._samples = list[Answer](), list[np.ndarray]()
        self.frames, self.obstacles = list[KeptFrame](), False

    def add(self, answer: Answer) -> None:
        """Takes in a frame."""
        if answer.recorded.labels is not None:
            self.obstacles |= bool(np.any(answer.recorded.labels == 1))
        self._waiting.append(answer)
        if not math.isnan(self._floor) or len(self._waiting) >= _FIRST:
            self._keep()

    def _keep(self) -> None:
        if not self.frames:
            scores = np.concatenate([answer.score.ravel()[::_SAMPLED] for answer in self._waiting])
            self.tenth = float(np.quantile(scores, 1 - _UNKNOWN_SHARE))
            if math.isnan(self._floor):
                self._floor = min(self._own[0], self.tenth)
            self.tenth = max(self.tenth, self._floor)
        for answer in self._waiting:
            high = answer.score[answer.score > self._floor]
            self._samples.append(np.sort(high)[::-1][::_SAMPLED])
            is_shown = len(self.frames) % self._every == 0
            self.frames.append(_keep(answer, min(self._floor, self._kept), is_shown, self._is_clean))
        self._waiting = []

    def thresholds(self, count: int) -> tuple[float, ...]:
        """Returns the rising thresholds to sweep once the drive is over: the given ones, and ``count`` chosen ones."""
        if self._waiting:
            self._keep()
        if not self._choose or not self.frames:
            return tuple(sorted(set(self._own)))
        return sweep_thresholds(np.concatenate(self._samples), self._floor, self._own, count)

    def __iter__(self) -> Iterator[DriveFrame]:
        """Reads the frames again."""
        return (kept.frame() for kept in self.frames)


def _keep(answer: Answer, floor: float, is_shown: bool, is_clean: bool) -> KeptFrame:
    """Keeps what lies above ``floor`` nats, of a clean drive without its labels."""
    high, known = answer.score > floor, answer.known
    if known.disparity is not None:
        margin = 2 * math.ceil(WIDEST_MARGIN * high.shape[1]) + 1
        near = cv2.dilate(high.view(np.uint8), np.ones((margin, margin), np.uint8))
        pixels = np.where(near, known.disparity.pixels, np.float32(0))
        known = replace(known, disparity=replace(known.disparity, pixels=pixels))
    nothing = np.zeros(0, np.intp)
    truth = FrameTruth(np.zeros(answer.score.shape, np.uint8), ()) if is_clean else frame_truth(answer)[0]
    if truth is not None:
        obstacles = tuple(item._replace(pixels=(nothing, nothing)) for item in truth.obstacles)
        truth = FrameTruth(np.asarray(truth.labels), obstacles)
    known = replace(known, image=np.zeros(known.image.shape, np.uint8))
    score = np.where(high, answer.score, np.float32(floor))
    frame = DriveFrame(answer.recorded.picture.time * 1e-9, known, answer.semantic, score, truth)
    jpeg = small_jpeg(answer.recorded.image, _DISPLAY_WIDTH) if is_shown else None
    return KeptFrame(jpeg, zlib.compress(pickle.dumps(frame), 1))


def sweep_thresholds(samples: np.ndarray, floor: float, own: Sequence[float], count: int) -> tuple[float, ...]:
    """Chooses thresholds midway between even steps of the score and even factors of the unknown pixels.

    Args:
        samples: Scores of a drive's pixels above ``floor``, a sample, its maximum among them.
        floor: The lowest threshold in nats.
        own: Thresholds that are swept as they are, those below ``floor`` left out.
        count: About how many there are.

    Returns:
        Rising round thresholds; no pixel exceeds the last.

    Raises:
        InputError: All scores are the same.
    """
    top = float(samples.max(initial=-math.inf))
    if not top > floor:
        raise InputError("no score varies over the drive: name the thresholds with --thresholds")
    step = 10.0 ** math.floor(math.log10((top - floor) / 50))
    by_share = np.quantile(samples, 1.0 - np.geomspace(1.0, 1e-4, count - 1))
    round_ones = np.floor((by_share + np.linspace(floor, top, count - 1)) / 2 / step) * step
    ends = [math.floor(floor / step) * step + step, math.floor(top / step) * step + step]
    digits = max(0, -math.floor(math.log10(step)))
    chosen = {round(float(value), digits) for value in (*round_ones[1:], *ends)} | set(own)
    return tuple(sorted(value for value in chosen if value >= floor))
