"""The alert's topic, which never falls silent: where there is no answer to a frame, it says STALE and why."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Header

from densehybrid_ros.nodes.hazard_alert import stale_alert

PERIOD = 0.2
"""Seconds between two looks."""

_REPEAT = 0.5  # seconds between two STALE alerts
_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)


class AlertTopic:
    """Publishes alerts in every state of the life cycle; the worker and the executor's thread may both call it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, "~/output/hazard_alert", _QOS)
        self._last_answer = time.monotonic()
        self._last_stale = 0.0
        self._reason = ""
        self._frame_id = ""

    def begin(self) -> None:
        """Starts to wait for an answer, as when the node is activated or resumed."""
        self._last_answer = time.monotonic()

    def frame_answered(self, frame_id: str) -> None:
        """Notes that the hazards of a frame are known, also where nobody listens."""
        self._last_answer = time.monotonic()
        self._reason, self._frame_id = "", frame_id

    def publish(self, message: DiagnosticArray) -> None:
        """Publishes the alert of a frame."""
        self._publisher.publish(message)

    def get_subscription_count(self) -> int:
        """Returns how many listen."""
        return int(self._publisher.get_subscription_count())

    def say_stale_after(self, timeout: float, topic: str, silence: float, reasons: Mapping[str, str]) -> None:
        """Publishes that nothing is known, if no frame was answered for ``timeout`` seconds.

        Args:
            timeout: Seconds.
            topic: Of the camera.
            silence: Seconds since a frame arrived.
            reasons: Why frames were not answered: "rejected" or "failed" -> the latest reason.
        """
        age = time.monotonic() - self._last_answer
        if age <= timeout:
            return
        values = {"silence_s": silence, "source_timeout_s": timeout}
        if silence > timeout:
            self.say_stale("silence", f"no frame on {topic} for {silence:.1f} s", values)
        else:
            why = "; ".join(f"the last {what} one: {reason}" for what, reason in reasons.items())
            text = f"frames come, but none was answered for {age:.1f} s; {why or 'the model is slow'}"
            self.say_stale("no answer", text, values)

    def say_stale(self, kind: str, reason: str, values: Mapping[str, Any] | None = None) -> None:
        """Publishes that nothing is known: at once where the kind of reason is new, else twice a second.

        Args:
            kind: What the reason is about; the reason's own wording may change while it lasts.
            reason: For people.
            values: Named values.
        """
        now = time.monotonic()
        if kind == self._reason and now - self._last_stale < _REPEAT:
            return
        self._reason, self._last_stale = kind, now
        header = Header(frame_id=self._frame_id, stamp=self._node.get_clock().now().to_msg())
        self._publisher.publish(stale_alert(header, self._node.get_name(), reason, dict(values or {})))
