"""The frames with the worst errors, as small pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from densehybrid_ros.evaluation.components import ANOMALY
from densehybrid_ros.evaluation.dense_scores import ScoredFrame

FALSE_ALARM, MISS, UNKNOWN = "false alarm", "miss", "unknown"
_HIT_COLOR, _FALSE_COLOR, _MISS_COLOR, _UNKNOWN_COLOR = (60, 200, 90), (230, 60, 50), (255, 210, 0), (0, 255, 255)
_OUTSIDE_DARKENING = 0.45


@dataclass(frozen=True)
class Picture:
    """A frame with its errors painted in.

    Attributes:
        kind: ``FALSE_ALARM`` or ``MISS``; of a frame without labels ``UNKNOWN``.
        name: Name of the frame's label file.
        index: Index of the frame in the data set.
        pixels: How many pixels are wrong in this way, or unknown.
        share: Their share of the frame's inlier or anomalous pixels, or of all, 0..1.
        jpeg: The encoded picture.
    """

    kind: str
    name: str
    index: int
    pixels: int
    share: float
    jpeg: bytes


def paint_errors(image: np.ndarray, labels: np.ndarray, found: np.ndarray, width: int) -> np.ndarray:
    """Paints hits green, false alarms red and misses yellow, and darkens what is not evaluated.

    Args:
        image: uint8 [H, W, 3], RGB.
        labels: uint8 [H, W], 0 inlier, 1 anomaly, else not evaluated.
        found: bool [H, W], where the score exceeds the threshold.
        width: Columns of the result; the frame is not enlarged.

    Returns:
        uint8 [h, width, 3], RGB.
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
    return _shrink(canvas.astype(np.uint8), width)


def paint_unknown(image: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Paints unknown pixels of a frame without labels cyan.

    Args:
        image: uint8 [H, W, 3], RGB.
        found: bool [H, W], where the score exceeds the threshold.

    Returns:
        uint8 [H, W, 3], RGB.
    """
    painted = image.copy()
    painted[found] = _UNKNOWN_COLOR
    return cv2.addWeighted(np.ascontiguousarray(image), 0.45, painted, 0.55, 0)


def _shrink(picture: np.ndarray, width: int) -> np.ndarray:
    width = min(width, picture.shape[1])
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


class Gallery:
    """Keeps the frames with most false alarms and most misses at a threshold, or with most unknown pixels.

    Args:
        score: Name of the score that is judged.
        threshold: Pixels above it are called anomalous.
        count: Pictures of each kind.
        width: Columns of a picture.
    """

    def __init__(self, score: str, threshold: float, count: int = 6, width: int = 640) -> None:
        self.score = score
        self.threshold = threshold
        self._count = count
        self._width = width
        self.pictures: dict[str, list[Picture]] = {FALSE_ALARM: [], MISS: [], UNKNOWN: []}

    def add(self, item: ScoredFrame) -> None:
        """Looks at a frame."""
        labels = item.frame.anomaly
        if labels is None:
            return
        found = (item.scores[self.score] > self.threshold).cpu().numpy()
        for kind, wrong, of in (
            (FALSE_ALARM, found & (labels == 0), labels == 0),
            (MISS, ~found & (labels == ANOMALY), labels == ANOMALY),
        ):
            pixels = int(wrong.sum())
            if pixels and self._would_stay(kind, pixels):
                painted = paint_errors(item.frame.image, labels, found, self._width)
                name = "/".join(Path(item.frame.name).parts[-2:])
                self._keep(Picture(kind, name, item.index, pixels, pixels / int(of.sum()), _jpeg(painted)))

    def add_unlabelled(self, name: str, index: int, image: np.ndarray, found: np.ndarray) -> None:
        """Looks at a frame without labels.

        Args:
            name: Of the frame.
            index: Of the frame in the data set.
            image: uint8 [H, W, 3], RGB.
            found: bool [H, W], where the score exceeds the threshold.
        """
        pixels = int(found.sum())
        if pixels and self._would_stay(UNKNOWN, pixels):
            painted = _shrink(paint_unknown(image, found), self._width)
            self._keep(Picture(UNKNOWN, name, index, pixels, pixels / found.size, _jpeg(painted)))

    def _would_stay(self, kind: str, pixels: int) -> bool:
        kept = self.pictures[kind]
        return len(kept) < self._count or pixels > kept[-1].pixels

    def _keep(self, *pictures: Picture) -> None:
        for picture in pictures:
            kept = [*self.pictures[picture.kind], picture]
            kept.sort(key=lambda item: (-item.pixels, item.index))
            self.pictures[picture.kind] = kept[: self._count]

    def merge(self, other: Gallery) -> None:
        """Takes in another shard's pictures."""
        for pictures in other.pictures.values():
            self._keep(*pictures)


def _jpeg(picture: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])[1].tobytes()
