"""The stage hands on what the chain says, and survives what goes wrong in it."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from std_msgs.msg import Header

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.inference import FrameResult
from densehybrid_ros.networks import ModelCard
from densehybrid_ros.nodes.hazard_inputs import Surroundings
from densehybrid_ros.nodes.hazard_stage import HazardStage
from densehybrid_ros.nodes.statistics import FrameStatistics
from densehybrid_ros.perception.settings import Settings

pytestmark = pytest.mark.ros

CAMERA = Camera(64, 32, 80.0, 80.0, 31.5, 7.5, baseline=0.0, pitch=0.0, mount_height=1.0)
AT_ONCE = Settings(trigger_count=1, min_hazard_area=4, foot_row_noise=0.5)


def result(size: tuple[int, int] = (32, 64), score_size: tuple[int, int] | None = None) -> FrameResult:
    """A road with one unknown object on it."""
    open_set = np.zeros(size, np.uint8)
    open_set[14:20, 28:36] = 19
    score = np.where(open_set == 19, np.float32(3.0), np.float32(-3.0))
    return FrameResult(np.zeros(size, np.uint8), score if score_size is None else np.zeros(score_size), open_set)


def stage(statistics: FrameStatistics, known: Surroundings) -> HazardStage:
    return HazardStage(ModelCard("test", "none"), lambda *_: known, statistics)


def at(seconds: int) -> Header:
    header = Header()
    header.stamp.sec = seconds
    return header


def test_report_is_what_the_chain_says_of_what_is_known() -> None:
    statistics = FrameStatistics()
    report = stage(statistics, Surroundings(CAMERA, ego_speed=4.0, problems=("tf: gone",)))(at(1), result(), AT_ONCE)
    assert report.frame is not None
    (hazard,) = report.frame.hazards
    assert hazard.distance == pytest.approx(1.0 / ((19.5 - 7.5) / 80.0))
    assert hazard.time_to_reach == pytest.approx(hazard.distance / 4.0)
    assert report.problems == ("tf: gone",)
    assert statistics.problems() == ((1, "tf: gone"),)
    mean, largest = statistics.mean_and_largest("hazards") or (0.0, 0.0)
    assert 0.0 < mean <= largest


def test_tracks_go_on_until_they_are_reset() -> None:
    process = stage(FrameStatistics(), Surroundings())
    ids = []
    for seconds in (1, 2, 3):
        report = process(at(seconds), result(), AT_ONCE)
        assert report.frame is not None
        ids.append(report.frame.hazards[0].id)
        if seconds == 2:
            process.reset()
    assert ids[0] == ids[1] != ids[2]


def test_a_failure_is_a_report_of_nothing_known() -> None:
    statistics = FrameStatistics()
    process = stage(statistics, Surroundings())
    report = process(at(1), result(score_size=(5, 5)), AT_ONCE)
    assert report.frame is None
    assert report.problems[0].startswith("hazards: ValueError: ")
    assert len(statistics.problems()) == 1
    assert process(at(2), result(), AT_ONCE).frame is not None


def test_problems_that_differ_in_numbers_alone_are_one() -> None:
    statistics = FrameStatistics()
    for seconds in range(3):
        statistics.add_problem(f"disparity: off by -{seconds}.5 s")
    statistics.add_problem("tf: gone")
    assert statistics.problems() == ((3, "disparity: off by -2.5 s"), (1, "tf: gone"))
    for number in range(100):
        statistics.add_problem("x" * number)
    assert len(statistics.problems()) == 20
