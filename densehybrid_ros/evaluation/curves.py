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
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from densehybrid_ros.evaluation.key_counts import KeyCounts, scores_of_keys

RECALL_OF_FPR95 = 0.95


class Vertices(NamedTuple):
    """Consecutive vertices of a curve, scores descending; int64 arrays of one length."""

    keys: np.ndarray  # of the scores
    positives: np.ndarray  # positives that have exactly this score
    negatives: np.ndarray  # negatives that have exactly this score
    true_positives: np.ndarray  # positives with at least this score
    false_positives: np.ndarray  # negatives with at least this score


def vertices(positives: KeyCounts, negatives: KeyCounts) -> Iterator[Vertices]:
    """Walks the curve of anomalous and inlier pixels from the highest score down, at most 2^16 vertices at a time."""
    true_positives = false_positives = 0
    for page in sorted({*positives.descending_pages(), *negatives.descending_pages()}, reverse=True):
        keys, counts = (values[::-1] for values in positives.page_entries(page))
        if len(keys):
            at_least, above = negatives.at_least_and_above(page, keys)
            tp = true_positives + np.cumsum(counts)
            yield Vertices(keys, counts, at_least - above, tp, false_positives + at_least)
            true_positives = int(tp[-1])
        false_positives += negatives.page_total(page)


@dataclass
class CurveMetrics:
    """Figures of one curve, rates 0..1; nan where positives or negatives are missing."""

    average_precision: float = math.nan  # sum over vertices of recall gained times precision (as scikit-learn's)
    fpr95: float = math.nan  # false positive rate at the first vertex whose recall is at least 0.95
    auroc: float = math.nan  # area under the ROC curve, ties counted half
    fpr95_nearest: float = math.nan  # false positive rate where recall is nearest to 0.95 (StreetHazards' variant)
    threshold_tpr95: float = math.nan  # highest t such that ``score > t`` finds more than 95 % of the positives
    best_f1: float = math.nan  # largest F1 of a pixel threshold
    threshold_best_f1: float = math.nan  # a t such that ``score > t`` reaches it
    positives: int = 0  # anomalous pixels
    negatives: int = 0  # inlier pixels
    average_precision_error: float = 0.0  # as the others: curves are exact, and programs read these keys
    fpr95_error: float = 0.0
    auroc_error: float = 0.0


def curve_metrics(positives: KeyCounts, negatives: KeyCounts) -> CurveMetrics:
    """Computes every figure of the curve of anomalous and inlier pixels in one walk."""
    figures = CurveMetrics(positives=positives.total, negatives=negatives.total)
    if not positives.total or not negatives.total:
        return figures
    figures.best_f1 = -1.0
    precision_sum = pairs_ordered = 0.0
    nearest = math.inf
    for part in vertices(positives, negatives):
        recall = part.true_positives / positives.total
        precision = part.true_positives / (part.true_positives + part.false_positives)
        precision_sum += float(np.sum(part.positives * precision))
        below = negatives.total - part.false_positives
        pairs_ordered += float(np.sum(part.positives * (below + 0.5 * part.negatives)))
        if math.isnan(figures.fpr95) and recall[-1] >= RECALL_OF_FPR95:
            hit = int(np.argmax(recall >= RECALL_OF_FPR95))
            figures.fpr95 = float(part.false_positives[hit] / negatives.total)
        if math.isnan(figures.threshold_tpr95) and recall[-1] > RECALL_OF_FPR95:
            hit = int(np.argmax(recall > RECALL_OF_FPR95))
            figures.threshold_tpr95 = _just_below(part.keys[hit])
        # Among vertices of one recall the reference takes the last, which is the one before the next positive.
        distance = np.abs((part.true_positives - part.positives) / positives.total - RECALL_OF_FPR95)
        index = len(distance) - 1 - int(np.argmin(distance[::-1]))
        if distance[index] <= nearest:
            nearest = float(distance[index])
            figures.fpr95_nearest = float((part.false_positives[index] - part.negatives[index]) / negatives.total)
        f1 = 2.0 * part.true_positives / (part.true_positives + part.false_positives + positives.total)
        index = int(np.argmax(f1))
        if f1[index] > figures.best_f1:
            figures.best_f1 = float(f1[index])
            figures.threshold_best_f1 = _just_below(part.keys[index])
    if abs(1.0 - RECALL_OF_FPR95) <= nearest:
        figures.fpr95_nearest = float(part.false_positives[-1] / negatives.total)
    figures.average_precision = precision_sum / positives.total
    figures.auroc = pairs_ordered / (float(positives.total) * float(negatives.total))
    return figures


def _just_below(key: np.integer[Any]) -> float:
    """The largest threshold t for which ``score > t`` still takes in this key."""
    return float(np.nextafter(scores_of_keys(np.array(key)), np.float32(-np.inf)))


class CurvePoints(NamedTuple):
    """Sampled vertices for a plot: float32 scores, descending, and rates 0..1; arrays of one length."""

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
        scores = scores_of_keys(part.keys)
        precision = part.true_positives / (part.true_positives + part.false_positives)
        rows.append(np.stack((scores, recall, precision, fpr), axis=1)[moved])
    table = np.concatenate(rows) if rows else np.zeros((0, 4))
    return CurvePoints(table[:, 0].astype(np.float32), table[:, 1], table[:, 2], table[:, 3])


def quantile_score(counts: KeyCounts, quantile: float) -> float:
    """The smallest score that at least a share of 0..1, ``quantile``, of those counted does not exceed; nan of none."""
    wanted = max(math.ceil(quantile * counts.total - 1e-6), 1)  # 1e-6: rounding of the product
    seen = 0
    for page in reversed(counts.descending_pages()):
        page_total = counts.page_total(page)
        if seen + page_total >= wanted:
            keys, occurrences = counts.page_entries(page)
            key = int(keys[np.searchsorted(seen + np.cumsum(occurrences), wanted)])
            return float(scores_of_keys(np.array(key)))
        seen += page_total
    return math.nan


class ScoreHistogram(NamedTuple):
    """Shares (0..1) of known and of unknown pixels in bins of one width from ``low`` to ``high``; empty without any.

    Scores beyond the ends count in the outermost bins.
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
    known, unknown = (
        (counts.binned(low, high, bins) / counts.total).tolist() if counts.total else []
        for counts in (negatives, positives)
    )
    return ScoreHistogram(low, high, known, unknown)
