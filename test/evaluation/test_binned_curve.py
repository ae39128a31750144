# SPDX-License-Identifier: Apache-2.0
"""SegmentMeIfYouCan's binned curve: by hand, against NumPy's own histogram, and near the exact one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from densehybrid_ros.evaluation.binned_curve import BinnedCurve, BinnedMetrics
from densehybrid_ros.evaluation.pixel_accumulator import pixel_metrics


def binned(*frames: tuple[np.ndarray, np.ndarray]) -> BinnedMetrics:
    curve = BinnedCurve()
    for scores, labels in frames:
        curve.update(torch.from_numpy(scores.astype(np.float32)), torch.from_numpy(labels.astype(np.uint8)))
    return curve.compute()


def make_frames(count: int, pixels: int = 3000) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(5)
    frames = []
    for _ in range(count):
        labels = rng.choice([0, 1, 255], pixels, p=[0.85, 0.1, 0.05])
        scores = rng.normal(-9, 2, pixels) + 3 * (labels == 1) + rng.normal()
        frames.append((scores.astype(np.float32), labels))
    return frames


def test_a_frame_by_hand() -> None:
    # Edges 0, .2, .4, .6, .8, .9, 1: every score has a bin of its own, and the curve is the exact one.
    result = binned((np.array([0.9, 0.6, 0.2, 0.8, 0.4]), np.array([1, 1, 0, 0, 0])))
    assert result.average_precision == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert result.fpr95 == pytest.approx(1 / 3)


def test_frames_round_their_scores_each_by_its_own_edges() -> None:
    first = (np.array([0.5, 0.1]), np.array([1, 0]))  # 0.5 in the bin from 0.5 to 1
    second = (np.array([0.7, 0.7]), np.array([0, 255]))  # the lower edge 0.7 comes first, its negative too
    assert binned(first, second).average_precision == pytest.approx(0.5)
    assert binned(first, second).fpr95 == pytest.approx(0.5)


def test_pooled_vertices_are_those_of_numpy_histograms() -> None:
    frames = make_frames(3)
    rows = []
    for scores, labels in frames:
        positive, negative = (scores[labels == value].astype(float) for value in (1, 0))
        quantiles = [np.quantile(part, np.linspace(0, 1, min(384, len(part)))) for part in (positive, negative)]
        edges = np.unique(np.concatenate([[0.0, 1.0], *quantiles]))
        counts = (np.histogram(part, edges)[0] for part in (positive, negative))
        rows += list(zip(edges[:-1], *counts, strict=True))
    table = np.array(sorted(rows, reverse=True))
    last = np.append(table[1:, 0] != table[:-1, 0], True)  # of equal thresholds
    recall, false = np.cumsum(table[:, 1]), np.cumsum(table[:, 2])
    precision = recall / np.maximum(recall + false, 1)
    expected = float(np.sum(np.diff(recall[last], prepend=0) / recall[-1] * precision[last]))
    assert binned(*frames).average_precision == pytest.approx(expected, abs=1e-12)
    reached = np.argmax(recall / recall[-1] >= 0.95)
    assert binned(*frames).fpr95 == pytest.approx(false[reached] / false[-1], abs=1e-12)


def test_it_lies_near_the_exact_curve_but_is_not_it() -> None:
    frames = make_frames(4)
    exact = pixel_metrics(
        np.concatenate([scores for scores, _ in frames]),
        np.concatenate([labels for _, labels in frames]).astype(np.uint8),
    )
    result = binned(*frames)
    assert result.average_precision != exact.average_precision
    assert result.average_precision == pytest.approx(exact.average_precision, abs=0.02)
    assert result.fpr95 == pytest.approx(exact.fpr95, abs=0.02)


def test_recall_reached_only_at_the_end_is_an_fpr_of_one() -> None:
    # All pixels share a bin: there is but one vertex, at which everything is found.
    assert binned((np.full(6, -3.0), np.array([1, 1, 0, 0, 0, 0]))).fpr95 == 1.0


@pytest.mark.parametrize("labels", [[0, 0, 255], [1, 255, 255], [255, 255, 255]])
def test_a_missing_class_leaves_the_figures_undefined(labels: list[int]) -> None:
    result = binned((np.array([0.1, 0.2, 0.3]), np.array(labels)))
    assert math.isnan(result.average_precision)
    assert math.isnan(result.fpr95)


def test_shards_merge_in_any_order() -> None:
    frames = make_frames(4)
    one, two = BinnedCurve(), BinnedCurve()
    for index, (scores, labels) in enumerate(frames):
        target = one if index % 2 else two
        target.update(torch.from_numpy(scores), torch.from_numpy(labels.astype(np.uint8)))
    one.merge(two)
    assert one.compute() == binned(*frames)
