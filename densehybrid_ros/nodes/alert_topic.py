# SPDX-License-Identifier: Apache-2.0
"""The alert's topic, which never falls silent: where there is no answer to a frame, it says STALE and why."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from std_msgs.msg import Header

from densehybrid_ros.errors import shown
from densehybrid_ros.nodes.diagnostics import key_values
from densehybrid_ros.nodes.inputs import CameraFrame
from densehybrid_ros.nodes.messages import OVERRIDABLE, qos
from densehybrid_ros.perception.alert import Alert, Status, stale_alert, stale_frame_alert
from densehybrid_ros.perception.settings import Settings

_PERIOD = 0.2  # seconds between two looks
_REPEAT = 0.5  # seconds between two STALE alerts


class AlertTopic:
    """Publishes alerts in every state of the life cycle; any thread may call it.

    A thread of its own looks whether frames are answered, so that neither a model that is loading nor an executor that
    hangs can silence it.
    """

    def __init__(
        self, node: Node, settings: Callable[[], Settings], watch: Callable[[], None], prefix: str = "~"
    ) -> None:
        """Creates the publisher and starts to watch.

        Args:
            node: The node.
            settings: Returns the parameters of this moment.
            watch: Is called five times a second, to say on this topic what is not known.
            prefix: Of the camera's topics.
        """
        self._node, self._settings, self._watch = node, settings, watch
        self._publisher = node.create_publisher(
            DiagnosticArray, f"{prefix}/output/hazard_alert", qos(10), qos_overriding_options=OVERRIDABLE
        )
        self._name = prefix.replace("~", node.get_fully_qualified_name())
        self._topic = node.resolve_topic_name(f"{prefix}/input/image")
        self._lock = threading.Lock()
        self._last_answer: float | None = None
        self._last_stale = 0.0
        self._reason = ""
        self._frame_id = ""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alert_watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the watch; to be called before the node is destroyed."""
        self._closing.set()
        self._thread.join()

    def begin(self) -> None:
        """Starts to wait for the first answer, as when the node is activated or resumed."""
        with self._lock:
            self._last_answer = None

    def answer(self, frame: CameraFrame, doubt: str = "") -> None:
        """Publishes the alert of a frame, if it is switched on and heard; a frame of known hazards ends the wait.

        ``doubt`` tells why it says nothing of this moment, such as its age; then the alert is STALE.
        """
        alert = stale_frame_alert(doubt, frame.perceived.alert) if doubt else frame.perceived.alert
        is_known = frame.perceived.hazards is not None and not doubt
        self._say(alert, frame.header, is_known, frame.settings.publish_hazard_alert)

    def fail(self, header: Header, reason: str) -> None:
        """Publishes that nothing is known of a frame that was rejected or failed."""
        self._say(stale_frame_alert(reason), header, False, self._settings().publish_hazard_alert)

    def watch(self, silence: float, reasons: Mapping[str, str]) -> None:
        """Says that nothing is known, if no frame was answered yet, or none for ``source_timeout`` seconds.

        Once as well where the alert is off, however well frames are answered.

        Args:
            silence: Seconds since a frame arrived, or since the camera was subscribed to.
            reasons: Why frames were not answered: "rejected" or "failed" -> the latest reason.
        """
        settings = self._settings()
        timeout, last = settings.source_timeout, self._last_answer
        age = timeout if last is None else time.monotonic() - last
        if last is not None and age <= timeout and settings.publish_hazard_alert:
            return
        why = "; ".join(f"the last {what} one: {reason}" for what, reason in reasons.items())
        if silence > timeout:
            kind, text = "silence", f"no frame on {self._topic} for {silence:.1f} s"
        elif last is None:
            kind, text = "waiting", f"no frame on {self._topic} was answered yet" + (f"; {why}" if why else "")
        else:
            kind = "no answer"
            text = f"frames come, but none was answered for {age:.1f} s; {why or 'the model is slow'}"
        self.say_stale(kind, text, {"silence_s": silence, "source_timeout_s": timeout})

    def say_stale(self, kind: str, reason: str, values: dict[str, Any] | None = None) -> None:
        """Says that nothing is known: at once where the kind of reason is new, else twice a second.

        The wording of a reason may change while its ``kind`` lasts; ``values`` are the alert's.
        """
        if not self._settings().publish_hazard_alert:
            if self._reason == "off":
                return
            # Once: who has heard an OK must not rely on it any longer.
            kind, reason, values = "off", "publish_hazard_alert is off", None
        with self._lock:
            now = time.monotonic()
            if kind == self._reason and now - self._last_stale < _REPEAT:
                return
            self._reason, self._last_stale = kind, now
            header = Header(frame_id=self._frame_id, stamp=self._node.get_clock().now().to_msg())
            self._publish(stale_alert(reason, values), header)

    def _say(self, alert: Alert, header: Header, is_known: bool, is_wanted: bool) -> None:
        with self._lock:
            if is_known:
                self._last_answer = time.monotonic()
                self._frame_id = header.frame_id
            if is_wanted:
                self._reason = ""
                if self._publisher.get_subscription_count() > 0:
                    self._publish(alert, header)

    def _publish(self, alert: Alert, header: Header) -> None:
        self._publisher.publish(alert_message(alert, header, self._name, header.frame_id or self._topic))

    def _run(self) -> None:
        while not self._closing.wait(_PERIOD):
            try:
                self._watch()
            except Exception as error:  # it has to go on whatever happens
                text = f"the alert's watch: {type(error).__name__}: {error}"
                self._node.get_logger().error(text, throttle_duration_sec=5.0)


def alert_message(alert: Alert, header: Header, node_name: str, hardware_id: str) -> DiagnosticArray:
    """Makes the message of an alert; its statuses begin with the node's full name, which ends with the camera's.

    ``hardware_id`` is the frame or topic of the camera.
    """

    def made(status: Status) -> DiagnosticStatus:
        return DiagnosticStatus(
            name=f"{node_name}: {status.what}",
            hardware_id=shown(hardware_id),
            level=bytes([status.level]),
            message=status.message,
            values=key_values(status.values),
        )

    return DiagnosticArray(header=header, status=list(map(made, (alert.summary, *alert.hazards))))
