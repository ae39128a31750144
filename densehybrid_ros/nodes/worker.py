"""The one thread that perceives and publishes, and the place where the newest frame waits for it."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rclpy.node import Node
from std_msgs.msg import Header

from densehybrid_ros.errors import InputError
from densehybrid_ros.nodes.alert_topic import AlertTopic
from densehybrid_ros.nodes.frame import CameraFrame
from densehybrid_ros.nodes.outputs import Outputs, PublishError, needs_hazards
from densehybrid_ros.nodes.stamp_age import StampAge
from densehybrid_ros.nodes.statistics import FrameStatistics
from densehybrid_ros.nodes.throttle import SECONDS_BETWEEN_WARNINGS
from densehybrid_ros.perception.geometry import nanoseconds
from densehybrid_ros.perception.images import is_deep
from densehybrid_ros.perception.inputs import Inputs
from densehybrid_ros.perception.perception import Perception, picture_reader
from densehybrid_ros.perception.settings import Settings

if TYPE_CHECKING:
    # PyTorch is imported when the node configures, not before.
    from densehybrid_ros.inference.engine_upgrade import EngineUpgrade


class FrameSlot:
    """Holds at most one frame: a newer one takes the place of one that nobody has taken yet."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._frame: CameraFrame | None = None
        self._closed = False

    def put(self, frame: CameraFrame) -> bool:
        """Stores a frame.

        Returns:
            Whether a frame was lost by it: an older one, or this one because the slot is closed.
        """
        with self._condition:
            if self._closed:
                return True
            overtaken = self._frame is not None
            self._frame = frame
            self._condition.notify()
            return overtaken

    def take(self) -> CameraFrame | None:
        """Waits for a frame and takes it out; None once the slot is closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._frame is not None or self._closed)
            frame, self._frame = self._frame, None
            return frame

    def close(self) -> bool:
        """Lets no more frames in and wakes who waits for one.

        Returns:
            Whether a frame that waited here is lost by it.
        """
        with self._condition:
            waiting = self._frame is not None
            self._frame = None
            self._closed = True
            self._condition.notify_all()
            return waiting


class Worker:
    """Takes frames out of its slot and processes them one after another until the slot is closed.

    Attributes:
        slot: Where frames come from.
    """

    def __init__(
        self,
        node: Node,
        settings: Callable[[], Settings],
        perception: Perception,
        inputs: Inputs,
        outputs: Outputs,
        alert: AlertTopic,
        statistics: FrameStatistics,
        upgrade: EngineUpgrade | None = None,
    ) -> None:
        """Puts the parts together; ``start`` starts the thread.

        Args:
            node: For the log, the clock and the name of the input.
            settings: Returns the parameters; asked once a frame, so that a change counts from the next one on.
            perception: Makes masks, hazards and alert of a frame.
            inputs: What is known beside the picture.
            outputs: Where masks and hazards go.
            alert: Where the alert goes.
            statistics: Where frames are counted.
            upgrade: What compiles a faster engine meanwhile; None: nothing does.
        """
        self.slot = FrameSlot()
        self._logger, self._clock = node.get_logger(), node.get_clock()
        self._topic = node.resolve_topic_name("~/input/image")
        self._settings, self._perception, self._inputs = settings, perception, inputs
        self._outputs, self._alert = outputs, alert
        self._statistics, self._upgrade = statistics, upgrade
        self._age = StampAge()
        # A daemon, so that a computation that can't be interrupted never keeps the process alive.
        self._thread = threading.Thread(target=self._run, name="perception_worker", daemon=True)

    def start(self) -> None:
        """Starts the thread. What is in memory by now stays, so no garbage collection looks through it again."""
        gc.collect()
        gc.freeze()
        self._thread.start()

    def join(self, timeout: float | None = None) -> bool:
        """Waits until the thread has ended; the slot has to be closed first.

        Args:
            timeout: Seconds to wait at most; None: as long as the frame in work takes.

        Returns:
            Whether it has ended.
        """
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def process(self, frame: CameraFrame) -> None:
        """Processes one frame. It raises nothing: what goes wrong is counted."""
        statistics = self._statistics
        try:
            self._process(frame)
        except InputError as error:
            self._lose(frame, "rejected", str(error))
            self._logger.warning(
                f"{self._topic}: frame {_stamp(frame.header)} rejected: {error}",
                throttle_duration_sec=SECONDS_BETWEEN_WARNINGS,
            )
        except Exception as error:  # whatever the model raises must not end the worker
            reason = str(error) if isinstance(error, PublishError) else f"{type(error).__name__}: {error}"
            self._lose(frame, "failed", reason)
            self._logger.error(
                f"{self._topic}: frame {_stamp(frame.header)} failed: {reason}",
                throttle_duration_sec=SECONDS_BETWEEN_WARNINGS,
            )
        else:
            statistics.count("processed")

    def _lose(self, frame: CameraFrame, what: str, reason: str) -> None:
        """Counts a frame that was rejected or failed, and says so on the alert's topic if nothing was said of it."""
        self._statistics.count(what)
        self._statistics.set_reason(what, reason)
        if not frame.is_answered:
            self._alert.fail(frame.header, f"the frame was {what}: {reason}")

    def _run(self) -> None:
        while (frame := self.slot.take()) is not None:
            self.process(frame)

    def _process(self, frame: CameraFrame) -> None:
        frame.settings = settings = self._settings()
        statistics, started = self._statistics, time.monotonic()
        image = picture_reader(settings, self._perception.segmenter.card)(frame.message)
        if self._upgrade is not None:
            self._upgrade.before_frame(image.shape[0], image.shape[1])
        self._perception.settings = settings
        known = self._inputs.frame(image, frame.header, settings, started, is_deep(frame.message))
        frame.perceived = self._perception(known, judge=needs_hazards(settings))
        for problem in frame.perceived.problems:
            statistics.add_problem(problem)
        found = time.monotonic()
        if needs_hazards(settings):
            stamp, now = nanoseconds(frame.header.stamp), self._clock.now().nanoseconds
            doubt = self._age.problem(stamp, now, settings.max_age)
            if doubt:
                statistics.add_problem(doubt)
            self._alert.answer(frame, doubt)  # first: it is what somebody may have to act on
            frame.is_answered = True
        for problem in self._outputs.publish(frame):
            statistics.add_problem(problem)
        published = time.monotonic()
        statistics.add_time("queue_age", started - frame.arrival)
        statistics.add_time("inference", frame.perceived.inference_seconds)
        statistics.add_time("hazards", frame.perceived.hazard_seconds)
        statistics.add_time("publish", published - found)
        statistics.add_time("latency", published - frame.arrival)
        statistics.add_time("stamp_age", (self._clock.now().nanoseconds - nanoseconds(frame.header.stamp)) * 1e-9)


def _stamp(header: Header) -> str:
    return f"{header.stamp.sec}.{header.stamp.nanosec:09d}"
