# SPDX-License-Identifier: Apache-2.0
"""Component metrics against a reference that follows the definitions set by set."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from densehybrid_ros.evaluation.components import (
    TAUS,
    ComponentAccumulator,
    component_overlaps,
    f1_star,
)


def _sets(mask: np.ndarray) -> list[set[tuple[int, int]]]:
    numbered, count = ndimage.label(mask, structure=np.ones((3, 3)))
    return [set(zip(*np.nonzero(numbered == index), strict=True)) for index in range(1, count + 1)]


def _reference(
    predicted: np.ndarray, labels: np.ndarray, smallest_predicted: int, smallest_truth: int
) -> tuple[list[float], list[float]]:
    """sIoU and PPV by sets of pixels."""
    found = [part for part in _sets(predicted & (labels != 255)) if len(part) >= smallest_predicted]
    every = _sets(labels == 1)
    truth = [part for part in every if len(part) >= smallest_truth]
    dropped = set().union(*[part for part in every if len(part) < smallest_truth])
    found = [part - dropped for part in found if part - dropped]
    siou = []
    for component in truth:
        others = set().union(*[other for other in truth if other is not component])
        touching = set().union(*[part for part in found if part & component])
        siou.append(len(component & touching) / len((component | touching) - (touching & others)))
    everything = set().union(*truth)
    return siou, [len(part & everything) / len(part) for part in found]


def _random_frame(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.standard_normal((48, 64)), 2.0)
    labels = (smooth > np.quantile(smooth, 0.8)).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.03] = 255
    noisy = smooth + 0.04 * ndimage.gaussian_filter(rng.standard_normal((48, 64)), 1.0)
    return noisy > np.quantile(noisy, 0.75), labels


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("sizes", [(1, 1), (20, 10), (10, 60)])
def test_overlaps_equal_the_definition(seed: int, sizes: tuple[int, int]) -> None:
    predicted, labels = _random_frame(seed)
    siou, ppv = _reference(predicted, labels, *sizes)
    got = component_overlaps(predicted, labels, *sizes)
    np.testing.assert_allclose(np.sort(got.siou), np.sort(siou), rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.sort(got.ppv), np.sort(ppv), rtol=0, atol=1e-12)


def test_diagonal_neighbours_are_one_component() -> None:
    overlaps = component_overlaps(np.eye(6, dtype=bool), np.eye(6, dtype=np.uint8), 1, 1)
    assert overlaps.siou.tolist() == [1.0]
    assert overlaps.ppv.tolist() == [1.0]


def test_pixels_on_another_component_do_not_count_against_one() -> None:
    labels = np.zeros((4, 12), dtype=np.uint8)
    labels[:, :4] = labels[:, 8:] = 1
    predicted = np.ones_like(labels, dtype=bool)  # one prediction over both and the gap between them
    assert component_overlaps(predicted, labels, 1, 1).siou.tolist() == [0.5, 0.5]


def test_found_and_true_components_are_those_that_overlap_by_a_quarter() -> None:
    labels = np.zeros((4, 40), dtype=np.uint8)
    labels[:, 0:8] = labels[:, 20:28] = 1
    predicted = np.zeros_like(labels, dtype=bool)
    predicted[:, 0:2] = True  # sIoU 1/4 of the first
    predicted[:, 20] = True  # 1/8 of the second
    predicted[:, 34:38] = True  # on nothing
    accumulator = ComponentAccumulator(1, 1)
    accumulator.update(predicted, labels)
    metrics = accumulator.compute()
    assert (metrics.recall, metrics.precision) == (0.5, pytest.approx(2 / 3))


def test_nothing_predicted_is_no_division_by_zero() -> None:
    accumulator = ComponentAccumulator(1, 1)
    accumulator.update(np.zeros((4, 4), bool), np.ones((4, 4), np.uint8))
    metrics = accumulator.compute()
    assert (metrics.mean_siou, metrics.mean_f1, metrics.truth, metrics.predicted) == (0.0, 0.0, 1, 0)
    assert math.isnan(metrics.mean_ppv)


def test_nothing_to_find_and_nothing_predicted_is_undefined() -> None:
    accumulator = ComponentAccumulator(1, 1)
    accumulator.update(np.zeros((4, 4), bool), np.zeros((4, 4), np.uint8))
    metrics = accumulator.compute()
    assert math.isnan(metrics.mean_f1)
    assert math.isnan(metrics.mean_siou)


def test_false_prediction_alone_has_f1_zero() -> None:
    assert f1_star(np.zeros(0), np.zeros(3)) == 0.0


def test_f1_star_counts_every_tau() -> None:
    siou, ppv = np.array([0.3, 0.5, 0.9, 0.0]), np.array([0.2, 0.6, 1.0])
    expected = []
    for tau in TAUS:
        true, missed, false = (siou >= tau).sum(), (siou < tau).sum(), (ppv < tau).sum()
        expected.append(2 * true / (2 * true + missed + false))
    assert f1_star(siou, ppv) == pytest.approx(np.mean(expected), abs=1e-15)


def test_merged_shards_equal_one_accumulator() -> None:
    frames = [_random_frame(seed) for seed in range(6)]
    whole, shards = ComponentAccumulator(20, 10), [ComponentAccumulator(20, 10) for _ in range(2)]
    for index, frame in enumerate(frames):
        whole.update(*frame)
        shards[index % 2].update(*frame)
    shards[0].merge(shards[1])
    assert shards[0].compute() == whole.compute()
