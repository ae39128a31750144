"""What the worker does with one camera message: read it, run the model, find the hazards, publish."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from rclpy.node import Node
from std_msgs.msg import Header

from densehybrid_ros.errors import InputError
from densehybrid_ros.nodes.alert_watch import AlertTopic
from densehybrid_ros.nodes.hazard_stage import HazardReport, HazardStage
from densehybrid_ros.nodes.outputs import Outputs, ProcessedFrame, needs_hazards
from densehybrid_ros.nodes.statistics import FrameStatistics
from densehybrid_ros.perception.images import rgb_from_compressed, rgb_from_image
from densehybrid_ros.perception.settings import Settings

if TYPE_CHECKING:
    # PyTorch is imported when the node configures, not before.
    from densehybrid_ros.inference import FrameResult, Segmenter
    from densehybrid_ros.inference.engine_upgrade import EngineUpgrade

_SECONDS_BETWEEN_WARNINGS = 5.0

READERS: dict[str, Callable[[Any], np.ndarray]] = {"raw": rgb_from_image, "compressed": rgb_from_compressed}
"""``input_transport`` -> how its messages become RGB."""


@dataclass(frozen=True)
class IncomingFrame:
    """A camera message and when it arrived (``time.monotonic()``, seconds)."""

    message: Any
    arrival: float


class Model(NamedTuple):
    """The model, and what compiles a faster engine for it meanwhile (None: nothing does)."""

    segmenter: Segmenter
    upgrade: EngineUpgrade | None = None


class FrameProcessor:
    """Processes frames one after another, in the worker's thread. It raises nothing: what goes wrong is counted."""

    def __init__(
        self,
        node: Node,
        model: Model,
        hazards: HazardStage,
        outputs: Outputs,
        alert: AlertTopic,
        statistics: FrameStatistics,
        settings: Callable[[], Settings],
    ) -> None:
        """Puts the parts together.

        Args:
            node: For the log, the clock and the name of the input.
            model: The model.
            hazards: Finds the hazards.
            outputs: Where results go.
            alert: Is told of every frame whose hazards are known.
            statistics: Where frames are counted.
            settings: Returns the parameters; asked once a frame, so that a change counts from the next one on.
        """
        self._logger = node.get_logger()
        self._clock = node.get_clock()
        self._topic = node.resolve_topic_name("~/input/image")
        self._segmenter, self._upgrade = model
        self._hazards = hazards
        self._outputs = outputs
        self._alert = alert
        self._statistics = statistics
        self._settings = settings

    def __call__(self, frame: IncomingFrame) -> None:
        """Processes one frame."""
        header, statistics = frame.message.header, self._statistics
        try:
            self._process(frame)
        except InputError as error:
            statistics.count("rejected")
            statistics.set_reason("rejected", str(error))
            text = f"{self._topic}: frame {_stamp(header)} rejected: {error}"
            self._logger.warning(text, throttle_duration_sec=_SECONDS_BETWEEN_WARNINGS)
        except Exception as error:  # whatever the model raises must not end the worker
            statistics.count("failed")
            statistics.set_reason("failed", f"{type(error).__name__}: {error}")
            text = f"{self._topic}: frame {_stamp(header)} failed: {type(error).__name__}: {error}"
            self._logger.error(text, throttle_duration_sec=_SECONDS_BETWEEN_WARNINGS)
        else:
            statistics.count("processed")

    def _process(self, frame: IncomingFrame) -> None:
        header, settings = frame.message.header, self._settings()
        started = time.monotonic()
        image = READERS[settings.input_transport](frame.message)
        threshold = settings.anomaly_threshold
        assert threshold is not None  # set when the model was loaded
        read = time.monotonic()
        if self._upgrade is not None:
            self._upgrade.before_frame(image.shape[0], image.shape[1])
        result = self._segmenter(image, threshold)
        inferred = time.monotonic()
        report = self._find_hazards(header, result, settings)
        found = time.monotonic()
        classes = self._segmenter.card.classes
        self._outputs.publish(ProcessedFrame(header, image, result, classes, threshold, settings, report))
        published = time.monotonic()
        self._statistics.add_time("queue_age", started - frame.arrival)
        self._statistics.add_time("inference", inferred - read)
        self._statistics.add_time("publish", published - found)
        self._statistics.add_time("latency", published - frame.arrival)
        # Not through rclpy.time.Time, which refuses a negative stamp.
        stamp = header.stamp.sec * 10**9 + header.stamp.nanosec
        self._statistics.add_time("stamp_age", (self._clock.now().nanoseconds - stamp) * 1e-9)

    def _find_hazards(self, header: Header, result: FrameResult, settings: Settings) -> HazardReport | None:
        if not needs_hazards(settings):
            self._hazards.reset()  # tracks with a hole in them would mislead
            return None
        report = self._hazards(header, result, settings)
        if report.frame is not None:
            self._alert.frame_answered(header.frame_id)
        return report


def _stamp(header: Header) -> str:
    return f"{header.stamp.sec}.{header.stamp.nanosec:09d}"
