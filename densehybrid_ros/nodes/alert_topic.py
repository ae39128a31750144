"""The alert's topic, which never falls silent: where there is no answer to a frame, it says STALE and why."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Header

from densehybrid_ros.errors import shown
from densehybrid_ros.nodes.frame import CameraFrame
from densehybrid_ros.perception.alert import Alert, Status, stale_alert
from densehybrid_ros.perception.settings import Settings

PERIOD = 0.2
"""Seconds between two looks."""

_REPEAT = 0.5  # seconds between two STALE alerts
_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)


class AlertTopic:
    """Publishes alerts in every state of the life cycle; the worker and the executor's thread may both call it."""

    def __init__(self, node: Node, settings: Callable[[], Settings]) -> None:
        """Creates the publisher.

        Args:
            node: The node.
            settings: Returns the parameters of this moment.
        """
        self._node, self._settings = node, settings
        self._publisher = node.create_publisher(DiagnosticArray, "~/output/hazard_alert", _QOS)
        self._last_answer = time.monotonic()
        self._last_stale = 0.0
        self._reason = ""
        self._frame_id = ""

    def begin(self) -> None:
        """Starts to wait for an answer, as when the node is activated or resumed."""
        self._last_answer = time.monotonic()

    def answer(self, frame: CameraFrame) -> None:
        """Publishes the alert of a frame, if it is switched on and heard; a frame of known hazards ends the wait."""
        if frame.perceived.hazards is not None:
            self._last_answer = time.monotonic()
            self._reason, self._frame_id = "", frame.header.frame_id
        if frame.settings.publish_hazard_alert and self._publisher.get_subscription_count() > 0:
            self._publisher.publish(alert_message(frame.perceived.alert, frame.header, self._node.get_name()))

    def watch(self, topic: str, silence: float, reasons: Mapping[str, str]) -> None:
        """Says that nothing is known, if no frame was answered for ``source_timeout`` seconds.

        Args:
            topic: Of the camera.
            silence: Seconds since a frame arrived.
            reasons: Why frames were not answered: "rejected" or "failed" -> the latest reason.
        """
        age, timeout = time.monotonic() - self._last_answer, self._settings().source_timeout
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
        """Says that nothing is known: at once where the kind of reason is new, else twice a second.

        Args:
            kind: What the reason is about; the reason's own wording may change while it lasts.
            reason: For people.
            values: Named values.
        """
        now = time.monotonic()
        if not self._settings().publish_hazard_alert or (kind == self._reason and now - self._last_stale < _REPEAT):
            return
        self._reason, self._last_stale = kind, now
        header = Header(frame_id=self._frame_id, stamp=self._node.get_clock().now().to_msg())
        self._publisher.publish(alert_message(stale_alert(reason, dict(values or {})), header, self._node.get_name()))


def alert_message(alert: Alert, header: Header, node_name: str) -> DiagnosticArray:
    """Makes the message of an alert, with the camera's header."""
    statuses = (alert.summary, *alert.hazards)
    return DiagnosticArray(header=header, status=[_status(item, header, node_name) for item in statuses])


def key_values(values: Mapping[str, str]) -> list[KeyValue]:
    """Turns named texts into diagnostic key-value pairs."""
    return [KeyValue(key=key, value=value) for key, value in values.items()]


def _status(status: Status, header: Header, node_name: str) -> DiagnosticStatus:
    return DiagnosticStatus(
        name=f"{node_name}: {status.what}",
        hardware_id=shown(header.frame_id),
        level=bytes([status.level]),
        message=status.message,
        values=key_values(status.values),
    )
