"""The lifecycle node ``perception``: camera messages in; masks, score, overlay and hazards out."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from densehybrid_ros.errors import InputError
from densehybrid_ros.hazards.drivable import unknown_classes
from densehybrid_ros.nodes import alert_watch
from densehybrid_ros.nodes.alert_watch import AlertTopic
from densehybrid_ros.nodes.diagnostics import PERIOD, DiagnosticsReport, NodeState
from densehybrid_ros.nodes.frame_processor import FrameProcessor, IncomingFrame, Model
from densehybrid_ros.nodes.frame_slot import FrameSlot
from densehybrid_ros.nodes.hazard_inputs import HazardInputs
from densehybrid_ros.nodes.hazard_stage import HazardStage
from densehybrid_ros.nodes.image_input import ImageInput
from densehybrid_ros.nodes.outputs import Outputs
from densehybrid_ros.nodes.parameter_server import ParameterServer
from densehybrid_ros.nodes.pausing import offer_pausing
from densehybrid_ros.nodes.runner import run
from densehybrid_ros.nodes.statistics import FrameStatistics
from densehybrid_ros.nodes.worker import Worker
from densehybrid_ros.perception.settings import Settings

if TYPE_CHECKING:
    from densehybrid_ros.inference import Segmenter
    from densehybrid_ros.inference.engine_upgrade import EngineUpgrade

_STEADY = Clock(clock_type=ClockType.STEADY_TIME)
"""For timers: a paused simulation clock must silence neither diagnostics nor alert."""


class PerceptionNode(LifecycleNode):
    """Open-set perception as a lifecycle node.

    Configuring loads the model, activating subscribes to the camera and starts the worker. The executor's thread only
    stores the newest frame; the worker's thread reads it, runs the model and publishes.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("perception", **options)
        self._server = ParameterServer(self)
        self._statistics = FrameStatistics()
        self._segmenter: Segmenter | None = None
        self._upgrade: EngineUpgrade | None = None
        self._outputs: Outputs | None = None
        self._hazards: HazardStage | None = None
        self._hazard_inputs: HazardInputs | None = None
        self._input: ImageInput | None = None
        self._slot: FrameSlot[IncomingFrame] = FrameSlot()
        self._worker: Worker[IncomingFrame] | None = None
        self._silence: float | None = None
        self._paused = False
        self._state = "unconfigured"
        self._topic = self.resolve_topic_name("~/input/image")
        self._report = DiagnosticsReport(self.get_name(), self._statistics)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._alert = AlertTopic(self)
        offer_pausing(self, self._pause, self._resume)
        self.create_timer(PERIOD, self._report_diagnostics, clock=_STEADY)
        self.create_timer(alert_watch.PERIOD, self._watch_alert, clock=_STEADY)

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
            self._segmenter = self._load(self._server.settings)
            self._outputs = Outputs(self, self._alert)
        except Exception as error:  # rclpy would swallow it without a word
            self.get_logger().error(str(error) if isinstance(error, InputError) else traceback.format_exc())
            self._release()
            return TransitionCallbackReturn.FAILURE
        self._state = "inactive"
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribes to the camera and all else, and starts the worker."""
        assert self._segmenter is not None
        assert self._outputs is not None
        result = super().on_activate(state)
        settings, card = self._server.settings, self._segmenter.card
        self._hazard_inputs = HazardInputs(self, settings)
        self._hazards = HazardStage(card, self._hazard_inputs.at, self._statistics)
        if settings.build_engine:
            self._upgrade = _engine_upgrade(self._segmenter, self.get_logger())
        model = Model(self._segmenter, self._upgrade)
        process = FrameProcessor(
            self, model, self._hazards, self._outputs, self._alert, self._statistics, self._current_settings
        )
        self._slot = FrameSlot()
        self._worker = Worker(self._slot, process)
        self._outputs.offer_labels(card.classes)
        self._state = "active"
        self._open_input()
        self.get_logger().info(f"active: {self._segmenter.describe()} ({self._segmenter.reason}), input {self._topic}")
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
        self._close_input()
        self._paused = False
        if self._hazard_inputs is not None:
            self._hazard_inputs.close()
        self._hazard_inputs = None
        if self._slot.close():
            self._statistics.count("overtaken")
        ended = self._worker is None or self._worker.join(timeout)
        if self._upgrade is not None:
            self._upgrade.close()
        self._upgrade = None
        if self._server.settings.publish_hazard_alert:
            self._alert.say_stale("stopped", "the node takes no more frames")
        return ended

    def _release(self) -> None:
        if self._outputs is not None:
            self._outputs.destroy()
        self._segmenter = self._outputs = self._hazards = self._worker = None

    def _load(self, settings: Settings) -> Segmenter:
        # PyTorch takes seconds to import; the node is in the graph and answers signals before.
        from densehybrid_ros.inference import Segmenter
        from densehybrid_ros.networks import load_model

        self.get_logger().info(
            f"loading model {settings.model!r}, backend {settings.backend}, device {settings.device}"
        )
        segmenter = Segmenter(
            load_model(settings.model),
            settings.backend,
            settings.device,
            size=(settings.input_size[0], settings.input_size[1]) if all(settings.input_size) else None,
            input_policy=settings.input_policy,
            precision=None if settings.precision == "auto" else settings.precision,
            cache=Path(settings.engine_cache).expanduser() if settings.engine_cache else None,
            # A node that compiles before its first frame looks dead; it does so only where that was asked for.
            at_once=settings.build_engine or settings.backend == "auto",
            warn=self.get_logger().warning,
        )
        if settings.anomaly_threshold is None:
            self._server.set_threshold_if_unset(segmenter.card.threshold(settings.threshold_name or None))
        for name in unknown_classes(segmenter.card.classes, settings.drivable_classes):
            self.get_logger().warning(f"drivable_classes: {settings.model} has no class {name!r}; check its spelling")
        height, width = settings.warm_up_size
        if height and width:
            self.get_logger().info(f"warming up at {width}x{height}; a first compilation can take minutes")
            segmenter.warm_up(height, width)
        return segmenter

    @property
    def _label(self) -> str:
        return "paused" if self._paused else self._state

    def _current_settings(self) -> Settings:
        return self._server.settings

    def _open_input(self) -> None:
        self._input = ImageInput(self, self._server.settings, self._statistics, self._slot.put)
        self._silence = None
        self._alert.begin()

    def _close_input(self) -> None:
        if self._input is not None:
            self._input.close()
        self._input = self._silence = None

    def _pause(self) -> str:
        if self._state != "active":
            return f"the node is {self._state}"
        self._close_input()
        self._paused = True
        return ""

    def _resume(self) -> str:
        if self._paused and self._hazards is not None:
            self._hazards.reset()
            self._paused = False
            self._open_input()
        return "" if self._state == "active" else f"the node is {self._state}"

    def _report_diagnostics(self) -> None:
        settings = self._server.settings
        self._silence = self._input.silence(settings.source_timeout) if self._input is not None else None
        model = self._segmenter.describe() if self._segmenter is not None else ""
        reason = self._segmenter.reason if self._segmenter is not None else ""
        build = self._upgrade.progress() if self._upgrade is not None else ""
        report = NodeState(self._label, model, self._topic, settings.anomaly_threshold, self._silence, reason, build)
        self._diagnostics.publish(self._report.make(report, self.get_clock().now().to_msg()))

    def _watch_alert(self) -> None:
        """Says on the alert's topic that nothing is known, where that is so; it must never read as all clear."""
        settings = self._server.settings
        if not settings.publish_hazard_alert:
            return
        if self._input is None:
            self._alert.say_stale(self._label, f"the node is {self._label}")
        else:
            silence, reasons = self._input.seconds_since_frame, self._statistics.reasons()
            self._alert.say_stale_after(settings.source_timeout, self._topic, silence, reasons)


def _engine_upgrade(segmenter: Segmenter, logger: Any) -> EngineUpgrade:
    from densehybrid_ros.inference.engine_upgrade import EngineUpgrade

    return EngineUpgrade(segmenter, logger.info, logger.error)


def main(arguments: list[str] | None = None) -> int:
    """Runs the node; the entry point ``perception_node``."""
    return run(PerceptionNode, arguments)


if __name__ == "__main__":
    sys.exit(main())
