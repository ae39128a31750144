# SPDX-License-Identifier: Apache-2.0
"""Open-set figures against counts by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from densehybrid_ros.evaluation.open_set import OpenSetAccumulator, mean_over_folds, open_set_map

K = 4


def _frame(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Prediction, score, semantic and anomaly labels."""
    rng = np.random.default_rng(seed)
    semantic = rng.integers(0, K, (20, 30)).astype(np.uint8)
    prediction = np.where(rng.random(semantic.shape) < 0.8, semantic, rng.integers(0, K, semantic.shape))
    anomaly = (rng.random(semantic.shape) < 0.1).astype(np.uint8)
    semantic[anomaly == 1] = 255
    semantic[rng.random(semantic.shape) < 0.05] = 255
    score = rng.standard_normal(semantic.shape) + 2 * anomaly
    return (
        torch.from_numpy(prediction.astype(np.uint8)),
        torch.from_numpy(score.astype(np.float32)),
        torch.from_numpy(semantic),
        torch.from_numpy(anomaly),
    )


def _reference(frames: list, threshold: float) -> tuple[float, float, float]:
    """Closed mIoU, open-mIoU and mF1 from equations (21) and (22), class by class."""
    pairs = []
    for prediction, score, semantic, anomaly in frames:
        truth = np.where(anomaly.numpy() == 1, K, semantic.numpy())
        opened = np.where(score.numpy() > threshold, K, prediction.numpy())
        keep = truth != 255
        pairs += list(zip(truth[keep], prediction.numpy()[keep], opened[keep], strict=True))
    truth, closed, opened = (np.array(column) for column in zip(*pairs, strict=True))
    closed_iou, open_iou, f1 = [], [], []
    for k in range(K + 1):
        inlier = truth < K
        if k < K:
            hit = np.sum((truth == k) & (closed == k))
            closed_iou.append(hit / np.sum(inlier & ((truth == k) | (closed == k))))
        hit = np.sum((truth == k) & (opened == k))
        false_positives = sum(np.sum((opened == k) & (truth == i)) for i in range(K + 1) if i != k)
        false_negatives = sum(np.sum((opened == i) & (truth == k)) for i in range(K + 1) if i != k)
        if k < K:
            open_iou.append(hit / (hit + false_positives + false_negatives))
        f1.append(2 * hit / (2 * hit + false_positives + false_negatives))
    return float(np.mean(closed_iou)), float(np.mean(open_iou)), float(np.mean(f1))


def _accumulate(frames: list, threshold: float) -> OpenSetAccumulator:
    accumulator = OpenSetAccumulator(K, threshold)
    for frame in frames:
        accumulator.update(*frame)
    return accumulator


def test_equals_the_equations() -> None:
    frames = [_frame(seed) for seed in range(3)]
    metrics = _accumulate(frames, 1.2).compute()
    closed, opened, f1 = _reference(frames, 1.2)
    assert metrics.closed_mean_iou == pytest.approx(closed, abs=1e-12)
    assert metrics.open_mean_iou == pytest.approx(opened, abs=1e-12)
    assert metrics.gap == pytest.approx(closed - opened, abs=1e-12)
    assert metrics.mean_f1 == pytest.approx(f1, abs=1e-12)
    assert metrics.frames == 3


def test_perfect_anomaly_detection_has_no_gap() -> None:
    prediction, _, semantic, anomaly = _frame(0)
    metrics = _accumulate([(prediction, anomaly.float(), semantic, anomaly)], 0.5).compute()
    assert metrics.gap == 0.0


def test_threshold_is_exclusive() -> None:
    score = torch.tensor([0.5, 0.50001])
    assert open_set_map(torch.tensor([1, 2], dtype=torch.uint8), score, 0.5, K).tolist() == [1, K]


def test_class_that_never_occurs_is_left_out_of_the_mean() -> None:
    zeros = torch.zeros((4, 4), dtype=torch.uint8)
    metrics = _accumulate([(zeros, zeros.float(), zeros, zeros)], 1.0).compute()
    assert metrics.open_mean_iou == 1.0
    assert not math.isnan(metrics.mean_f1)


def test_folds_weigh_by_frames() -> None:
    one, two = _accumulate([_frame(0)], 1.0).compute(), _accumulate([_frame(1), _frame(2), _frame(3)], 1.0).compute()
    mean = mean_over_folds([one, two])
    assert mean.open_mean_iou == pytest.approx((one.open_mean_iou + 3 * two.open_mean_iou) / 4)
    assert mean.frames == 4


def test_merged_shards_equal_one_accumulator() -> None:
    frames = [_frame(seed) for seed in range(4)]
    first, second = _accumulate(frames[::2], 1.0), _accumulate(frames[1::2], 1.0)
    first.merge(second)
    assert first.compute() == _accumulate(frames, 1.0).compute()
