# SPDX-License-Identifier: Apache-2.0
"""Thresholds from held-out data; the calibration recovers a known one, and its probabilities are shares."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from densehybrid_ros.confidence import Confidence
from densehybrid_ros.datasets.evaluation_set import EvaluationFrame
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.calibration import (
    anomaly_labels,
    candidate_thresholds,
    fit_confidence,
    inlier_threshold,
    outlier_threshold,
)
from densehybrid_ros.evaluation.pixel_accumulator import PixelAccumulator


def _pixels(scores: np.ndarray, labels: np.ndarray) -> PixelAccumulator:
    accumulator = PixelAccumulator()
    accumulator.update(torch.from_numpy(scores.astype(np.float32)), torch.from_numpy(labels.astype(np.uint8)))
    return accumulator


def test_shares_above_the_thresholds() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(np.array([0, 0, 0, 0, 1, 255], np.uint8), 80_000)
    scores = (rng.standard_normal(80_000) + 0.3 * (labels == 1)).astype(np.float32)
    pixels, inliers = _pixels(scores, labels), scores[labels == 0]
    assert 0.0499 < (inliers > inlier_threshold(pixels)).mean() <= 0.05
    assert 0.95 < (scores[labels == 1] > outlier_threshold(pixels)).mean() < 0.951
    above = np.array([(inliers > value).sum() for value in candidate_thresholds(pixels)])
    assert above[0] == pytest.approx(0.05 * len(inliers), rel=0.01)
    assert above[-1] == 0
    many = above[above > 200]
    assert np.all(many[1:] / many[:-1] == pytest.approx(many[1] / many[0], rel=0.02))


def test_closed_set_labels_are_inliers_and_void_is_not() -> None:
    semantic = np.array([[0, 18, 255]], dtype=np.uint8)
    frame = EvaluationFrame("f", np.zeros((1, 3, 3), np.uint8), semantic=semantic)
    assert anomaly_labels(frame).tolist() == [[0, 0, 255]]


@pytest.mark.parametrize(
    ("find", "scores", "labels", "message"),
    [
        (outlier_threshold, [0.0, 0.0], [0, 0], "outlier_tpr95: needs anomalous"),
        (inlier_threshold, [0.0, 0.0], [1, 1], "no inlier pixel"),
        (fit_confidence, [1.0, 2.0], [0, 0], "probability: needs anomalous and inlier"),
        (fit_confidence, [3.0, 1.0, 2.9, 1.1], [0, 1, 0, 1], "do not score higher"),
        (fit_confidence, [np.inf, -np.inf], [1, 0], "no score is finite"),
    ],
)
def test_what_cannot_be_calibrated_is_named(find, scores: list, labels: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find(_pixels(np.array(scores), np.array(labels)))


def test_recovers_the_calibration_that_drew_the_labels() -> None:
    rng = np.random.default_rng(0)
    truth = Confidence(midpoint=12.0, scale=3.0)
    scores = rng.normal(0.0, 10.0, 400_000)
    labels = rng.random(len(scores)) < truth.probability(scores)
    scores[:3], labels[:3] = np.inf, 1  # they do no harm
    fitted = fit_confidence(_pixels(scores, labels))
    assert fitted.confidence.midpoint == pytest.approx(12.0, abs=0.15)
    assert fitted.confidence.scale == pytest.approx(3.0, rel=0.02)
    assert fitted.prior == pytest.approx(labels.mean())
    assert fitted.error < 2e-3


def test_probabilities_of_floats_arrays_and_tensors_agree_and_do_not_overflow() -> None:
    confidence = Confidence(1.0, 2.0)
    values = np.array([-1e6, -1.0, 1.0, 3.0, 1e6])
    expected = [0.0, 1 / (1 + np.e), 0.5, 1 / (1 + np.exp(-1)), 1.0]
    assert confidence.probability(values) == pytest.approx(expected)
    assert confidence.probability(torch.from_numpy(values)).numpy() == pytest.approx(expected)
    assert [confidence.probability(float(value)) for value in values] == pytest.approx(expected)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_none_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="needs a scale above 0"):
        Confidence(0.0, scale)
