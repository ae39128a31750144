# SPDX-License-Identifier: Apache-2.0
"""Open-set figures against counts by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from densehybrid_ros.evaluation.open_set import OpenSetAccumulator, OpenSetMetrics, mean_over_folds

K = 4


def _frame(seed: int) -> tuple[np.ndarray, ...]:
    """Prediction, score, semantic and anomaly labels."""
    rng = np.random.default_rng(seed)
    semantic = rng.integers(0, K, (20, 30)).astype(np.uint8)
    prediction = np.where(rng.random(semantic.shape) < 0.8, semantic, rng.integers(0, K, semantic.shape))
    anomaly = (rng.random(semantic.shape) < 0.1).astype(np.uint8)
    semantic[anomaly == 1] = 255
    semantic[rng.random(semantic.shape) < 0.05] = 255
    score = rng.standard_normal(semantic.shape) + 2 * anomaly
    return prediction.astype(np.uint8), score.astype(np.float32), semantic, anomaly


def _compute(threshold: float, *frames: tuple[np.ndarray, ...]) -> OpenSetMetrics:
    accumulator = OpenSetAccumulator(K, threshold)
    for frame in frames:
        accumulator.update(*map(torch.from_numpy, frame))
    return accumulator.compute()


def _f1(truth: np.ndarray, found: np.ndarray, k: int) -> tuple[float, float]:
    """IoU and F1 of a class."""
    hit, either = np.sum((truth == k) & (found == k)), np.sum((truth == k) | (found == k))
    return hit / either, 2 * hit / (either + hit)


def test_equals_the_equations() -> None:
    frames = [_frame(seed) for seed in range(3)]
    prediction, score, semantic, anomaly = (np.concatenate(column) for column in zip(*frames, strict=True))
    truth = np.where(anomaly == 1, K, semantic)
    opened, known, inlier = np.where(score > 1.2, K, prediction), truth != 255, truth < K
    closed_iou = np.mean([_f1(truth[inlier], prediction[inlier], k)[0] for k in range(K)])
    open_iou, f1 = zip(*(_f1(truth[known], opened[known], k) for k in range(K + 1)), strict=True)
    metrics = _compute(1.2, *frames)
    got = (metrics.closed_mean_iou, metrics.open_mean_iou, metrics.gap, metrics.mean_f1)
    expected = (closed_iou, np.mean(open_iou[:K]), closed_iou - np.mean(open_iou[:K]), np.mean(f1))
    assert got == pytest.approx(expected, abs=1e-12)
    assert metrics.frames == 3


def test_perfect_anomaly_detection_has_no_gap_and_a_score_at_the_threshold_is_no_anomaly() -> None:
    prediction, _, semantic, anomaly = _frame(0)
    assert _compute(0.5, (prediction, anomaly.astype(np.float32), semantic, anomaly)).gap == 0.0
    assert _compute(0.5, (semantic, np.full(semantic.shape, 0.5, np.float32), semantic, 0 * anomaly)).gap == 0.0


def test_class_that_never_occurs_is_left_out_of_the_mean() -> None:
    zeros = np.zeros((4, 4), np.uint8)
    assert _compute(1.0, (zeros, zeros.astype(np.float32), zeros, zeros)).open_mean_iou == 1.0


def test_folds_weigh_by_frames() -> None:
    one, two = _compute(1.0, _frame(0)), _compute(1.0, _frame(1), _frame(2), _frame(3))
    mean = mean_over_folds([one, two])
    assert mean.open_mean_iou == pytest.approx((one.open_mean_iou + 3 * two.open_mean_iou) / 4)
    assert mean.frames == 4
