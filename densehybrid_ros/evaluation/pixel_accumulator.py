# SPDX-License-Identifier: Apache-2.0
"""Pools a data set's pixels for exact curves: frame after frame, on CPU or GPU."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.datasets.evaluation_set import ANOMALY, INLIER
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.curves import (
    CurveMetrics,
    CurvePoints,
    ScoreHistogram,
    curve_metrics,
    quantile_score,
    sample_curve,
    score_histogram,
)
from densehybrid_ros.evaluation.key_counts import KeyCounts, holds_nan, keys_of_scores, run_lengths

DEFAULT_BUFFER = 1 << 25
"""Scores sorted at a time, 128 MiB."""
_PIECES_A_THREAD = 2  # while one piece is counted, others are sorted; more pieces cost more counting
_SMALLEST_PIECE = 1 << 20
_CHUNK = 1 << 22  # sorted scores whose run lengths are taken at a time: bounds the temporary arrays


class PixelAccumulator:
    """Average precision, FPR95 and AUROC over all pixels of a data set, exactly.

    Scores wait on their device, 4 bytes each, until they are ``buffer_size``; they are then sorted and counted (see
    ``key_counts``).
    """

    def __init__(self, buffer_size: int = DEFAULT_BUFFER) -> None:
        self._limit = buffer_size
        self._waiting: list[tuple[Tensor, Tensor]] = []  # keys of inliers and of anomalies, frame after frame
        self._positives, self._negatives = KeyCounts(), KeyCounts()

    @property
    def positives(self) -> KeyCounts:
        """Scores of the anomalous pixels so far."""
        self._flush()
        return self._positives

    @property
    def negatives(self) -> KeyCounts:
        """Scores of the inlier pixels so far."""
        self._flush()
        return self._negatives

    def update(self, scores: Tensor, labels: Tensor, name: str = "scores") -> None:
        """Takes in the pixels of a frame.

        Args:
            scores: Of any shape, device and float type, which becomes float32; higher = more anomalous.
            labels: uint8 of the same shape and device: 0 inlier, 1 anomaly, anything else is left out.
            name: What the scores belong to, for the message.

        Raises:
            InputError: Sizes disagree, or a labelled pixel's score is NaN.
        """
        if scores.shape != labels.shape:
            raise InputError(
                f"{name}: scores are {tuple(scores.shape)} and labels {tuple(labels.shape)}; give both one size"
            )
        scores, labels = scores.detach().float().reshape(-1), labels.reshape(-1)
        if scores.is_cuda:
            inlier, anomaly = scores[labels == INLIER], scores[labels == ANOMALY]
        else:  # NumPy selects three times faster than torch on a CPU
            values, classes = scores.numpy(), labels.numpy()
            inlier, anomaly = values[classes == INLIER], values[classes == ANOMALY]
        inlier, anomaly = keys_of_scores(inlier), keys_of_scores(anomaly)
        if holds_nan(inlier) or holds_nan(anomaly):
            raise InputError(f"{name}: labelled pixels have NaN scores; check the model's output and its weights")
        keys = torch.as_tensor(inlier), torch.as_tensor(anomaly)
        room = self._limit - self._waiting_keys()
        if sum(map(len, keys)) > room or any(keys[0].device != one.device for one, _ in self._waiting[-1:]):
            self._flush()
        self._waiting.append(keys)

    def _waiting_keys(self) -> int:
        return sum(len(keys) for pair in self._waiting for keys in pair)

    def _flush(self) -> None:
        """Counts what waits."""
        for keys, counts in zip(zip(*self._waiting, strict=True), (self._negatives, self._positives), strict=False):
            self._count(torch.cat(keys), counts)
        self._waiting = []

    def _count(self, keys: Tensor, counts: KeyCounts) -> None:
        if keys.is_cuda:
            distinct, occurrences = torch.unique_consecutive(torch.sort(keys).values, return_counts=True)
            host_keys, host_counts = distinct.cpu().numpy(), occurrences.cpu().numpy()
            for start in range(0, len(host_keys), _CHUNK):
                counts.add(host_keys[start : start + _CHUNK], host_counts[start : start + _CHUNK])
            return
        for values in _sorted_pieces(keys.numpy()):
            for start in range(0, len(values), _CHUNK):
                counts.add(*run_lengths(values[start : start + _CHUNK]))

    def merge(self, other: PixelAccumulator) -> None:
        """Adds all that another accumulator has counted (of another shard, say)."""
        self._positives.merge(other.positives)
        self._negatives.merge(other.negatives)

    def compute(self) -> CurveMetrics:
        """Returns the figures over all pixels so far; more may follow."""
        return curve_metrics(self.positives, self.negatives)

    def curve(self, points: int = 400) -> CurvePoints:
        """Returns sampled exact vertices of the curve, for a plot."""
        return sample_curve(self.positives, self.negatives, points)

    def histogram(self) -> ScoreHistogram:
        """Returns how the scores of inlier and anomalous pixels are spread."""
        return score_histogram(self.positives, self.negatives)

    def inlier_quantile(self, quantile: float) -> float:
        """Returns the score that at least the share ``quantile`` of the inlier pixels does not exceed."""
        return quantile_score(self.negatives, quantile)

    @property
    def nbytes(self) -> int:
        """Bytes of counters and of what waits."""
        return self._positives.nbytes + self._negatives.nbytes + 4 * self._waiting_keys()


def _sorted_pieces(values: np.ndarray) -> Iterator[np.ndarray]:
    """Sorts an array piece by piece, in place, and yields the pieces; with several threads others are sorted meanwhile.

    Sorting takes more than half of the time that counting does. NumPy's vectorised sort is an order of magnitude faster
    than torch's here, and lets other threads run.
    """
    threads = torch.get_num_threads()
    number = min(_PIECES_A_THREAD * threads, len(values) // _SMALLEST_PIECE)
    if threads == 1 or number <= 1:
        values.sort()
        yield values
        return
    pieces = np.array_split(values, number)  # views
    with ThreadPoolExecutor(threads) as pool:
        for piece, done in [(piece, pool.submit(piece.sort)) for piece in pieces]:
            done.result()
            yield piece


def pixel_metrics(scores: np.ndarray | Tensor, labels: np.ndarray | Tensor, name: str = "scores") -> CurveMetrics:
    """The figures of one set of pixels, such as an image; arguments as of ``PixelAccumulator.update``."""
    accumulator = PixelAccumulator()
    accumulator.update(torch.as_tensor(scores), torch.as_tensor(labels), name)
    return accumulator.compute()


class ImageMeanAccumulator:
    """Mean over images of each image's figures, images that lack a class skipped (StreetHazards' protocol)."""

    def __init__(self) -> None:
        self._figures: list[tuple[float, float, float]] = []

    def update(self, scores: Tensor, labels: Tensor, name: str = "scores") -> None:
        """Takes in a frame; arguments as of ``PixelAccumulator.update``."""
        metrics = pixel_metrics(scores, labels, name)
        if metrics.positives and metrics.negatives:
            self._figures.append((metrics.average_precision, metrics.fpr95_nearest, metrics.auroc))

    def compute(self) -> CurveMetrics:
        """Returns the means; nan without an image that has both classes."""
        if not self._figures:
            return CurveMetrics()
        average_precision, fpr, auroc = np.mean(self._figures, axis=0).tolist()
        return CurveMetrics(average_precision=average_precision, fpr95=fpr, auroc=auroc, fpr95_nearest=fpr)
