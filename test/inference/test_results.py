# SPDX-License-Identifier: Apache-2.0
"""Result buffers: used again when nobody looks at them any more, and not before."""

from __future__ import annotations

import numpy as np

from densehybrid_ros.inference.results import FrameResult, ResultPool


def fill(pool: ResultPool, value: int) -> FrameResult:
    buffer, result = pool.take()
    buffer.fill_(value)
    return result


def test_results_that_are_dropped_make_room_for_the_next() -> None:
    pool = ResultPool((4, 6), pinned=False)
    for value in range(50):
        result = fill(pool, value)
        assert (result.semantic == value).all()
    assert len(pool) == 2  # the one in hand and the one being made


def test_results_that_are_kept_are_not_overwritten() -> None:
    pool = ResultPool((4, 6), pinned=False)
    kept = [fill(pool, value) for value in range(5)]
    views = [memoryview(fill(pool, 100 + value).confidence[1:, ::2]) for value in range(3)]
    for value in range(20):
        fill(pool, 50 + value)
    assert [int(result.open_set[0, 0]) for result in kept] == list(range(5))
    assert [int(np.asarray(view)[0, 0]) for view in views] == [100, 101, 102]
    assert len(pool) == 9  # the eight that are looked at, and one for the rest


def test_the_arrays_are_apart_and_whole() -> None:
    _, result = ResultPool((3, 5), pinned=False).take()
    result.anomaly_score[:] = -1.5
    result.semantic[:], result.open_set[:], result.confidence[:] = 1, 2, 3
    assert (result.anomaly_score == -1.5).all()
    assert [int(array.max()) for array in (result.semantic, result.open_set, result.confidence)] == [1, 2, 3]
    assert result.anomaly_score.dtype == np.float32
