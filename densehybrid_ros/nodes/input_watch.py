"""Notices that no frame arrives, and says why that may be."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible


class InputWatch:
    """Watches one subscription while the node is active."""

    def __init__(self, node: Node, topic: str, message_type: str, qos: QoSProfile) -> None:
        """Starts watching.

        Args:
            node: The node, for the graph and the log.
            topic: Resolved name of the topic.
            message_type: ``package/msg/Type`` that the node subscribes to.
            qos: What the node subscribes with.
        """
        self._node = node
        self._topic = topic
        self._message_type = message_type
        self._qos = qos
        self._last_frame = time.monotonic()
        self._reported: str | None = None

    def frame_arrived(self) -> None:
        """Notes a frame."""
        self._last_frame = time.monotonic()
        self._reported = None

    @property
    def silence(self) -> float:
        """Seconds since the last frame, or since watching began."""
        return time.monotonic() - self._last_frame

    def check(self, timeout: float) -> float | None:
        """Logs once a silence, and again when its cause changes, what is known about it.

        Args:
            timeout: Seconds without a frame that are normal.

        Returns:
            Seconds without a frame if they exceed the timeout, else None.
        """
        silence = self.silence
        if silence <= timeout:
            return None
        publishers = self._node.get_publishers_info_by_topic(self._topic)
        logger = self._node.get_logger()
        if not publishers:
            self._report("nobody", lambda: logger.info(f"waiting: nobody publishes {self._topic} yet"))
        else:
            text = f"no frame on {self._topic} for {silence:.0f} s. " + "; ".join(map(self._describe, publishers))
            text += f"; this node: {self._message_type}, {describe_qos(self._qos)}"
            self._report("publishers", lambda: logger.warning(text))
        return silence

    def _report(self, cause: str, log: Callable[[], Any]) -> None:
        if self._reported != cause:
            self._reported = cause
            log()

    def _describe(self, publisher: Any) -> str:
        namespace = publisher.node_namespace.rstrip("/")
        text = f"publisher {namespace}/{publisher.node_name}: {publisher.topic_type}"
        text += f", {describe_qos(publisher.qos_profile)}"
        if publisher.topic_type != self._message_type:
            return text + " (another type: check input_transport)"
        compatibility, reason = qos_check_compatible(publisher.qos_profile, self._qos)
        if compatibility == QoSCompatibility.OK:
            return text + " (compatible: frames may be lost on the way, or none is sent)"
        return f"{text} (does not match: {reason.strip().rstrip(';')})"


def describe_qos(qos: QoSProfile) -> str:
    """Returns the policies that decide whether two sides match."""
    return f"{qos.reliability.name.lower()}, {qos.durability.name.lower()}, depth {qos.depth}"
