# SPDX-License-Identifier: Apache-2.0
"""The one thread that perceives and publishes, and the place where the newest frames wait for it."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rclpy.node import Node

from densehybrid_ros.errors import InputError
from densehybrid_ros.nodes.camera import CameraChannel
from densehybrid_ros.nodes.inputs import CameraFrame
from densehybrid_ros.nodes.outputs import PublishError, needs_hazards
from densehybrid_ros.perception.geometry import nanoseconds
from densehybrid_ros.perception.images import is_deep
from densehybrid_ros.perception.perception import Perceived, picture_reader
from densehybrid_ros.perception.settings import Settings

if TYPE_CHECKING:
    # PyTorch is imported when the node configures, not before.
    from densehybrid_ros.inference.background_build import EngineUpgrade

_HAND_OVER = 1e-4  # seconds that the executor's thread leaves Python's lock to the worker, who would wait for it longer


class FrameSlots:
    """Hold at most one frame of each camera: a newer one takes the place of one that nobody has taken yet."""

    def __init__(self, most: int, window: Callable[[], float]) -> None:
        """Begins without a frame.

        Args:
            most: Frames that are taken at once.
            window: Returns the seconds that the first one waits for so many at most.
        """
        self._most, self._window = most, window
        self._condition = threading.Condition()
        self._frames: dict[int, CameraFrame] = {}
        self._closed = False

    def put(self, camera: int, frame: CameraFrame) -> bool:
        """Stores a frame of the camera of this number.

        Returns:
            Whether a frame was lost by it: an older one, or this one because the slots are closed.
        """
        with self._condition:
            if self._closed:
                return True
            overtaken = camera in self._frames
            self._frames[camera] = frame
            self._condition.notify()
        time.sleep(_HAND_OVER)
        return overtaken

    def take(self) -> dict[int, CameraFrame]:
        """Waits for frames and takes them out, those of the cameras that have waited longest; none once closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._frames or self._closed)
            if 0 < len(self._frames) < self._most:
                end = min(frame.arrival for frame in self._frames.values()) + self._window()
                self._condition.wait_for(
                    lambda: len(self._frames) >= self._most or self._closed, max(0.0, end - time.monotonic())
                )
            return {camera: self._frames.pop(camera) for camera in list(self._frames)[: self._most]}

    def close(self) -> list[int]:
        """Lets no more frames in and wakes who waits; returns the cameras of which a frame is lost by it."""
        with self._condition:
            waiting, self._frames = list(self._frames), {}
            self._closed = True
            self._condition.notify_all()
            return waiting


