"""The newest-frame slot and the worker that empties it: what goes wrong with a frame is counted, and never ends it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.lifecycle import LifecycleNode
from ros_peer import image_message

from densehybrid_ros.inference import Segmenter
from densehybrid_ros.networks import load_model
from densehybrid_ros.nodes.alert_topic import AlertTopic
from densehybrid_ros.nodes.frame import CameraFrame
from densehybrid_ros.nodes.outputs import OUTPUTS, Outputs
from densehybrid_ros.nodes.statistics import FrameStatistics
from densehybrid_ros.nodes.worker import FrameSlot, Worker
from densehybrid_ros.perception.inputs import Inputs
from densehybrid_ros.perception.perception import Perception
from densehybrid_ros.perception.settings import Settings

pytestmark = pytest.mark.ros

SETTINGS = Settings(anomaly_threshold=-3.0, max_age=0.0)


def camera_frame(rows: int = 32, encoding: str = "rgb8", seconds: int = 0) -> CameraFrame:
    message = image_message(np.zeros((rows, 64, 3), np.uint8), encoding)
    message.header.stamp.sec = seconds
    return CameraFrame(message, arrival=0.0)


def test_newest_frame_wins() -> None:
    slot, frames = FrameSlot(), [camera_frame() for _ in range(4)]
    assert [slot.put(frame) for frame in frames[:3]] == [False, True, True]
    assert slot.take() is frames[2]
    assert slot.put(frames[3]) is False


def test_closed_slot_loses_what_waits_and_what_comes() -> None:
    slot = FrameSlot()
    slot.put(camera_frame())
    assert slot.close() is True
    assert slot.put(camera_frame()) is True
    assert slot.take() is None
    assert slot.close() is False


def test_closing_wakes_who_waits() -> None:
    slot = FrameSlot()
    taken: list[Any] = []
    thread = threading.Thread(target=lambda: taken.append(slot.take()))
    thread.start()
    slot.close()
    thread.join(timeout=60)
    assert taken == [None]


class FragileSegmenter(Segmenter):
    """Runs out of memory on frames of 64 rows, which is not to be had on request."""

    def __call__(self, image: np.ndarray, threshold: float | None = None) -> Any:
        if len(image) == 64:
            raise RuntimeError("CUDA out of memory")
        return super().__call__(image, threshold)


def worker_of(
    node: LifecycleNode, segmenter: Segmenter, statistics: FrameStatistics, outputs: Outputs | None = None
) -> Worker:
    perception = Perception(segmenter, SETTINGS)
    alert = AlertTopic(node, lambda: SETTINGS, lambda: None)
    return Worker(node, lambda: SETTINGS, perception, Inputs(), outputs or Outputs(node), alert, statistics)


@pytest.fixture
def node(ros: None) -> Iterator[LifecycleNode]:
    node = LifecycleNode("worker_test")
    yield node
    node.destroy_node()


def test_failures_and_rejections_are_counted_apart(node: LifecycleNode, seeded_model: Path) -> None:
    statistics = FrameStatistics()
    worker = worker_of(node, FragileSegmenter(load_model(seeded_model), "eager", "cpu"), statistics)
    for rows, encoding in ((32, "rgb8"), (64, "rgb8"), (32, "nonsense"), (32, "rgb8")):
        worker.process(camera_frame(rows, encoding, seconds=-1))  # a camera whose clock is broken
    counts = statistics.counts()
    assert (counts.processed, counts.failed, counts.rejected) == (2, 1, 1)
    assert statistics.reasons()["failed"] == "RuntimeError: CUDA out of memory"
    assert "nonsense" in statistics.reasons()["rejected"]
    mean, largest = statistics.mean_and_largest("hazards") or (0.0, 0.0)
    assert 0.0 < mean <= largest


def test_every_frame_is_processed_or_reported_as_lost(node: LifecycleNode, seeded_model: Path) -> None:
    statistics = FrameStatistics()
    worker = worker_of(node, Segmenter(load_model(seeded_model), "eager", "cpu"), statistics)
    worker.start()
    lost = sum(worker.slot.put(camera_frame(seconds=number)) for number in range(50))
    while statistics.counts().processed + lost < 49:
        pass  # the last one may still wait
    lost += worker.slot.close()
    assert worker.join(timeout=60)
    assert statistics.counts().processed + lost == 50


def test_outputs_that_nobody_hears_are_not_filled(node: LifecycleNode, seeded_model: Path) -> None:
    outputs = Outputs(node)
    segmenter = Segmenter(load_model(seeded_model), "eager", "cpu")
    frame, sent = camera_frame(), []
    outputs.send = lambda name, message: sent.append(name)  # type: ignore
    worker_of(node, segmenter, FrameStatistics(), outputs).process(frame)
    assert sent == []
    assert not any(outputs.is_wanted(name, frame.settings) for name in OUTPUTS)
    assert frame.perceived.hazards is not None  # tracks need every frame, heard or not
