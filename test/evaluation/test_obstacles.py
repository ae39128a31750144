# SPDX-License-Identifier: Apache-2.0
"""Detection by obstacle along a drive."""

from __future__ import annotations

import numpy as np
import pytest

from densehybrid_ros.evaluation.obstacles import FrameTruth, ObstacleAccumulator

EDGES = (5.0, 10.0, 20.0)


def _frame() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Score, labels, instances and distance: obstacle 7 at 8 m, obstacle 300 at 15 m, both 100 pixels."""
    score = np.zeros((40, 60), np.float32)
    labels = np.zeros((40, 60), np.uint8)
    instances = np.zeros((40, 60), np.uint16)
    distance = np.full((40, 60), 30.0, np.float32)
    for number, left, metres in ((7, 5, 8.0), (300, 30, 15.0)):
        instances[10:20, left : left + 10] = number
        distance[10:20, left : left + 10] = metres
    labels[instances > 0] = 1
    return score, labels, instances, distance


def test_half_of_the_pixels_detect_an_obstacle() -> None:
    score, labels, instances, distance = _frame()
    score[10:15, 5:15] = 1.0  # half of obstacle 7
    score[10:14, 30:40] = 1.0  # 40 % of obstacle 300
    for threshold, detected in ((0.5, 1), (1.0, 0)):  # which the score must exceed
        accumulator = ObstacleAccumulator(threshold, EDGES)
        accumulator.update(0, score, FrameTruth.of(labels, instances, distance))
        figures = accumulator.compute()
        assert (figures.seen, figures.detected, figures.recall) == (2, detected, detected / 2)
        assert [(item.low, item.seen, item.detected) for item in figures.bins] == [(5.0, 1, detected), (10.0, 1, 0)]
        assert figures.lasting == {"7": 8.0 if detected else None, "300": None}


def test_false_alarms_are_regions_off_the_obstacles() -> None:
    score, labels, instances, distance = _frame()
    score[10:22, 5:20] = 1.0  # spills over from obstacle 7: no alarm
    score[30:38, 0:10] = 1.0  # 80 pixels: an alarm
    score[30:33, 40:50] = 1.0  # 30 pixels: too small
    score[0:8, 0:20] = 1.0
    labels[0:8] = 255  # not judged
    accumulator = ObstacleAccumulator(0.5, EDGES)
    for frame, scores in enumerate((score, np.zeros_like(score))):
        accumulator.update(frame, scores, FrameTruth.of(labels, instances, distance))
    assert accumulator.compute().false_alarms_per_frame == 0.5


def test_tiny_obstacles_are_not_judged_and_ids_and_distances_are_optional() -> None:
    score, labels, _, _ = _frame()
    labels[:] = 0
    labels[0:7, 0:7] = 1  # 49 pixels
    labels[20:30, 20:30] = 1
    accumulator = ObstacleAccumulator(0.5, EDGES)
    accumulator.update(0, score, FrameTruth.of(labels))
    figures = accumulator.compute()
    assert (figures.seen, figures.lasting, sum(item.seen for item in figures.bins)) == (1, {}, 0)


@pytest.mark.parametrize(
    ("detected", "expected"), [("xxxx", 40.0), (".xxx", 30.0), ("x.xx", 20.0), ("xxx.", None), ("....", None)]
)
def test_lasting_detection_counts_from_the_last_gap(detected: str, expected: float | None) -> None:
    _, labels, instances, distance = _frame()
    whole = ObstacleAccumulator(0.5, EDGES)
    for index, mark in enumerate(detected):
        score = np.full(labels.shape, float(mark == "x"), np.float32)
        truth = FrameTruth.of(labels, instances, np.full_like(distance, 40.0 - 10.0 * index))
        whole.update(index, score, truth)
    assert whole.compute().lasting == {"7": expected, "300": expected}
