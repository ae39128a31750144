# SPDX-License-Identifier: Apache-2.0
"""Average precision, FPR95 and AUROC against scikit-learn on float32 scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.pixel_accumulator import ImageMeanAccumulator, PixelAccumulator, pixel_metrics

TOLERANCE = 1e-9


def _pixels(kind: str, count: int = 20_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores (float32) and labels (uint8, about 3 % anomalies, some ignored)."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(np.array([0, 1, 255], dtype=np.uint8), count, p=[0.87, 0.03, 0.10])
    raw = rng.standard_normal(count) + 1.5 * (labels == 1)
    scores = {
        "hybrid": 4 * raw - 12,
        "ties": np.round(3 * raw),
        "two values": (raw > 0).astype(float),
        "constant": np.full(count, -7.5),
        "around zero": raw * 10.0 ** rng.uniform(-30, 0, count),
        "softmax": -1 / (1 + np.exp(-3 - raw)),
        "infinite": np.where(raw > 2, np.inf, np.where(raw < -2, -np.inf, raw)),
        "half precision": (4 * raw - 12).astype(np.float16),
        "perfect": np.where(labels == 1, 1.0, -1.0) + rng.uniform(0, 0.5, count),
        "inverted": -raw,
    }[kind]
    return scores.astype(np.float32), labels


KINDS = ["hybrid", "ties", "two values", "constant", "around zero", "softmax", "infinite"]
KINDS += ["half precision", "perfect", "inverted"]


def _reference(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float, float]:
    known = labels != 255
    truth, scores = labels[known], scores[known].astype(np.float64)
    finite = np.nan_to_num(scores, posinf=1e39, neginf=-1e39)  # scikit-learn refuses infinities
    fpr, tpr, _ = roc_curve(truth, finite, drop_intermediate=False)
    return (
        float(average_precision_score(truth, finite)),
        float(fpr[np.argmax(tpr >= 0.95)]),
        float(roc_auc_score(truth, finite)),
    )


def _accumulate(scores: np.ndarray, labels: np.ndarray, **options: int) -> PixelAccumulator:
    accumulator = PixelAccumulator(**options)
    for part_scores, part_labels in zip(np.array_split(scores, 7), np.array_split(labels, 7), strict=True):
        accumulator.update(torch.from_numpy(part_scores), torch.from_numpy(part_labels))
    return accumulator


@pytest.mark.parametrize("kind", KINDS)
def test_equals_scikit_learn(kind: str) -> None:
    scores, labels = _pixels(kind)
    metrics = _accumulate(scores, labels, buffer_size=6_007).compute()
    assert _accumulate(scores, labels).compute() == metrics
    got = (metrics.average_precision, metrics.fpr95, metrics.auroc)
    np.testing.assert_allclose(got, _reference(scores, labels), rtol=0, atol=TOLERANCE)
    assert (metrics.positives, metrics.negatives) == (int((labels == 1).sum()), int((labels == 0).sum()))


@pytest.mark.parametrize("kind", KINDS)
def test_thresholds_do_what_they_promise(kind: str) -> None:
    scores, labels = _pixels(kind)
    accumulator = _accumulate(scores, labels)
    metrics = accumulator.compute()
    positive, negative = scores[labels == 1], scores[labels == 0]
    assert (positive > metrics.threshold_tpr95).mean() > 0.95
    next_score = np.nextafter(np.float32(metrics.threshold_tpr95), np.float32(np.inf))
    assert (positive > next_score).mean() <= 0.95
    for quantile in (0.0, 0.5, 0.95, 1.0):
        expected = np.sort(negative)[max(math.ceil(quantile * len(negative) - 1e-6) - 1, 0)]
        assert accumulator.inlier_quantile(quantile) == expected
    predicted = scores > metrics.threshold_best_f1
    f1 = 2 * (predicted & (labels == 1)).sum() / (predicted[labels != 255].sum() + (labels == 1).sum())
    finite = np.clip(scores[labels != 255], -1e30, 1e30)
    precision, recall, _ = precision_recall_curve(labels[labels != 255], finite)
    best = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12))
    assert f1 == pytest.approx(metrics.best_f1, abs=1e-12)
    assert f1 == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_nearest_recall_variant(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.random(400) < 0.1
    scores = np.round(rng.standard_normal(400) + truth, seed % 3).astype(np.float32)
    thresholds = np.unique(scores)  # ascending, so recall falls; the first of equally near recalls counts
    recall = np.array([(scores[truth] >= value).mean() for value in thresholds])
    start = np.flatnonzero(recall == 1.0)[-1]
    nearest = start + int(np.argmin(np.abs(recall[start:] - 0.95)))
    expected = (scores[~truth] >= thresholds[nearest]).mean()
    assert pixel_metrics(scores, truth.astype(np.uint8)).fpr95_nearest == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("label", "count"), [(0, 5), (1, 5), (255, 5), (0, 0)])
def test_missing_class_is_undefined(label: int, count: int) -> None:
    metrics = pixel_metrics(np.arange(count, dtype=np.float32), np.full(count, label, dtype=np.uint8))
    assert math.isnan(metrics.average_precision)
    assert math.isnan(metrics.fpr95)
    assert math.isnan(metrics.auroc)


@pytest.mark.parametrize("kind", ["hybrid", "ties", "around zero"])
def test_merged_shards_equal_one_accumulator(kind: str) -> None:
    scores, labels = _pixels(kind)
    whole = _accumulate(scores, labels).compute()
    shards = [_accumulate(scores[part::3], labels[part::3]) for part in range(3)]
    shards[0].compute()  # more may follow a result
    shards[0].merge(shards[1])
    shards[0].merge(shards[2])
    assert shards[0].compute() == whole


def test_curve_points_lie_on_the_curve() -> None:
    scores, labels = _pixels("hybrid")
    points = _accumulate(scores, labels).curve(points=100)
    assert 90 <= len(points.recall) <= 400
    assert np.all(np.diff(points.thresholds) < 0)
    assert points.recall[-1] == 1.0
    for index in range(0, len(points.recall), 17):
        chosen = scores >= points.thresholds[index]
        assert points.recall[index] == (chosen & (labels == 1)).sum() / (labels == 1).sum()
        assert points.fpr[index] == (chosen & (labels == 0)).sum() / (labels == 0).sum()
        assert points.precision[index] == (chosen & (labels == 1)).sum() / (chosen & (labels != 255)).sum()


def test_image_means_skip_images_that_lack_a_class() -> None:
    accumulator = ImageMeanAccumulator()
    expected = []
    for seed in range(3):
        scores, labels = _pixels("ties", count=500, seed=seed)
        labels[labels == 255] = 0
        accumulator.update(torch.from_numpy(scores), torch.from_numpy(labels))
        expected.append(average_precision_score(labels, scores))
    accumulator.update(torch.zeros(10), torch.zeros(10, dtype=torch.uint8))
    assert accumulator.compute().average_precision == pytest.approx(np.mean(expected), abs=TOLERANCE)


def test_nan_and_sizes_that_disagree_name_the_frame_and_ignored_nan_does_not_count() -> None:
    scores = torch.tensor([0.5, float("nan"), 0.1])
    labels = torch.tensor([0, 255, 1], dtype=torch.uint8)
    pixel_metrics(scores, labels)
    with pytest.raises(InputError, match=r"frame7\.png: .*NaN"):
        pixel_metrics(scores, torch.tensor([0, 1, 1], dtype=torch.uint8), "frame7.png")
    with pytest.raises(InputError, match=r"frame7\.png: scores are \(3,\) and labels \(2,\)"):
        pixel_metrics(scores, labels[:2], "frame7.png")


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_gpu_gives_the_same_figures(kind: str) -> None:
    scores, labels = _pixels(kind)
    accumulator = PixelAccumulator(buffer_size=7_000)
    accumulator.update(torch.from_numpy(scores).cuda(), torch.from_numpy(labels).cuda())
    assert accumulator.compute() == _accumulate(scores, labels).compute()
