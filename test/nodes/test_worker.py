# SPDX-License-Identifier: Apache-2.0
"""The newest frames' slots and the worker that empties them: what goes wrong is counted, and never ends it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.lifecycle import LifecycleNode
from ros_peer import image_message

from densehybrid_ros.inference import Segmenter
from densehybrid_ros.networks import load_model
from densehybrid_ros.nodes.camera import CameraChannel
from densehybrid_ros.nodes.inputs import CameraFrame
from densehybrid_ros.nodes.outputs import OUTPUTS
from densehybrid_ros.nodes.worker import FrameSlots, Worker
from densehybrid_ros.perception.settings import Settings

pytestmark = pytest.mark.ros

SETTINGS = Settings(anomaly_threshold=-3.0, max_age=0.0)


def camera_frame(rows: int = 32, encoding: str = "rgb8", seconds: int = 0, arrival: float = 0.0) -> CameraFrame:
    message = image_message(np.zeros((rows, 64, 3), np.uint8), encoding)
    message.header.stamp.sec = seconds
    return CameraFrame(message, arrival)


def slots_of(most: int = 1, window: float = 0.0) -> FrameSlots:
    return FrameSlots(most, lambda: window)


def test_no_camera_keeps_another_one_waiting() -> None:
    """However fast one camera is, its newest frame is taken with the others, and who waits longest goes first."""
    slots, frames = slots_of(3), [camera_frame() for _ in range(4)]
    lost = [slots.put(camera, frame) for camera, frame in zip((2, 0, 2, 2), frames, strict=True)]
    assert lost == [False, False, True, True]
    assert list(slots.take().items()) == [(2, frames[3]), (0, frames[1])]


def test_taken_one_by_one_each_camera_has_its_turn_with_its_newest_frame() -> None:
    slots, newest, turns = slots_of(), {}, []
    for _ in range(6):
        for camera in (0, 0, 1, 0, 2):
            newest[camera] = camera_frame()
            slots.put(camera, newest[camera])
        ((camera, frame),) = slots.take().items()
        assert frame is newest[camera]
        turns.append(camera)
    assert turns == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("window", "age", "expected"),
    [
        (60.0, 0.0, [0, 1]),  # the other camera's comes
        (0.05, 0.0, [0]),  # a camera that is silent costs the window, no more
        (60.0, 60.0, [0]),  # it has waited for the worker already
    ],
)
def test_the_first_frame_waits_for_the_other_cameras_within_the_window(window, age, expected) -> None:
    slots, now = slots_of(2, window), time.monotonic()
    slots.put(0, camera_frame(arrival=now - age))
    if 1 in expected:
        threading.Timer(0.05, lambda: slots.put(1, camera_frame(arrival=now))).start()
    assert list(slots.take()) == expected


def test_closed_slots_lose_what_waits_and_what_comes_and_wake_who_waits() -> None:
    slots = slots_of(2)
    slots.put(1, camera_frame())
    assert slots.close() == [1]
    assert slots.put(1, camera_frame()) is True
    assert (slots.take(), slots.close()) == ({}, [])
    slots, taken = slots_of(), []
    thread = threading.Thread(target=lambda: taken.append(slots.take()))
    thread.start()
    slots.close()
    thread.join(timeout=60)
    assert taken == [{}]


class FragileSegmenter(Segmenter):
    """Runs out of memory on frames of 64 rows, which is not to be had on request."""

    def submit(self, image: np.ndarray, threshold: float | None = None, camera: int = 0) -> Any:
        if len(image) == 64:
            raise RuntimeError("CUDA out of memory")
        return super().submit(image, threshold, camera)


Start = Callable[..., tuple[Worker, list[CameraChannel]]]


@pytest.fixture
def start(ros: None, seeded_model: Path) -> Iterator[Start]:
    """Returns a function that makes a worker and its cameras."""
    node, made = LifecycleNode("worker_test"), []

    def start(kind: type[Segmenter] = Segmenter, names: tuple[str, ...] = ("",)) -> tuple[Worker, list[CameraChannel]]:
        segmenter = kind(load_model(seeded_model), "eager", "cpu")
        for number, name in enumerate(names):
            made.append(CameraChannel(node, number, name, lambda: SETTINGS, lambda: "active"))
            made[-1].configure(segmenter)
        return Worker(node, lambda: SETTINGS, made), made

    yield start
    for camera in made:
        camera.alert.close()
    node.destroy_node()


def test_a_frame_that_is_lost_takes_no_other_cameras_with_it(start: Start) -> None:
    worker, cameras = start(FragileSegmenter, ("front", "left", "right"))
    frames = [camera_frame(64, seconds=-1), camera_frame(32, "nonsense"), camera_frame(48)]  # one clock is broken
    worker.process(dict(enumerate(frames)))
    worker._publisher.shutdown()  # waits until all outputs are out
    counts = [camera.statistics.counts() for camera in cameras]
    assert [(each.failed, each.rejected, each.processed) for each in counts] == [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    assert frames[2].perceived.masks.semantic.shape == (48, 64)
    reasons = [camera.statistics.reasons() for camera in cameras]
    assert reasons[0] == {"failed": "RuntimeError: CUDA out of memory"}
    assert "nonsense" in reasons[1]["rejected"]


def test_all_frames_are_with_the_model_before_the_first_is_judged_and_answered(start: Start) -> None:
    worker, cameras = start(names=("front", "left"))
    events: list[str] = []
    segmenter = cameras[0].perception.segmenter
    submit = segmenter.submit
    segmenter.submit = lambda *args: events.append(f"submit {args[2]}") or submit(*args)  # type: ignore
    for camera in cameras:
        answer = camera.alert.answer
        camera.alert.answer = (  # type: ignore
            lambda *args, n=camera.number, answer=answer: events.append(f"answer {n}") or answer(*args)
        )
        camera.outputs.publish = lambda frame, n=camera.number: events.append(f"publish {n}") or []  # type: ignore
    worker.process({1: camera_frame(), 0: camera_frame(64)})
    worker._publisher.shutdown()  # waits until all outputs are out
    assert events == ["submit 1", "submit 0", "answer 1", "publish 1", "answer 0", "publish 0"]


def test_every_frame_is_processed_or_reported_as_lost(start: Start) -> None:
    worker, (camera,) = start()
    worker.start()
    lost = sum(worker.slots.put(0, camera_frame(seconds=number)) for number in range(50))
    lost += len(worker.slots.close())
    assert worker.join(timeout=60)
    assert camera.statistics.counts().processed + lost == 50


def test_outputs_that_nobody_hears_are_not_filled(start: Start) -> None:
    worker, (camera,) = start()
    frame = camera_frame()
    worker.process({0: frame})
    worker._publisher.shutdown()  # waits until all outputs are out
    assert not any(camera.outputs.is_wanted(name, frame.settings) for name in OUTPUTS)
    assert frame.perceived.hazards is not None  # tracks need every frame, heard or not