class Worker:
    """Takes frames out of their slots and processes them until the slots are closed.

    Attributes:
        slots: Where frames come from.
    """

    def __init__(
        self,
        node: Node,
        settings: Callable[[], Settings],
        cameras: Sequence[CameraChannel],
        upgrade: EngineUpgrade | None = None,
    ) -> None:
        """Puts the parts together; ``start`` starts the thread.

        Args:
            node: For the clock.
            settings: Returns the parameters; asked once a frame, so that a change counts from the next one on.
            cameras: By their numbers: what makes masks, hazards and alert of a frame, and where they go.
            upgrade: What compiles a faster engine meanwhile; None: nothing does.
        """
        # Where nothing is gained by several at once, the last of them would be old when its turn comes.
        most = len(cameras) if cameras[0].perception.segmenter.overlaps else 1
        self.slots = FrameSlots(most, lambda: settings().camera_window)
        self._clock, self._settings = node.get_clock(), settings
        self._cameras, self._upgrade = cameras, upgrade
        # A daemon, so that a computation that can't be interrupted never keeps the process alive.
        self._thread = threading.Thread(target=self._run, name="perception_worker", daemon=True)
        self._publisher = ThreadPoolExecutor(len(cameras), "publisher")
        self._publishing: dict[int, Future[None]] = {}

    def start(self) -> None:
        """Starts the thread. What is in memory by now stays, so no garbage collection looks through it again."""
        gc.collect()
        gc.freeze()
        self._thread.start()

    def join(self, timeout: float | None = None) -> bool:
        """Waits until the thread has ended, ``timeout`` seconds at most; the slots have to be closed first.

        Returns:
            Whether it has ended.
        """
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def process(self, frames: Mapping[int, CameraFrame]) -> None:
        """Processes one frame each of some cameras, by their numbers. It raises nothing: what goes wrong is counted.

        All are on their way through the model before the first is judged; the alert of each goes out as soon as it is
        judged. Its other outputs follow in a thread of the camera, meanwhile the next frame is perceived.
        """
        begun = []
        for number, frame in frames.items():
            with _counting_losses(self._cameras[number], frame):
                begun.append((self._cameras[number], frame, self._begin(self._cameras[number], frame)))
        for camera, frame, perceive in begun:
            with _counting_losses(camera, frame):
                self._answer(camera, frame, perceive)
                if camera.number in self._publishing:  # one of a camera at a time: a slow one costs frames, not memory
                    self._publishing[camera.number].result()
                publishing = self._publisher.submit(self._publish, camera, frame, time.monotonic())
                self._publishing[camera.number] = publishing

    def _run(self) -> None:
        while frames := self.slots.take():
            self.process(frames)
        self._publisher.shutdown()

    def _begin(self, camera: CameraChannel, frame: CameraFrame) -> Callable[[], Perceived]:
        frame.settings = settings = self._settings()
        started, perception = time.monotonic(), camera.perception
        image = picture_reader(settings, perception.segmenter.card)(frame.message)
        if self._upgrade is not None:
            self._upgrade.before_frame(image.shape[0], image.shape[1], camera.number)
        perception.settings = settings
        known = camera.inputs.frame(image, frame.header, settings, started, is_deep(frame.message))
        camera.statistics.add_time("queue_age", started - frame.arrival)
        return perception.submit(known, judge=needs_hazards(settings))

    def _answer(self, camera: CameraChannel, frame: CameraFrame, perceive: Callable[[], Perceived]) -> None:
        statistics, settings = camera.statistics, frame.settings
        frame.perceived = perceive()
        for problem in frame.perceived.problems:
            statistics.add_problem(problem)
        if needs_hazards(settings):
            stamp, now = nanoseconds(frame.header.stamp), self._clock.now().nanoseconds
            doubt = camera.age.problem(stamp, now, settings.max_age)
            if doubt:
                statistics.add_problem(doubt)
            camera.alert.answer(frame, doubt)  # first: it is what somebody may have to act on
            frame.is_answered = True
        statistics.add_time("inference", frame.perceived.inference_seconds)
        statistics.add_time("hazards", frame.perceived.hazard_seconds)

    def _publish(self, camera: CameraChannel, frame: CameraFrame, found: float) -> None:
        statistics = camera.statistics
        with _counting_losses(camera, frame):
            for problem in camera.outputs.publish(frame):
                statistics.add_problem(problem)
            statistics.count("processed")
        published = time.monotonic()
        statistics.add_time("publish", published - found)
        statistics.add_time("latency", published - frame.arrival)
        statistics.add_time("stamp_age", (self._clock.now().nanoseconds - nanoseconds(frame.header.stamp)) * 1e-9)


@contextmanager
def _counting_losses(camera: CameraChannel, frame: CameraFrame) -> Iterator[None]:
    """Counts a frame that is rejected or fails, and says so in the log and, if nothing was said of it, in the alert."""
    try:
        yield
    except Exception as error:  # whatever the model raises must not end the worker
        is_rejected = isinstance(error, InputError)
        what, tell = ("rejected", camera.warn) if is_rejected else ("failed", camera.error)
        is_named = is_rejected or isinstance(error, PublishError)
        reason = str(error) if is_named else f"{type(error).__name__}: {error}"
        camera.statistics.lose(what, reason)
        if not frame.is_answered:
            camera.alert.fail(frame.header, f"the frame was {what}: {reason}")
        stamp = frame.header.stamp
        tell(f"{camera.topic}: frame {stamp.sec}.{stamp.nanosec:09d} {what}: {reason}")
