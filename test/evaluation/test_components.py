# SPDX-License-Identifier: Apache-2.0
"""Component metrics against a reference that follows the definitions set by set, and all figures at a threshold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from densehybrid_ros.evaluation.components import TAUS, ThresholdJudge, component_overlaps, f1_star
from densehybrid_ros.evaluation.protocols import OBSTACLE_TRACK, ComponentSizes

ANY = ComponentSizes(1, 1)


def _sets(mask: np.ndarray) -> list[set[tuple[int, int]]]:
    numbered, count = ndimage.label(mask, structure=np.ones((3, 3)))
    return [set(zip(*np.nonzero(numbered == index), strict=True)) for index in range(1, count + 1)]


def _reference(predicted: np.ndarray, labels: np.ndarray, sizes: ComponentSizes) -> tuple[list[float], list[float]]:
    """sIoU and PPV by sets of pixels."""
    found = [part for part in _sets(predicted & (labels != 255)) if len(part) >= sizes.predicted]
    every = _sets(labels == 1)
    truth = [part for part in every if len(part) >= sizes.truth]
    dropped = set().union(*[part for part in every if len(part) < sizes.truth])
    found = [part - dropped for part in found if part - dropped]
    siou = []
    for component in truth:
        others = set().union(*[other for other in truth if other is not component])
        touching = set().union(*[part for part in found if part & component])
        siou.append(len(component & touching) / len((component | touching) - (touching & others)))
    everything = set().union(*truth)
    return siou, [len(part & everything) / len(part) for part in found]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sizes", [ANY, ComponentSizes(20, 10), ComponentSizes(10, 60)])
def test_overlaps_equal_the_definition(seed: int, sizes: ComponentSizes) -> None:
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.standard_normal((48, 64)), 2.0)
    labels = (smooth > np.quantile(smooth, 0.8)).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.03] = 255
    noisy = smooth + 0.04 * ndimage.gaussian_filter(rng.standard_normal((48, 64)), 1.0)
    predicted = noisy > np.quantile(noisy, 0.75)
    siou, ppv = _reference(predicted, labels, sizes)
    got = component_overlaps(predicted, labels, sizes)
    np.testing.assert_allclose(np.sort(got.siou), np.sort(siou), rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.sort(got.ppv), np.sort(ppv), rtol=0, atol=1e-12)


def test_diagonal_neighbours_are_one_and_pixels_on_another_component_do_not_count_against_one() -> None:
    assert component_overlaps(np.eye(6, dtype=bool), np.eye(6, dtype=np.uint8), ANY).siou.tolist() == [1.0]
    labels = np.zeros((4, 12), dtype=np.uint8)
    labels[:, :4] = labels[:, 8:] = 1
    predicted = np.ones_like(labels, dtype=bool)  # one prediction over both and the gap between them
    assert component_overlaps(predicted, labels, ANY).siou.tolist() == [0.5, 0.5]


def test_f1_star_counts_every_tau() -> None:
    siou, ppv = np.array([0.3, 0.5, 0.9, 0.0]), np.array([0.2, 0.6, 1.0])
    expected = []
    for tau in TAUS:
        true, missed, false = (siou >= tau).sum(), (siou < tau).sum(), (ppv < tau).sum()
        expected.append(2 * true / (2 * true + missed + false))
    assert f1_star(siou, ppv) == pytest.approx(np.mean(expected), abs=1e-15)
    assert f1_star(np.zeros(0), np.zeros(3)) == 0.0
    assert math.isnan(f1_star(np.zeros(0), np.zeros(0)))


def test_found_and_true_components_are_those_that_overlap_by_a_quarter() -> None:
    labels = np.zeros((4, 40), dtype=np.uint8)
    labels[:, 0:8] = labels[:, 20:28] = 1
    score = np.zeros(labels.shape, np.float32)
    score[:, 0:2] = 1  # sIoU 1/4 of the first
    score[:, 20] = 1  # 1/8 of the second
    score[:, 34:38] = 1  # on nothing
    judge = ThresholdJudge(0.5, ANY)
    judge.update(score, labels)
    metrics = judge.components()
    assert (metrics.recall, metrics.precision) == (0.5, pytest.approx(2 / 3))


def test_figures_at_a_threshold_by_hand() -> None:
    """An obstacle of 400 pixels, a tenth of them marked, one of 16 without, a false region of 150 and a small one."""
    labels, score = np.zeros((60, 100), np.uint8), np.zeros((60, 100), np.float32)
    labels[0:20, 0:20] = 1
    score[0:2, 0:20] = 1
    labels[0:4, 50:54] = 1
    score[30:40, 0:15] = 1
    score[50, 50:60] = 1
    labels[55:] = 255
    score[55:] = 1
    judge = ThresholdJudge(0.5, OBSTACLE_TRACK)
    for _ in range(2):
        judge.update(score, labels)
    point = judge.compute()
    true, false, missed, inliers = 40, 150 + 10, 360 + 16, 55 * 100 - 416
    assert point.precision == pytest.approx(true / (true + false))
    assert point.recall == pytest.approx(true / (true + missed))
    assert point.f1 == pytest.approx(2 * true / (2 * true + false + missed))
    assert point.fpr == pytest.approx(false / inliers)
    assert (point.frames, point.components.truth) == (2, 4)


def test_what_nothing_defines_is_nan() -> None:
    judge = ThresholdJudge(2.0, ANY)
    judge.update(np.zeros((8, 8), np.float32), np.zeros((8, 8), np.uint8))
    point = judge.compute()
    assert point.fpr == 0
    assert all(math.isnan(value) for value in (point.precision, point.components.mean_f1, point.components.mean_siou))
    judge.update(np.zeros((8, 8), np.float32), np.ones((8, 8), np.uint8))
    parts = judge.components()
    assert (parts.mean_siou, parts.mean_f1, parts.truth, parts.predicted) == (0.0, 0.0, 1, 0)
    assert math.isnan(parts.mean_ppv)
