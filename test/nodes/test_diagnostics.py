# SPDX-License-Identifier: Apache-2.0
"""Counters, percentiles, problems and the age of stamps."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from densehybrid_ros.nodes.camera import StampAge
from densehybrid_ros.nodes.diagnostics import SECONDS_BETWEEN_WARNINGS, FrameStatistics, Throttle

SECOND = 10**9
NOW = 1_800_000_000 * SECOND
YEAR = 365.0 * 24 * 3600


def test_counts_from_many_threads_are_exact() -> None:
    statistics = FrameStatistics()
    kinds = ("missed", "overtaken")
    threads = [threading.Thread(target=lambda k=k: [statistics.count(k) for _ in range(1000)]) for k in kinds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statistics.counts().dropped == 2000


def test_percentiles_of_the_newest_times() -> None:
    statistics = FrameStatistics()
    assert statistics.percentiles("latency", (50.0,)) == ()
    for value in [1000.0] * 10 + [float(number) for number in range(500)]:
        statistics.add_time("latency", value)
    assert statistics.percentiles("latency", (0.0, 50.0, 100.0)) == (0.0, 249.5, 499.0)


def test_reasons_and_problems_age_out() -> None:
    now, timeout = [0.0], [2.0]
    statistics = FrameStatistics(lambda: timeout[0], lambda: now[0])
    for reason in ("first", "odd"):
        statistics.lose("rejected", reason)
    assert (statistics.reasons(), statistics.counts().rejected) == ({"rejected": "odd"}, 2)
    for number in range(30):
        statistics.add_problem("x" * number)
    assert len(statistics.problems()) == 20
    now[0] = 9.0
    statistics.add_problem("x")
    now[0] = 11.0
    assert statistics.reasons() == {}
    assert statistics.problems() == ((2, "x"),)
    timeout[0], now[0] = 20.0, 25.0
    for seconds in range(3):  # there is room again; what differs in numbers alone is one problem
        statistics.add_problem(f"disparity: off by -{seconds}.5 s")
    assert statistics.problems() == ((2, "x"), (3, "disparity: off by -2.5 s"))


def test_each_kind_of_warning_passes_once_within_the_time() -> None:
    now, passed = [0.0], []
    warn = Throttle(passed.append, lambda: now[0])
    for tenths in range(12):
        now[0] = tenths * SECONDS_BETWEEN_WARNINGS / 10
        warn(f"the size changed from {tenths}x3 to 48x{tenths}")
        warn("no engine")
    first, second = "the size changed from 0x3 to 48x0", "the size changed from 10x3 to 48x10"
    assert passed == [first, "no engine", second, "no engine"]


def problems(*ages: float, limit: float = 1.0) -> list[str]:
    """What is said of frames that come a tenth of a second apart and are so many seconds old."""
    watched = StampAge()
    times = [NOW + number * SECOND // 10 for number in range(len(ages))]
    return [watched.problem(now - round(age * SECOND), now, limit) for now, age in zip(times, ages, strict=True)]


@pytest.mark.parametrize(("age", "side"), [(1.5, "1.50 s behind the clock"), (-1.5, "1.50 s ahead of the clock")])
def test_an_old_frame_is_named_and_so_is_one_of_the_future(age: float, side: str) -> None:
    in_order, on_the_verge, problem = problems(0.0, age / 1.6, age)
    assert in_order == on_the_verge == ""
    assert f"{side} (max_age 1 s)" in problem
    assert problems(age, limit=2.0) == problems(age, limit=0.0) == [""]


@pytest.mark.parametrize("ages", [[YEAR] * 50, [-YEAR] * 50, [YEAR] * 5 + [YEAR + 60.0] * 5])
def test_stamps_of_another_clock_may_go_on_with_it_and_be_played_again(ages: list[float]) -> None:
    assert set(problems(*ages)) == {""}


@pytest.mark.parametrize("start", [0.0, YEAR])
def test_a_stamp_that_stands_still_is_named_however_old_it_is(start: float) -> None:
    found = problems(*(start + 0.1 * number for number in range(20)))
    assert not any(found[:10])
    assert all(found[12:])
    assert ("another clock" in found[-1]) == (start > 0)


def test_a_clock_that_stands_still_is_named() -> None:
    watched = StampAge()
    found = [watched.problem(NOW + number * SECOND // 10, 0, 1.0) for number in range(20)]
    assert not any(found[:10])
    assert "ahead of the clock since the first one" in found[-1]
    assert "use_sim_time" in found[-1]
    assert {watched.problem(0, NOW + number * SECOND, 1.0) for number in range(5)} == {""}  # there is none


@pytest.mark.parametrize("wrong", [-YEAR, YEAR])
def test_a_single_wrong_stamp_is_forgotten(wrong: float) -> None:
    assert problems(0.0, wrong, 0.0, 0.0)[2:] == ["", ""]
