# SPDX-License-Identifier: Apache-2.0
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


def test_candidates_go_from_a_twentieth_of_the_inliers_to_none_by_one_factor() -> None:
    frames = _frames(16)
    inliers = np.concatenate([score[labels == 0] for score, labels in frames])
    candidates = candidate_thresholds(_pixels(frames))
    above = np.array([(inliers > value).sum() for value in candidates])
    assert above[0] == pytest.approx(0.05 * len(inliers), rel=0.01)
    assert above[-1] == 0
    many = above[above > 200]
    assert np.all(many[1:] / many[:-1] == pytest.approx(many[1] / many[0], rel=0.02))
