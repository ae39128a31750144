# SPDX-License-Identifier: Apache-2.0
"""Counters, percentiles and gaps in sequence numbers."""

from __future__ import annotations

import threading

import pytest

from densehybrid_ros.nodes.statistics import SECONDS_BETWEEN_WARNINGS, FrameStatistics, SequenceGaps, Throttle


def test_counts_from_many_threads_are_exact() -> None:
    statistics = FrameStatistics()
    threads = [threading.Thread(target=lambda: [statistics.count("received") for _ in range(1000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statistics.counts().received == 4000


def test_dropped_are_the_missed_and_the_overtaken() -> None:
    statistics = FrameStatistics()
    statistics.count("missed", 3)
    statistics.count("overtaken")
    assert statistics.counts().dropped == 4


def test_percentiles_of_the_newest_times() -> None:
    statistics = FrameStatistics()
    assert statistics.percentiles("latency", (50.0,)) is None
    for value in [1000.0] * 10 + [float(number) for number in range(500)]:
        statistics.add_time("latency", value)
    assert statistics.percentiles("latency", (0.0, 50.0, 100.0)) == (0.0, 249.5, 499.0)


def test_latest_reason_is_kept() -> None:
    statistics = FrameStatistics()
    statistics.set_reason("rejected", "first")
    statistics.set_reason("rejected", "second")
    assert statistics.reasons() == {"rejected": "second"}


def test_reasons_and_problems_age_out() -> None:
    now, timeout = [0.0], [2.0]
    statistics = FrameStatistics(lambda: timeout[0], lambda: now[0])
    statistics.set_reason("rejected", "odd")
    for number in range(30):
        statistics.add_problem("x" * number)
    now[0] = 9.0
    statistics.add_problem("x")
    now[0] = 11.0
    assert statistics.reasons() == {}
    assert statistics.problems() == ((2, "x"),)
    statistics.add_problem("new")  # there is room again
    timeout[0], now[0] = 20.0, 25.0
    assert statistics.problems() == ((2, "x"), (1, "new"))


@pytest.mark.parametrize(
    ("sequence", "missing"),
    [
        ([5, 6, 7], [0, 0, 0]),
        ([5, 8, 9, 11], [0, 2, 0, 1]),
        ([5, 1, 3], [0, 0, 1]),  # the publisher was started again
        ([5, 5000, 5001], [0, 0, 0]),  # another publisher
        ([5, None, 9, 11], [0, 0, 0, 1]),  # a middleware without sequence numbers
    ],
)
def test_gaps_in_sequence_numbers(sequence: list[int | None], missing: list[int]) -> None:
    gaps = SequenceGaps()
    assert [gaps.missing_before(number) for number in sequence] == missing


def test_problems_that_differ_in_numbers_alone_are_one() -> None:
    statistics = FrameStatistics()
    for seconds in range(3):
        statistics.add_problem(f"disparity: off by -{seconds}.5 s")
    statistics.add_problem("tf: gone")
    assert statistics.problems() == ((3, "disparity: off by -2.5 s"), (1, "tf: gone"))
    for number in range(100):
        statistics.add_problem("x" * number)
    assert len(statistics.problems()) == 20


def test_each_kind_passes_once_within_the_time() -> None:
    now, passed = [0.0], []
    warn = Throttle(passed.append, lambda: now[0])
    for tenths in range(12):
        now[0] = tenths * SECONDS_BETWEEN_WARNINGS / 10
        warn(f"the size changed from {tenths}x3 to 48x{tenths}")
        warn("no engine")
    first, second = "the size changed from 0x3 to 48x0", "the size changed from 10x3 to 48x10"
    assert passed == [first, "no engine", second, "no engine"]
