"""Thresholds from held-out data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from densehybrid_ros.datasets.evaluation_set import EvaluationFrame
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.pixel_accumulator import PixelAccumulator
from densehybrid_ros.evaluation.thresholds import (
    FalseAlarmCounter,
    anomaly_labels,
    candidate_thresholds,
    inlier_threshold,
    outlier_threshold,
)


def _frames(count: int = 4) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(count):
        score = ndimage.gaussian_filter(rng.standard_normal((60, 80)), 1.5).astype(np.float32)
        labels = rng.choice(np.array([0, 0, 0, 0, 1, 255], np.uint8), score.shape)
        frames.append((score + 0.3 * (labels == 1), labels))
    return frames


def _pixels(frames: list[tuple[np.ndarray, np.ndarray]]) -> PixelAccumulator:
    accumulator = PixelAccumulator()
    for score, labels in frames:
        accumulator.update(torch.from_numpy(score), torch.from_numpy(labels))
    return accumulator


def test_shares_above_the_thresholds() -> None:
    frames = _frames()
    pixels = _pixels(frames)
    scores = np.concatenate([score.ravel() for score, _ in frames])
    labels = np.concatenate([label.ravel() for _, label in frames])
    above = scores[labels == 0] > inlier_threshold(pixels)
    assert 0.0499 < above.mean() <= 0.05
    found = scores[labels == 1] > outlier_threshold(pixels)
    assert 0.95 < found.mean() < 0.951


def test_closed_set_labels_are_inliers_and_void_is_not() -> None:
    semantic = np.array([[0, 18, 255]], dtype=np.uint8)
    frame = EvaluationFrame("f", np.zeros((1, 3, 3), np.uint8), semantic=semantic)
    assert anomaly_labels(frame).tolist() == [[0, 0, 255]]


def test_missing_classes_are_named() -> None:
    inliers = _pixels([(np.zeros((2, 2), np.float32), np.zeros((2, 2), np.uint8))])
    with pytest.raises(InputError, match="outlier_tpr95: needs anomalous"):
        outlier_threshold(inliers)
    with pytest.raises(InputError, match="no inlier pixel"):
        inlier_threshold(_pixels([(np.zeros((2, 2), np.float32), np.ones((2, 2), np.uint8))]))


def _alarms(frames: list[tuple[np.ndarray, np.ndarray]], threshold: float, smallest: int) -> int:
    total = 0
    for score, labels in frames:
        numbered, count = ndimage.label((score > threshold) & (labels == 0), np.ones((3, 3)))
        total += sum(np.sum(numbered == index) >= smallest for index in range(1, count + 1))
    return total


def test_counts_equal_labelling_at_each_threshold() -> None:
    frames = _frames(2)
    counter = FalseAlarmCounter([-0.5, 0.0, 0.3, 0.6], smallest=3)
    for score, labels in frames:
        counter.update(torch.from_numpy(score), labels)
    assert counter.alarms.tolist() == [_alarms(frames, threshold, 3) for threshold in counter.thresholds]


@pytest.mark.parametrize("rate", [0.0, 0.5, 2.0])
def test_rate_is_kept_and_not_wasted(rate: float) -> None:
    frames = _frames()
    candidates = candidate_thresholds(_pixels(frames))
    counter = FalseAlarmCounter(candidates, smallest=3)
    for score, labels in frames:
        counter.update(score, labels)
    chosen = counter.threshold_for(rate)
    assert _alarms(frames, chosen, 3) <= rate * len(frames)
    lower = candidates[candidates.index(pytest.approx(chosen)) - 1]
    assert _alarms(frames, lower, 3) > rate * len(frames)


def test_merged_counters_equal_one() -> None:
    frames = _frames()
    whole, first, second = (FalseAlarmCounter([0.0, 0.4], 3) for _ in range(3))
    for index, frame in enumerate(frames):
        whole.update(*frame)
        (first if index % 2 else second).update(*frame)
    first.merge(second)
    assert first.alarms.tolist() == whole.alarms.tolist()
    assert first.frames == whole.frames
