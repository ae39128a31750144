"""The camera's topic: subscribes to it, counts what arrives and what is missing, and watches for silence."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from densehybrid_ros.nodes.frame_processor import IncomingFrame
from densehybrid_ros.nodes.input_watch import InputWatch
from densehybrid_ros.nodes.statistics import FrameStatistics, SequenceGaps
from densehybrid_ros.perception.settings import Settings

_MESSAGE_TYPES = {"raw": Image, "compressed": CompressedImage}


class ImageInput:
    """One subscription, from opening to closing."""

    def __init__(
        self,
        node: Node,
        settings: Settings,
        statistics: FrameStatistics,
        put: Callable[[IncomingFrame], bool],
    ) -> None:
        """Subscribes.

        Args:
            node: The node.
            settings: The parameters.
            statistics: Where frames are counted.
            put: Stores a frame and returns whether one was lost by it.
        """
        self._node, self._statistics, self._put = node, statistics, put
        self._topic = node.resolve_topic_name("~/input/image")
        self._gaps = SequenceGaps()
        kind = _MESSAGE_TYPES[settings.input_transport]
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy[settings.input_reliability.upper()])
        self._watch = InputWatch(node, self._topic, f"sensor_msgs/msg/{kind.__name__}", qos)
        # On Humble a callback gets no message information, so there are no sequence numbers.
        callback: Callable[..., None] = self._store_numbered if hasattr(Subscription, "CallbackType") else self._store
        self._subscription = node.create_subscription(kind, "~/input/image", callback, qos)

    def close(self) -> None:
        """Leaves the topic."""
        self._node.destroy_subscription(self._subscription)

    def silence(self, timeout: float) -> float | None:
        """Returns the seconds without a frame if they exceed ``timeout``, else None; see ``InputWatch.check``."""
        return self._watch.check(timeout)

    @property
    def seconds_since_frame(self) -> float:
        """Seconds since the last frame arrived, or since the subscription began."""
        return self._watch.silence

    def _store_numbered(self, message: Any, information: dict[str, Any]) -> None:
        missing = self._gaps.missing_before(information.get("publication_sequence_number"))
        if missing and self._node.count_publishers(self._topic) == 1:
            self._statistics.count("missed", missing)
        self._store(message)

    def _store(self, message: Any) -> None:
        self._statistics.count("received")
        self._watch.frame_arrived()
        if self._put(IncomingFrame(message, time.monotonic())):
            self._statistics.count("overtaken")
