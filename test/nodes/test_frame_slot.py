"""The newest-frame slot and the worker that empties it."""

from __future__ import annotations

import threading

from densehybrid_ros.nodes.frame_slot import FrameSlot
from densehybrid_ros.nodes.worker import Worker


def test_newest_frame_wins() -> None:
    slot: FrameSlot[int] = FrameSlot()
    assert [slot.put(number) for number in (1, 2, 3)] == [False, True, True]
    assert slot.take() == 3
    assert slot.put(4) is False


def test_closed_slot_loses_what_waits_and_what_comes() -> None:
    slot: FrameSlot[int] = FrameSlot()
    slot.put(1)
    assert slot.close() is True
    assert slot.put(2) is True
    assert slot.take() is None
    assert slot.close() is False


def test_closing_wakes_who_waits() -> None:
    slot: FrameSlot[int] = FrameSlot()
    taken: list[int | None] = []
    thread = threading.Thread(target=lambda: taken.append(slot.take()))
    thread.start()
    slot.close()
    thread.join(timeout=60)
    assert taken == [None]


def test_every_frame_is_processed_or_reported_as_lost() -> None:
    slot: FrameSlot[int] = FrameSlot()
    processed: list[int] = []
    worker = Worker(slot, processed.append)
    producers = 4
    lost = [0] * producers

    def produce(index: int) -> None:
        lost[index] = sum(slot.put(number) for number in range(2000))

    threads = [threading.Thread(target=produce, args=(index,)) for index in range(producers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lost_at_the_end = int(slot.close())
    assert worker.join(timeout=60)
    assert len(processed) + sum(lost) + lost_at_the_end == producers * 2000
    assert processed


def test_worker_finishes_the_frame_in_work() -> None:
    slot: FrameSlot[str] = FrameSlot()
    started, may_end, done = threading.Event(), threading.Event(), []

    def process(frame: str) -> None:
        started.set()
        may_end.wait(60)
        done.append(frame)

    worker = Worker(slot, process)
    slot.put("frame")
    started.wait(60)
    slot.close()
    assert worker.join(timeout=0.0) is False
    may_end.set()
    assert worker.join(timeout=60) is True
    assert done == ["frame"]
