"""The lifecycle node ``perception``: camera messages in; masks, score, overlay and hazard alert out."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from densehybrid_ros.errors import InputError
from densehybrid_ros.nodes.counters import FrameStatistics, SequenceGaps
from densehybrid_ros.nodes.diagnostics import PERIOD, DiagnosticsReport, NodeState
from densehybrid_ros.nodes.frame_processor import FrameProcessor, IncomingFrame
from densehybrid_ros.nodes.frame_slot import FrameSlot
from densehybrid_ros.nodes.input_watch import InputWatch
from densehybrid_ros.nodes.outputs import Outputs
from densehybrid_ros.nodes.parameter_server import ParameterServer
from densehybrid_ros.nodes.parameters import Settings
from densehybrid_ros.nodes.runner import run
from densehybrid_ros.nodes.worker import Worker

if TYPE_CHECKING:
    from densehybrid_ros.inference import Pipeline

_MESSAGE_TYPES = {"raw": Image, "compressed": CompressedImage}


class PerceptionNode(LifecycleNode):
    """Open-set perception as a lifecycle node.

    Configuring loads the model, activating subscribes to the camera and starts the worker. The executor's thread only
    stores the newest frame; the worker's thread reads it, runs the model and publishes.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("perception", **options)
        self._server = ParameterServer(self)
        self._statistics = FrameStatistics()
        self._pipeline: Pipeline | None = None
        self._outputs: Outputs | None = None
        self._subscription: Subscription | None = None
        self._slot: FrameSlot[IncomingFrame] = FrameSlot()
        self._worker: Worker[IncomingFrame] | None = None
        self._watch: InputWatch | None = None
        self._gaps = SequenceGaps()
        self._state = "unconfigured"
        self._topic = self.resolve_topic_name("~/input/image")
        self._report = DiagnosticsReport(self.get_name(), self._statistics)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # Steady: a paused simulation clock must not silence the diagnostics.
        self.create_timer(PERIOD, self._report_diagnostics, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def start(self) -> bool:
        """Configures and activates the node if the parameter ``autostart`` says so; returns whether that went well."""
        if not self._server.settings.autostart:
            self.get_logger().info("unconfigured: autostart is off, so a lifecycle manager has to start this node")
            return True
        succeeded = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == succeeded and self.trigger_activate() == succeeded

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads the model and creates the publishers."""
        try:
            self._pipeline = self._load(self._server.settings)
            self._outputs = Outputs(self)
        except Exception as error:  # rclpy would swallow it without a word
            self.get_logger().error(str(error) if isinstance(error, InputError) else traceback.format_exc())
            self._release()
            return TransitionCallbackReturn.FAILURE
        self._state = "inactive"
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribes to the camera and starts the worker."""
        assert self._pipeline is not None
        assert self._outputs is not None
        result = super().on_activate(state)
        process = FrameProcessor(self, self._pipeline, self._outputs, self._statistics, lambda: self._server.settings)
        self._slot, self._gaps = FrameSlot(), SequenceGaps()
        self._worker = Worker(self._slot, process)
        self._subscribe(self._server.settings)
        self._state = "active"
        self.get_logger().info(f"active: {self._pipeline.describe()}, input {self._topic}")
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Leaves the camera's topic, finishes the frame in work and stops the worker."""
        self.stop(timeout=None)
        self._state = "inactive"
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees the model and removes the publishers."""
        self._release()
        self._state = "unconfigured"
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Does what deactivating and cleaning up do, from any state."""
        self.stop(timeout=None)
        self._release()
        self._state = "finalized"
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Goes back to unconfigured after a transition that raised."""
        self.get_logger().error(f"a transition from {state.label} failed; back to unconfigured")
        self.stop(timeout=None)
        self._release()
        self._state = "unconfigured"
        return super().on_error(state)

    def stop(self, timeout: float | None) -> bool:
        """Takes no more frames in and waits for the one in work.

        Args:
            timeout: Seconds to wait at most; None: as long as it takes.

        Returns:
            Whether the worker has ended.
        """
        if self._subscription is not None:
            self.destroy_subscription(self._subscription)
        self._subscription = self._watch = None
        if self._slot.close():
            self._statistics.count("overtaken")
        return self._worker is None or self._worker.join(timeout)

    def _release(self) -> None:
        if self._outputs is not None:
            self._outputs.destroy()
        self._pipeline = self._outputs = self._worker = None

    def _load(self, settings: Settings) -> Pipeline:
        # PyTorch takes seconds to import; the node is in the graph and answers signals before.
        from densehybrid_ros.inference import Pipeline
        from densehybrid_ros.networks import load_model

        self.get_logger().info(
            f"loading model {settings.model!r}, backend {settings.backend}, device {settings.device}"
        )
        pipeline = Pipeline(load_model(settings.model), settings.backend, settings.device)
        if settings.anomaly_threshold is None:
            self._server.set_threshold_if_unset(pipeline.card.threshold(settings.threshold_name or None))
        height, width = settings.warm_up_size
        if height and width:
            self.get_logger().info(f"warming up at {width}x{height}; a first compilation can take minutes")
            pipeline.warm_up(height, width)
        return pipeline

    def _subscribe(self, settings: Settings) -> None:
        kind = _MESSAGE_TYPES[settings.input_transport]
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy[settings.input_reliability.upper()])
        self._watch = InputWatch(self, self._topic, f"sensor_msgs/msg/{kind.__name__}", qos)
        # On Humble a callback gets no message information, so there are no sequence numbers.
        callback: Callable[..., None] = self._store_numbered if hasattr(Subscription, "CallbackType") else self._store
        self._subscription = self.create_subscription(kind, "~/input/image", callback, qos)

    def _store_numbered(self, message: Any, information: dict[str, Any]) -> None:
        missing = self._gaps.missing_before(information.get("publication_sequence_number"))
        if missing and self.count_publishers(self._topic) == 1:
            self._statistics.count("missed", missing)
        self._store(message)

    def _store(self, message: Any) -> None:
        self._statistics.count("received")
        if self._watch is not None:
            self._watch.frame_arrived()
        if self._slot.put(IncomingFrame(message, time.monotonic())):
            self._statistics.count("overtaken")

    def _report_diagnostics(self) -> None:
        settings = self._server.settings
        silence = self._watch.check(settings.source_timeout) if self._watch is not None else None
        model = self._pipeline.describe() if self._pipeline is not None else ""
        state = NodeState(self._state, model, self._topic, settings.anomaly_threshold, silence)
        self._diagnostics.publish(self._report.make(state, self.get_clock().now().to_msg()))


def main(arguments: list[str] | None = None) -> int:
    """Runs the node; the entry point ``perception_node``."""
    return run(PerceptionNode, arguments)


if __name__ == "__main__":
    sys.exit(main())
