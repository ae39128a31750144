# SPDX-License-Identifier: Apache-2.0
"""Alerts against labelled obstacles, on a made-up approach whose figures can be counted by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from densehybrid_ros.confidence import Confidence
from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.distances import distance_map
from densehybrid_ros.evaluation.hazard_figures import Braking, HazardAccumulator, HazardFigures, box_overlap
from densehybrid_ros.evaluation.obstacles import FrameTruth
from densehybrid_ros.hazards.chain import HazardChain
from densehybrid_ros.hazards.settings import HazardSettings
from densehybrid_ros.perception.alert import Alert, hazard_alert, stale_alert

HEIGHT, WIDTH = 256, 512
CAMERA = Camera(WIDTH, HEIGHT, 560.0, 560.0, 255.5, 100.0, 0.2, 0.02, 1.2)
EDGES = (5.0, 15.0, 25.0, 35.0, 45.0)
SPEED, FPS = 10.0, 10.0
NOTHING = np.full((HEIGHT, WIDTH), -5.0, np.float32)
SETTINGS = HazardSettings(min_hazard_area=8, trigger_count=2, trigger_window=3, release_count=2)


def _accumulator() -> HazardAccumulator:
    return HazardAccumulator(EDGES, Braking((20.0, 50.0, 90.0), reaction_time=1.0, deceleration=6.0))


def _chain() -> HazardChain:
    return HazardChain(CITYSCAPES_CLASSES, Confidence(0.0, 1.0))


def _alert(
    chain: HazardChain, stamp: float, score: np.ndarray, semantic: np.ndarray, camera: Camera | None = None
) -> Alert:
    """The alert of the real chain."""
    speed = None if camera is None else SPEED
    frame = chain.update(stamp, semantic, score, score > 0, 0.0, SETTINGS, camera, None, speed)
    return hazard_alert(frame, frame.problems, "camera", None, speed, 0.0, (HEIGHT, WIDTH))


def _foot(distance: float) -> int:
    """The last row above which an obstacle of that distance stands on the road."""
    rows = np.arange(HEIGHT)
    depths = np.array([CAMERA.ground_depth(row) for row in rows])
    return int(rows[np.abs(depths - distance).argmin()])


def _box(distance: float, lateral: float = 0.0) -> tuple[slice, slice]:
    """Rows and columns of a cube of 1 m."""
    size = CAMERA.fx / distance
    bottom, middle = _foot(distance), CAMERA.cx + size * lateral
    return slice(int(bottom - size), bottom + 1), slice(int(middle - size / 2), int(middle + size / 2) + 1)


def _drive(
    accumulator: HazardAccumulator, detected_from: float, false_frames: range = range(0), name: str = ""
) -> None:
    """An obstacle approached from 40 m to 6 m; beside it a false region in some frames."""
    accumulator.begin(name)
    chain = _chain()
    for frame in range(35):
        distance = 40.0 - frame * SPEED / FPS
        labels = np.full((HEIGHT, WIDTH), 255, np.uint8)
        semantic = np.full((HEIGHT, WIDTH), 10, np.uint8)
        labels[110:], semantic[110:] = 0, 0
        score = NOTHING.copy()
        instances = np.zeros((HEIGHT, WIDTH), np.uint16)
        box = _box(distance)
        labels[box], instances[box] = 1, 7
        if distance <= detected_from:
            score[box] = 5.0
        if frame in false_frames:
            score[_box(20.0, lateral=4.0)] = 5.0
        truth = distance_map(labels, CAMERA, None, instances)
        stamp = 1000.0 + frame / FPS
        seen = FrameTruth.of(labels, instances, truth)
        accumulator.update(stamp, _alert(chain, stamp, score, semantic, CAMERA), SPEED, seen)


def _figures(detected_from: float, false_frames: range = range(0)) -> HazardFigures:
    accumulator = _accumulator()
    _drive(accumulator, detected_from, false_frames)
    return accumulator.compute()


def test_an_obstacle_found_from_25_metres() -> None:
    figures = _figures(25.0)
    # Detected first at 25 m and raised in the second frame, at 24 m.
    assert figures.first_alert["7"] == pytest.approx(24.0, abs=0.5)
    assert [(item.obstacles, item.found) for item in figures.bins] == [(1, 1), (1, 1), (1, 0), (1, 0)]
    assert (figures.raised, figures.false_alarms) == (1, 0)
    assert figures.minutes == pytest.approx(3.4 / 60)
    assert figures.kilometres == pytest.approx(0.034)
    assert figures.within_two_sigma == 1.0


def test_whether_it_came_in_time() -> None:
    slow, city, fast = _figures(25.0).speeds
    assert slow.stopping_distance == pytest.approx(20 / 3.6 + (20 / 3.6) ** 2 / 12)
    assert (slow.obstacles, slow.in_time) == (1, 1)
    assert slow.worst_margin == pytest.approx(24.0 - slow.stopping_distance, abs=0.5)
    assert (city.obstacles, city.in_time) == (1, 0)
    assert city.worst_margin is not None
    assert city.worst_margin < 0
    # From 90 km/h the vehicle needs 77 m, and the obstacle was never in sight from there.
    assert (fast.obstacles, fast.in_time, fast.worst_margin) == (0, 0, None)
    missed = _figures(0.0)
    assert (missed.first_alert, missed.raised, missed.distance_error) == ({"7": None}, 0, None)
    assert missed.speeds[0].worst_margin == pytest.approx(-missed.speeds[0].stopping_distance)


def test_a_false_alarm_is_counted_once_however_long_it_lasts() -> None:
    figures = _figures(25.0, range(3, 15))
    assert (figures.raised, figures.false_alarms) == (2, 1)
    assert figures.false_alarms_per_minute == pytest.approx(60 / 3.4)
    assert figures.false_alarms_per_kilometre == pytest.approx(1 / 0.034)
    assert _figures(25.0, range(3, 4)).false_alarms == 0  # one frame does not raise it


def _still(score: np.ndarray, stamps: Sequence[float], speed: float | None) -> HazardFigures:
    """Frames of one score on a road, without labels."""
    accumulator, chain = _accumulator(), _chain()
    for stamp in stamps:
        accumulator.update(stamp, _alert(chain, stamp, score, np.zeros((HEIGHT, WIDTH), np.uint8)), speed)
    return accumulator.compute()


def test_without_labels_nothing_is_false() -> None:
    score = NOTHING.copy()
    score[_box(10.0)] = 5.0
    figures = _still(score, (0.0, 0.1, 0.2), None)
    assert (figures.raised, figures.false_alarms, figures.false_alarms_per_minute) == (1, None, None)
    assert figures.kilometres is None


def test_drives_add_up() -> None:
    one, other, both = _accumulator(), _accumulator(), _accumulator()
    for accumulator in (one, both):
        _drive(accumulator, 25.0, name="a")
    for accumulator in (other, both):
        _drive(accumulator, 15.0, range(3, 15), name="b")
    first, second, whole = one.compute(), other.compute(), both.compute()
    assert whole.minutes == pytest.approx(first.minutes + second.minutes)
    assert whole.raised == first.raised + second.raised
    assert whole.first_alert == {**first.first_alert, **second.first_alert}
    assert set(whole.first_alert) == {"a/7", "b/7"}


def test_a_pause_does_not_count_as_driving() -> None:
    figures = _still(NOTHING, (0.0, 0.1, 0.2, 100.0, 100.1), 10.0)
    assert figures.minutes * 60 == pytest.approx(0.3 + 1.0)
    assert figures.kilometres == pytest.approx(0.013)


def test_problems_are_counted_and_one_speed_that_is_missing_leaves_the_way_unknown() -> None:
    accumulator = _accumulator()
    accumulator.update(0.0, _alert(_chain(), 0.0, NOTHING, np.zeros((HEIGHT, WIDTH), np.uint8)), 10.0)
    accumulator.update(0.1, stale_alert("hazards are unknown: hazards: nothing for 2.1 s"))
    accumulator.update(0.2, stale_alert("hazards are unknown: hazards: nothing for 2.2 s"), 10.0)
    figures = accumulator.compute()
    assert figures.problems == {"hazards are unknown: hazards: nothing for 2.1 s": 2}
    assert (figures.raised, figures.kilometres) == (0, None)
    assert [moment.hazards for moment in figures.timeline] == [0, 0, 0]


def test_overlap_of_boxes() -> None:
    assert box_overlap((0, 0, 4, 4), (0, 0, 4, 4)) == 1.0
    assert box_overlap((0, 0, 4, 4), (2, 0, 4, 4)) == pytest.approx(8 / 24)
    assert box_overlap((0, 0, 4, 4), (4, 0, 4, 4)) == 0.0


@pytest.mark.parametrize(
    "options", [{"speeds": ()}, {"speeds": (0.0,)}, {"deceleration": 0.0}, {"reaction_time": math.nan}]
)
def test_braking_that_is_none(options: dict) -> None:
    with pytest.raises(InputError, match=r"--speeds|--reaction-time"):
        Braking(**options)
