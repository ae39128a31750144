# SPDX-License-Identifier: Apache-2.0
"""Figures at one threshold: pixels and components."""

from __future__ import annotations

import math

import numpy as np
import pytest

from densehybrid_ros.evaluation.operating_points import USUAL_SIZES, OperatingPointAccumulator, point_rows


def _frame() -> tuple[np.ndarray, np.ndarray]:
    """An obstacle of 400 pixels, a tenth of them marked, one of 16 without, a false region of 150 and a small one."""
    labels, score = np.zeros((60, 100), np.uint8), np.zeros((60, 100), np.float32)
    labels[0:20, 0:20] = 1
    score[0:2, 0:20] = 1
    labels[0:4, 50:54] = 1
    score[30:40, 0:15] = 1
    score[50, 50:60] = 1
    labels[55:] = 255
    score[55:] = 1
    return score, labels


def test_figures_by_hand() -> None:
    accumulator = OperatingPointAccumulator(0.5, USUAL_SIZES)
    for _ in range(2):
        accumulator.update(*_frame())
    point = accumulator.compute()
    true, false, missed, inliers = 40, 150 + 10, 360 + 16, 55 * 100 - 416
    assert point.precision == pytest.approx(true / (true + false))
    assert point.recall == pytest.approx(true / (true + missed))
    assert point.f1 == pytest.approx(2 * true / (2 * true + false + missed))
    assert point.fpr == pytest.approx(false / inliers)
    assert point.components.truth == 4


def test_shards_make_the_same_figures() -> None:
    whole, first, second = (OperatingPointAccumulator(0.5, USUAL_SIZES) for _ in range(3))
    for part in (first, second):
        part.update(*_frame())
        whole.update(*_frame())
    first.merge(second)
    assert first.compute() == whole.compute()


def test_what_nothing_defines_is_a_dash() -> None:
    accumulator = OperatingPointAccumulator(2.0, USUAL_SIZES)
    accumulator.update(np.zeros((8, 8), np.float32), np.zeros((8, 8), np.uint8))
    point = accumulator.compute()
    assert math.isnan(point.precision)
    _, (row,) = point_rows([point])
    assert row == ["2.000", "-", "-", "-", "0.00", "-", "-", "-"]
