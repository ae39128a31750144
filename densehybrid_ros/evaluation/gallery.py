# SPDX-License-Identifier: Apache-2.0
"""The frames with the worst errors, as small pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from densehybrid_ros.datasets.evaluation_set import ANOMALY, IGNORE
from densehybrid_ros.datasets.taxonomy import SemanticClass, color_table
from densehybrid_ros.evaluation.dense_scores import ScoredFrame

FALSE_ALARM, MISS, UNKNOWN, WRONG_CLASS = "false alarm", "miss", "unknown", "wrong class"
_HIT_COLOR, _FALSE_COLOR, _MISS_COLOR, _UNKNOWN_COLOR = (60, 200, 90), (230, 60, 50), (255, 210, 0), (0, 255, 255)
_OUTSIDE_DARKENING = 0.45


@dataclass(frozen=True)
class Picture:
    """A frame with its errors painted in; ``beside`` is the score or the predicted classes, empty for none.

    ``pixels`` are wrong, or unknown: ``share`` (0..1) of the inlier, anomalous or labelled ones, or of all.
    """

    name: str
    index: int
    pixels: int
    share: float
    jpeg: bytes
    beside: bytes = b""


def paint_errors(image: np.ndarray, labels: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Paints hits green, false alarms red and misses yellow, and darkens what is not evaluated: uint8 RGB [H, W, 3].

    Args:
        image: uint8 [H, W, 3], RGB.
        labels: uint8 [H, W], 0 inlier, 1 anomaly, else not evaluated.
        found: bool [H, W], where the score exceeds the threshold.
    """
    canvas = image.astype(np.float32)
    canvas[labels > ANOMALY] *= _OUTSIDE_DARKENING
    anomalous, inlier = labels == ANOMALY, labels < ANOMALY
    for mask, color in (
        (found & anomalous, _HIT_COLOR),
        (found & inlier, _FALSE_COLOR),
        (~found & anomalous, _MISS_COLOR),
    ):
        canvas[mask] = 0.35 * canvas[mask] + 0.65 * np.array(color, dtype=np.float32)
    return canvas.astype(np.uint8)


def heat_map(score: np.ndarray) -> np.ndarray:
    """Paints a score, float32 [H, W], from its lowest (dark) to its highest (bright) value: uint8 [H, W, 3], RGB."""
    finite = score[np.isfinite(score)]
    low, high = np.percentile(finite, (0.5, 99.9)) if finite.size else (0.0, 1.0)
    shares = np.clip((np.nan_to_num(score, nan=low) - low) / max(high - low, 1e-9), 0, 1)
    return cv2.cvtColor(cv2.applyColorMap((255 * shares).astype(np.uint8), cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)


class Gallery:
    """Keeps the frames with most false alarms and most misses at a threshold, or with most unknown pixels.

    Args:
        score: The one that is judged.
        threshold: Pixels above it are called anomalous.
        classes: Of the closed set, to keep the frames with most pixels of a wrong class as well; empty for none.
        count: Pictures of each kind.
    """

    def __init__(self, score: str, threshold: float, classes: tuple[SemanticClass, ...] = (), count: int = 6) -> None:
        self.score = score
        self.threshold = threshold
        self._classes = len(classes)
        self._colors = color_table(classes)
        self._count = count
        self.pictures: dict[str, list[Picture]] = {kind: [] for kind in (FALSE_ALARM, MISS, UNKNOWN, WRONG_CLASS)}

    def add(self, item: ScoredFrame) -> None:
        """Looks at a frame."""
        frame, labels = item.frame, item.frame.anomaly
        about = "/".join(Path(frame.name).parts[-2:]), item.index
        if self._classes and frame.semantic is not None:
            of, prediction = frame.semantic < self._classes, item.prediction.cpu().numpy()
            wrong, judged = of & (prediction != frame.semantic), np.where(of, 0, IGNORE).astype(np.uint8)
            paint = partial(paint_errors, frame.image, judged, wrong)
            self._offer(WRONG_CLASS, *about, wrong, of, paint, lambda: self._colors[prediction])
        if labels is None:
            return
        score = item.scores[self.score].cpu().numpy()
        found = score > self.threshold
        inlier, anomalous = labels == 0, labels == ANOMALY
        paints = partial(paint_errors, frame.image, labels, found), partial(heat_map, score)
        self._offer(FALSE_ALARM, *about, found & inlier, inlier, *paints)
        self._offer(MISS, *about, ~found & anomalous, anomalous, *paints)

    def add_unlabelled(self, name: str, index: int, image: np.ndarray, found: np.ndarray) -> None:
        """Looks at a frame without labels, uint8 RGB [H, W, 3], and paints what is ``found``, bool [H, W], cyan."""

        def paint() -> np.ndarray:
            painted = image.copy()
            painted[found] = _UNKNOWN_COLOR
            return cv2.addWeighted(np.ascontiguousarray(image), 0.45, painted, 0.55, 0)

        self._offer(UNKNOWN, name, index, found, np.ones_like(found), paint)

    def _offer(
        self, kind: str, name: str, index: int, wrong: np.ndarray, of: np.ndarray, *paints: Callable[[], np.ndarray]
    ) -> None:
        """Paints and keeps a frame if it is among the worst."""
        kept, pixels = self.pictures[kind], int(wrong.sum())
        if pixels <= (kept[-1].pixels if len(kept) == self._count else 0):
            return
        kept.append(Picture(name, index, pixels, pixels / int(of.sum()), *(small_jpeg(paint()) for paint in paints)))
        kept.sort(key=lambda item: (-item.pixels, item.index))
        del kept[self._count :]


def small_jpeg(picture: np.ndarray, widest: int = 960) -> bytes:
    """Encodes an RGB picture, shrunk to at most so many columns."""
    height, width = picture.shape[:2]
    if width > widest:
        picture = cv2.resize(picture, (widest, max(1, round(height * widest / width))), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
