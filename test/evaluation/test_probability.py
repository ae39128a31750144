# SPDX-License-Identifier: Apache-2.0
"""The calibration recovers a known one, and its probabilities are shares of anomalies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from densehybrid_ros.confidence import Confidence
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.pixel_accumulator import PixelAccumulator
from densehybrid_ros.evaluation.probability import fit_confidence


def _pixels(scores: np.ndarray, labels: np.ndarray) -> PixelAccumulator:
    accumulator = PixelAccumulator()
    accumulator.update(torch.from_numpy(scores.astype(np.float32)), torch.from_numpy(labels.astype(np.uint8)))
    return accumulator


def test_recovers_the_calibration_that_drew_the_labels() -> None:
    rng = np.random.default_rng(0)
    truth = Confidence(midpoint=12.0, scale=3.0)
    scores = rng.normal(0.0, 10.0, 400_000)
    labels = rng.random(len(scores)) < truth.probability(scores)
    fitted = fit_confidence(_pixels(scores, labels))
    assert fitted.confidence.midpoint == pytest.approx(12.0, abs=0.15)
    assert fitted.confidence.scale == pytest.approx(3.0, rel=0.02)
    assert fitted.prior == pytest.approx(labels.mean())
    assert fitted.error < 2e-3


def test_infinite_scores_do_no_harm() -> None:
    rng = np.random.default_rng(1)
    scores = rng.normal(0.0, 1.0, 10_000)
    labels = rng.random(len(scores)) < Confidence(0.5, 0.5).probability(scores)
    scores[:3], labels[:3] = np.inf, 1
    assert fit_confidence(_pixels(scores, labels)).confidence.midpoint == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([1.0, 2.0], [0, 0], "needs anomalous and inlier"),
        ([3.0, 1.0, 2.9, 1.1], [0, 1, 0, 1], "do not score higher"),
        ([np.inf, -np.inf], [1, 0], "no score is finite"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(scores: list, labels: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_confidence(_pixels(np.array(scores), np.array(labels)))


def test_floats_arrays_and_tensors_agree_and_do_not_overflow() -> None:
    confidence = Confidence(1.0, 2.0)
    values = np.array([-1e6, -1.0, 1.0, 3.0, 1e6])
    expected = [0.0, 1 / (1 + np.e), 0.5, 1 / (1 + np.exp(-1)), 1.0]
    assert confidence.probability(values) == pytest.approx(expected)
    assert confidence.probability(torch.from_numpy(values)).numpy() == pytest.approx(expected)
    assert [confidence.probability(float(value)) for value in values] == pytest.approx(expected)
    assert isinstance(confidence.probability(np.float32(1.0)), float)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_none_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="needs a scale above 0"):
        Confidence(0.0, scale)
