# SPDX-License-Identifier: Apache-2.0
"""Average precision, FPR95 and AUROC from exact counts of scores, as the benchmarks define them.

The curves are walked from the highest score down, one vertex for each distinct score that a positive (an
anomalous pixel) has. Vertices between two of those change neither average precision nor the recall that
FPR95 asks for, and the trapezoids of AUROC between them are counted by the negatives below each positive,
half of them where tied.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from densehybrid_ros.evaluation.key_counts import KeyCounts, scores_of_keys

RECALL_OF_FPR95 = 0.95


class Vertices(NamedTuple):
    """Consecutive vertices of a curve, scores descending; int64 arrays of one length.

    Attributes:
        keys: Key of the score (shifted as the counts are).
        positives: Positives that have exactly this score.
        negatives: Negatives that have exactly this score.
        true_positives: Positives with at least this score.
        false_positives: Negatives with at least this score.
    """

    keys: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray
    true_positives: np.ndarray
    false_positives: np.ndarray


def vertices(positives: KeyCounts, negatives: KeyCounts) -> Iterator[Vertices]:
    """Walks the curve from the highest score down, a page of at most 2^16 vertices at a time.

    Args:
        positives: Scores of the anomalous pixels.
        negatives: Scores of the inlier pixels, of the same ``shift``.
    """
    true_positives = false_positives = 0
    for page in sorted({*positives.descending_pages(), *negatives.descending_pages()}, reverse=True):
        keys, counts = (values[::-1] for values in positives.page_entries(page))
        if len(keys):
            at_least, above = negatives.at_least_and_above(page, keys)
            tp = true_positives + np.cumsum(counts)
            yield Vertices(keys, counts, at_least - above, tp, false_positives + at_least)
            true_positives = int(tp[-1])
        false_positives += negatives.page_total(page)


@dataclass(frozen=True)
class CurveMetrics:
    """Figures of one curve; nan where positives or negatives are missing.

    Attributes:
        average_precision: Sum over vertices of recall gained times precision (scikit-learn's definition),
            0..1.
        fpr95: False positive rate at the first vertex whose recall is at least 0.95, 0..1.
        auroc: Area under the ROC curve, ties counted half, 0..1.
        fpr95_nearest: False positive rate at the vertex whose recall is nearest to 0.95 (StreetHazards'
            variant).
        threshold_tpr95: Highest threshold t such that ``score > t`` finds more than 95 % of the positives.
        best_f1: Largest F1 of a pixel threshold, 0..1.
        threshold_best_f1: A threshold t such that ``score > t`` reaches it.
        positives: Number of anomalous pixels.
        negatives: Number of inlier pixels.
        average_precision_error: Largest possible error of ``average_precision``; 0 where the counts are
            exact.
        fpr95_error: The same of ``fpr95``.
        auroc_error: The same of ``auroc``.
    """

    average_precision: float = math.nan
    fpr95: float = math.nan
    auroc: float = math.nan
    fpr95_nearest: float = math.nan
    threshold_tpr95: float = math.nan
    best_f1: float = math.nan
    threshold_best_f1: float = math.nan
    positives: int = 0
    negatives: int = 0
    average_precision_error: float = 0.0
    fpr95_error: float = 0.0
    auroc_error: float = 0.0

    @property
    def exact(self) -> bool:
        """Whether no score was rounded on the way."""
        return self.average_precision_error == self.fpr95_error == self.auroc_error == 0.0


def curve_metrics(positives: KeyCounts, negatives: KeyCounts) -> CurveMetrics:
    """Computes every figure of the curve in one walk.

    Args:
        positives: Scores of the anomalous pixels.
        negatives: Scores of the inlier pixels, of the same ``shift``.
    """
    if not positives.total or not negatives.total:
        return CurveMetrics(positives=positives.total, negatives=negatives.total)
    walk = _Walk(positives.total, negatives.total, positives.shift)
    for part in vertices(positives, negatives):
        walk.add(part)
    return walk.metrics()


@dataclass
class _Walk:
    """Sums and first hits along the walk; ``metrics`` closes it."""

    positives: int
    negatives: int
    shift: int
    precision_sum: float = 0.0
    precision_bounds: np.ndarray = field(default_factory=lambda: np.zeros(2))
    pairs_ordered: float = 0.0
    pairs_in_doubt: float = 0.0
    fpr95: float = math.nan
    fpr95_bounds: tuple[float, float] = (math.nan, math.nan)
    threshold_tpr95: float = math.nan
    nearest: tuple[float, float] = (math.inf, math.nan)
    best_f1: float = -1.0
    threshold_best_f1: float = math.nan
    last_false_positives: int = 0

    def add(self, part: Vertices) -> None:
        """Takes in the next vertices."""
        recall = part.true_positives / self.positives
        precision = part.true_positives / (part.true_positives + part.false_positives)
        self.precision_sum += float(np.sum(part.positives * precision))
        below = self.negatives - part.false_positives
        self.pairs_ordered += float(np.sum(part.positives * (below + 0.5 * part.negatives)))
        self._find_recall(part, recall)
        self._find_nearest_recall(part)
        self._find_best_f1(part)
        if self.shift:
            self._add_bounds(part)
        self.last_false_positives = int(part.false_positives[-1])

    def _find_recall(self, part: Vertices, recall: np.ndarray) -> None:
        if math.isnan(self.fpr95) and recall[-1] >= RECALL_OF_FPR95:
            hit = int(np.argmax(recall >= RECALL_OF_FPR95))
            self.fpr95 = float(part.false_positives[hit] / self.negatives)
            before = (part.false_positives[hit] - part.negatives[hit]) / self.negatives
            self.fpr95_bounds = (float(before), self.fpr95)
        if math.isnan(self.threshold_tpr95) and recall[-1] > RECALL_OF_FPR95:
            hit = int(np.argmax(recall > RECALL_OF_FPR95))
            self.threshold_tpr95 = self._just_below(int(part.keys[hit]))

    def _find_nearest_recall(self, part: Vertices) -> None:
        # Among vertices of one recall the reference takes the last, which is the one before the next
        # positive.
        recall = (part.true_positives - part.positives) / self.positives
        distance = np.abs(recall - RECALL_OF_FPR95)
        index = len(distance) - 1 - int(np.argmin(distance[::-1]))
        if distance[index] <= self.nearest[0]:
            before = part.false_positives[index] - part.negatives[index]
            self.nearest = (float(distance[index]), float(before / self.negatives))

    def _find_best_f1(self, part: Vertices) -> None:
        f1 = 2.0 * part.true_positives / (part.true_positives + part.false_positives + self.positives)
        index = int(np.argmax(f1))
        if f1[index] > self.best_f1:
            self.best_f1 = float(f1[index])
            self.threshold_best_f1 = self._just_below(int(part.keys[index]))

    def _just_below(self, key: int) -> float:
        """The largest threshold t for which ``score > t`` still takes in this vertex."""
        return float(np.nextafter(scores_of_keys(np.array(key << self.shift)), np.float32(-np.inf)))

    def _add_bounds(self, part: Vertices) -> None:
        """Bounds the sums over every order that the scores merged into one key may have had."""
        doubtful = part.negatives > 0
        tp_before = part.true_positives - part.positives
        fp_before = part.false_positives - part.negatives
        high = part.true_positives / (part.true_positives + fp_before)
        # The i-th positive of a merged key has at least i true and at most all false positives of it above
        # it.
        low = _mean_precision_of_steps(tp_before, part.positives, part.false_positives)
        # Positives that were merged with each other alone also differ in precision, hence no mask here.
        self.precision_bounds += (float(np.sum(part.positives * low)), float(np.sum(part.positives * high)))
        self.pairs_in_doubt += 0.5 * float(np.sum((part.positives * part.negatives)[doubtful]))

    def metrics(self) -> CurveMetrics:
        """Closes the walk."""
        at_full_recall = abs(1.0 - RECALL_OF_FPR95)
        nearest = self.nearest[1]
        if at_full_recall <= self.nearest[0]:
            nearest = self.last_false_positives / self.negatives
        average_precision = self.precision_sum / self.positives
        pairs = float(self.positives) * float(self.negatives)
        errors = (0.0, 0.0, 0.0)
        if self.shift:
            low, high = self.precision_bounds / self.positives
            errors = (
                max(high - average_precision, average_precision - low, 0.0),
                self.fpr95_bounds[1] - self.fpr95_bounds[0],
                self.pairs_in_doubt / pairs,
            )
        return CurveMetrics(
            average_precision=average_precision,
            fpr95=self.fpr95,
            auroc=self.pairs_ordered / pairs,
            fpr95_nearest=nearest,
            threshold_tpr95=self.threshold_tpr95,
            best_f1=self.best_f1,
            threshold_best_f1=self.threshold_best_f1,
            positives=self.positives,
            negatives=self.negatives,
            average_precision_error=float(errors[0]),
            fpr95_error=float(errors[1]),
            auroc_error=float(errors[2]),
        )


def _mean_precision_of_steps(before: np.ndarray, steps: np.ndarray, false_positives: np.ndarray) -> np.ndarray:
    """A lower bound of the mean over i = 1..steps of (before + i) / (before + i + false_positives).

    The summand is concave in i, so the mean is at least that of its first and last value.
    """
    first = before + 1.0
    last = before + steps
    return 0.5 * (first / (first + false_positives) + last / (last + false_positives))


class CurvePoints(NamedTuple):
    """Sampled vertices for a plot; arrays of one length, scores descending.

    Attributes:
        thresholds: float32 scores.
        recall: True positive rate, 0..1.
        precision: 0..1.
        fpr: False positive rate, 0..1.
    """

    thresholds: np.ndarray
    recall: np.ndarray
    precision: np.ndarray
    fpr: np.ndarray


def sample_curve(positives: KeyCounts, negatives: KeyCounts, points: int = 400) -> CurvePoints:
    """Takes the exact vertices at which recall or false positive rate enters the next of ``points`` steps.

    False positive rates are stepped in their logarithm down to 1e-6, which a ROC curve with a log axis needs.
    """
    rows: list[np.ndarray] = []
    last_step = (-1, -1)
    for part in vertices(positives, negatives):
        recall = part.true_positives / positives.total
        fpr = part.false_positives / max(negatives.total, 1)
        steps = np.stack(((recall * points).astype(int), (np.log10(fpr + 1e-6) * points / 6).astype(int)), axis=1)
        moved = np.any(np.diff(steps, axis=0, prepend=np.array([last_step])) != 0, axis=1)
        last_step = (int(steps[-1, 0]), int(steps[-1, 1]))
        scores = scores_of_keys(part.keys << positives.shift)
        precision = part.true_positives / (part.true_positives + part.false_positives)
        rows.append(np.stack((scores, recall, precision, fpr), axis=1)[moved])
    table = np.concatenate(rows) if rows else np.zeros((0, 4))
    return CurvePoints(table[:, 0].astype(np.float32), table[:, 1], table[:, 2], table[:, 3])


def quantile_score(counts: KeyCounts, quantile: float) -> float:
    """The smallest score that at least the share ``quantile`` (0..1) of the counted scores does not exceed.

    Returns:
        nan where nothing was counted.
    """
    wanted = max(math.ceil(quantile * counts.total - 1e-6), 1)  # 1e-6: rounding of the product
    seen = 0
    for page in reversed(counts.descending_pages()):
        page_total = counts.page_total(page)
        if seen + page_total >= wanted:
            keys, occurrences = counts.page_entries(page)
            key = int(keys[np.searchsorted(seen + np.cumsum(occurrences), wanted)])
            # Of merged scores the highest is meant, so that none of them lies above the threshold.
            highest = (key << counts.shift) | ((1 << counts.shift) - 1)
            return float(scores_of_keys(np.array(highest)))
        seen += page_total
    return math.nan


class ScoreHistogram(NamedTuple):
    """How the scores of known and unknown pixels are spread over bins of one width.

    Attributes:
        low: Lower end of the first bin; scores below it count there.
        high: Upper end of the last bin; scores above it count there.
        known: Share of the inlier pixels in each bin, 0..1; empty without any.
        unknown: Share of the anomalous pixels in each bin, 0..1; empty without any.
    """

    low: float
    high: float
    known: list[float]
    unknown: list[float]


def score_histogram(positives: KeyCounts, negatives: KeyCounts, bins: int = 60) -> ScoreHistogram:
    """Counts the scores in bins that span all but the outermost thousandth at either end of both kinds."""
    kinds = [counts for counts in (negatives, positives) if counts.total]
    low = min((quantile_score(counts, 0.001) for counts in kinds), default=0.0)
    high = max((quantile_score(counts, 0.999) for counts in kinds), default=1.0)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        low, high = (low - 0.5, low + 0.5) if math.isfinite(low) else (0.0, 1.0)
    shares = []
    for counts in (negatives, positives):
        found = np.zeros(bins, dtype=np.int64)
        for keys, occurrences in counts.chunks():
            scores = np.clip(scores_of_keys(keys), low, high).astype(float)
            place = np.minimum(((scores - low) / (high - low) * bins).astype(int), bins - 1)
            found += np.bincount(place, occurrences, bins).astype(np.int64)
        shares.append((found / counts.total).tolist() if counts.total else [])
    return ScoreHistogram(low, high, *shares)
