# SPDX-License-Identifier: Apache-2.0
"""How old a frame is, by its stamp and the node's clock."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from densehybrid_ros.nodes.camera_channel import StampAge

SECOND = 10**9
NOW = 1_800_000_000 * SECOND


def problems(*ages: float, limit: float = 1.0, tick: float = 0.1) -> list[str]:
    """What is said of frames that come a tick apart and are so many seconds old."""
    watched = StampAge()
    times = [NOW + round(number * tick * SECOND) for number in range(len(ages))]
    return [watched.problem(now - round(age * SECOND), now, limit) for now, age in zip(times, ages, strict=True)]


def test_a_frame_of_this_moment_is_in_order() -> None:
    assert problems(0.0, 0.99, -0.99) == ["", "", ""]


@pytest.mark.parametrize(("age", "side"), [(1.5, "1.50 s behind the clock"), (-1.5, "1.50 s ahead of the clock")])
def test_an_old_frame_is_named_and_so_is_one_of_the_future(age: float, side: str) -> None:
    (problem,) = problems(age)
    assert side in problem
    assert "max_age 1 s" in problem
    assert problems(age, limit=2.0) == problems(age, limit=0.0) == [""]


def test_stamps_of_another_clock_may_go_on_with_it() -> None:
    year = 365.0 * 24 * 3600
    assert set(problems(*[year] * 50)) == {""}
    assert set(problems(*[-year] * 50)) == {""}


def test_a_stamp_that_stands_still_is_named_however_old_it_is() -> None:
    year = 365.0 * 24 * 3600
    for start in (0.0, year):
        found = problems(*(start + 0.1 * number for number in range(20)))
        assert not any(found[:10])
        assert all(found[12:])
    assert "another clock" in found[-1]


def test_a_clock_that_stands_still_is_named() -> None:
    watched = StampAge()
    found = [watched.problem(NOW + round(0.1 * number * SECOND), 0, 1.0) for number in range(20)]
    assert not any(found[:10])
    assert "ahead of the clock since the first one" in found[-1]
    assert "use_sim_time" in found[-1]


def test_a_recording_that_is_played_again_is_no_old_frame() -> None:
    year, length = 365.0 * 24 * 3600, 60.0
    assert set(problems(*[year] * 5, *[year + length] * 5)) == {""}


def test_a_single_wrong_stamp_is_named_and_forgotten() -> None:
    year = 365.0 * 24 * 3600
    far_ahead = problems(0.0, -year, 0.0, 0.0)
    assert far_ahead[1]
    assert far_ahead[2:] == ["", ""]
    assert problems(0.0, year, 0.0, 0.0)[2:] == ["", ""]


def test_a_stamp_of_zero_says_that_there_is_none() -> None:
    watched = StampAge()
    assert {watched.problem(0, NOW + number * SECOND, 1.0) for number in range(5)} == {""}
