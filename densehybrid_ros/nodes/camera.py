# SPDX-License-Identifier: Apache-2.0
"""All that belongs to one camera of the node: its topics, its alert, its counts and its tracks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.lifecycle import LifecycleNode

from densehybrid_ros.nodes.alert_topic import AlertTopic
from densehybrid_ros.nodes.diagnostics import DiagnosticsReport, FrameStatistics, Throttle
from densehybrid_ros.nodes.inputs import CameraFrame, CameraTopic
from densehybrid_ros.nodes.outputs import Outputs
from densehybrid_ros.perception.inputs import Inputs
from densehybrid_ros.perception.perception import Perception
from densehybrid_ros.perception.settings import Settings

if TYPE_CHECKING:
    # PyTorch is imported when the node configures, not before.
    from densehybrid_ros.inference import Segmenter

_ANOTHER_CLOCK = 3600.0  # seconds of age from which a stamp can't be of this clock


class CameraChannel:
    """One camera from its first alert to its last one; the node's states create and remove its parts.

    Attributes:
        number: Of the camera, from 0 on.
        prefix: Of its topics: ``~``, or ``~/NAME`` where the camera has a name.
        topic: That its pictures come on.
        inputs: What is known beside its pictures.
        age: How old its frames are.
        warn, error: Take what is to be logged about it.
        perception: What judges its frames, with their tracks; there while the node is configured.
        outputs: The publishers of masks and hazards; there as long.
    """

    perception: Perception
    outputs: Outputs

    def __init__(
        self, node: LifecycleNode, number: int, name: str, settings: Callable[[], Settings], label: Callable[[], str]
    ) -> None:
        """Creates what is there in every state; ``settings`` and ``label`` return parameters and state of a moment."""
        self.number, self.prefix = number, f"~/{name}" if name else "~"
        self._node, self._settings, self._label = node, settings, label
        self.topic = node.resolve_topic_name(f"{self.prefix}/input/image")
        self.statistics = FrameStatistics(lambda: settings().source_timeout)
        self.inputs, self.age = Inputs(), StampAge()
        # Each in a place of its own, since rclpy lets one place in the code log at one severity.
        self.warn = Throttle(lambda text: node.get_logger().warning(text))
        self.error = Throttle(lambda text: node.get_logger().error(text))
        self._pictures: CameraTopic | None = None
        full_name = self.prefix.replace("~", node.get_fully_qualified_name())
        self._report = DiagnosticsReport(full_name, self.statistics)
        self.alert = AlertTopic(node, settings, self._watch, self.prefix)

    def configure(self, segmenter: Segmenter) -> None:
        """Begins without a track, and creates the publishers."""
        self.perception = Perception(segmenter, self._settings(), self.number)
        self.outputs = Outputs(self._node, self.prefix)

    def release(self) -> None:
        """Removes the publishers and lets the model go, where they are there."""
        if hasattr(self, "outputs"):
            self.outputs.destroy()
            del self.outputs
        if hasattr(self, "perception"):
            del self.perception

    def begin(self, inputs: Inputs) -> None:
        """Starts over with tracks and stamps, as when the node is activated."""
        self.inputs, self.age = inputs, StampAge()
        self.perception.reset()
        self.outputs.offer_labels(self.perception.segmenter.card.classes)
        self.outputs.offer_scale(self._settings())

    def open(self, put: Callable[[CameraFrame], bool]) -> None:
        """Subscribes to the pictures; ``put`` stores a frame and returns whether one was lost by it."""
        topic = f"{self.prefix}/input/image"
        self._pictures = CameraTopic(self._node, self._settings(), self.statistics, put, topic)
        self.alert.begin()

    def close(self) -> None:
        """Leaves the topic of the pictures."""
        if self._pictures is not None:
            self._pictures.close()
        self._pictures = None

    def follow(self) -> None:
        """Goes over to what the publishers of the pictures send."""
        if self._pictures is not None:
            self._pictures.follow()

    def report(self, known: Mapping[str, Any]) -> DiagnosticArray:
        """Returns what /diagnostics say of the camera now; ``known`` is what the node itself tells."""
        silence = self._pictures.check(self._settings().source_timeout) if self._pictures is not None else None
        return self._report.make(known, self.topic, silence, self._node.get_clock().now().to_msg())

    def _watch(self) -> None:
        """Says on the alert's topic that nothing is known, where that is so; it must never read as all clear."""
        pictures, label = self._pictures, self._label()
        if pictures is None:
            what = "loading the model" if label == "configuring" else label
            self.alert.say_stale(label, f"the node is {what}")
        else:
            self.alert.watch(pictures.silence, self.statistics.reasons())


class StampAge:
    """Compares the stamps of one camera with the node's clock: old pictures must not read as all clear."""

    def __init__(self) -> None:
        self._last = 0
        self._offset = 0.0

    def problem(self, stamp: int, now: int, limit: float) -> str:
        """Says why a frame is too old or too new, or nothing.

        A stamp an hour or more away from the clock is of another one, such as that of a recording. Then its distance
        to the clock may not change by more than the limit. It is taken again when stamps jump back, as in a loop. A
        stamp of zero says that there is none.

        Args:
            stamp: Of the frame, nanoseconds.
            now: Of the node's clock, nanoseconds.
            limit: Parameter ``max_age``, seconds; 0: any age will do.
        """
        age = (now - stamp) * 1e-9
        if abs(age) < _ANOTHER_CLOCK:
            self._offset = 0.0
        elif stamp < self._last or self._last == 0:
            self._offset = age
        self._last = stamp
        drift = age - self._offset
        if stamp == 0 or limit == 0 or abs(drift) <= limit:
            return ""
        side = "behind" if drift > 0 else "ahead of"
        if not self._offset:
            return f"the frame's stamp is {abs(drift):.2f} s {side} the clock (max_age {limit:g} s)"
        text = f"the frames' stamps run {abs(drift):.2f} s {side} the clock since the first one (max_age {limit:g} s)"
        return f"{text}, or that is another clock: set use_sim_time and play with --clock, or max_age 0"
