# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node ``perception``: messages of cameras in; masks, score, overlay and hazards out."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.utilities import get_rmw_implementation_identifier
from std_srvs.srv import Trigger

from densehybrid_ros.errors import ComputationError, InputError
from densehybrid_ros.nodes.bond import Bond
from densehybrid_ros.nodes.camera import CameraChannel
from densehybrid_ros.nodes.diagnostics import PERIOD, Throttle
from densehybrid_ros.nodes.inputs import SideTopics
from densehybrid_ros.nodes.parameter_server import ParameterServer
from densehybrid_ros.nodes.runner import run
from densehybrid_ros.nodes.worker import Worker
from densehybrid_ros.perception.perception import open_segmenter
from densehybrid_ros.perception.settings import Settings
from densehybrid_ros.shared_memory import missing_segment

if TYPE_CHECKING:
    from densehybrid_ros.inference import Segmenter
    from densehybrid_ros.inference.background_build import EngineUpgrade

_INPUTS = ("image", "camera_info", "disparity", "odometry")
_FOLLOW_PERIOD = 0.2  # seconds between two looks at the type of the camera's topic
_STEADY = Clock(clock_type=ClockType.STEADY_TIME)
"""For the timer: a paused simulation clock must not silence the diagnostics."""


class PerceptionNode(LifecycleNode):
    """Open-set perception as a lifecycle node.

    Configuring loads the model, activating subscribes to the cameras and starts the worker. The executor's thread only
    stores the newest frames; the worker's thread reads them, runs the model and publishes.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("perception", **options)
        self._server = ParameterServer(self)
        self._segmenter: Segmenter | None = None
        self._upgrade: EngineUpgrade | None = None
        self._side: SideTopics | None = None
        self._worker: Worker | None = None
        self._paused = False
        self._state = "unconfigured"
        # Fast DDS makes it with the first node of a process.
        self._transport = missing_segment() if "fastrtps" in get_rmw_implementation_identifier() else ""
        if self._transport:
            self.get_logger().warning(self._transport)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._cameras = [
            CameraChannel(self, number, name, self._settings, lambda: self._label)
            for number, name in enumerate(self._settings().cameras or ("",))
        ]
        self._bond = Bond(self, _STEADY)
        for name, action in (("pause", self._pause), ("resume", self._resume)):
            self.create_service(Trigger, f"~/{name}", _answer(action))
        self.create_timer(PERIOD, self._report_diagnostics, clock=_STEADY)
        for camera in self._cameras:
            self.create_timer(_FOLLOW_PERIOD, camera.follow, clock=_STEADY)

    def start(self) -> bool:
        """Configures and activates the node if the parameter ``autostart`` says so; returns whether that went well."""
        if not self._settings().autostart:
            self.get_logger().info("unconfigured: autostart is off, so a lifecycle manager has to start this node")
            return True
        succeeded = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == succeeded and self.trigger_activate() == succeeded

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads the model and creates the publishers."""
        self._state = "configuring"
        try:
            self._segmenter = self._load(self._settings())
            for camera in self._cameras:
                camera.configure(self._segmenter)
        except Exception as error:  # rclpy would swallow it without a word
            known = isinstance(error, (ComputationError, InputError))
            self.get_logger().error(str(error) if known else traceback.format_exc())
            self._release("unconfigured")
            return TransitionCallbackReturn.FAILURE
        self._state = "inactive"
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribes to the cameras and all else, and starts the worker."""
        assert self._segmenter is not None
        result = super().on_activate(state)
        segmenter = self._segmenter
        self._side = SideTopics(self, self._settings(), [camera.prefix for camera in self._cameras])
        for camera, inputs in zip(self._cameras, self._side.inputs, strict=True):
            camera.begin(inputs)
        if self._settings().build_engine:
            from densehybrid_ros.inference.background_build import EngineUpgrade

            self._upgrade = EngineUpgrade(segmenter, self.get_logger().info, self.get_logger().error)
        self._worker = Worker(self, self._settings, self._cameras, self._upgrade)
        self._worker.start()
        self._state = "active"
        self._open_cameras()
        self._bond.begin()
        topics = ", ".join(camera.topic for camera in self._cameras)
        self.get_logger().info(f"active: {segmenter.describe()} ({segmenter.reason}), input {topics}")
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Leaves the cameras' topics, finishes the frames in work and stops the worker."""
        self.stop(timeout=None)
        self._state = "inactive"
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees the model and removes the publishers."""
        self._release("unconfigured")
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Does what deactivating and cleaning up do, from any state."""
        self.stop(timeout=None)
        self._release("finalized")
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Goes back to unconfigured after a transition that raised."""
        self.get_logger().error(f"a transition from {state.label} failed; back to unconfigured")
        self.stop(timeout=None)
        self._release("unconfigured")
        return super().on_error(state)

    def stop(self, timeout: float | None) -> bool:
        """Takes no more frames in and waits for those in work, ``timeout`` seconds at most; None: as long as it takes.

        Returns:
            Whether the worker has ended.
        """
        self._bond.end()
        for camera in self._cameras:
            camera.close()
        self._paused = False
        if self._side is not None:
            self._side.close()
        self._side = None
        for number in self._worker.slots.close() if self._worker is not None else ():
            self._cameras[number].statistics.count("overtaken")
        ended = self._worker is None or self._worker.join(timeout)
        if self._upgrade is not None:
            self._upgrade.close()
        self._upgrade = None
        for camera in self._cameras:
            camera.alert.say_stale("stopped", "the node takes no more frames")
        return ended

    def destroy_node(self) -> None:
        """Ends the watch of the alerts, then removes the node."""
        for camera in self._cameras:
            camera.alert.close()
        super().destroy_node()

    def _release(self, state: str) -> None:
        for camera in self._cameras:
            camera.release()
        self._segmenter = self._worker = None
        self._state = state

    def _load(self, settings: Settings) -> Segmenter:
        logger = self.get_logger()
        logger.info(f"loading model {settings.model!r}, backend {settings.backend}, device {settings.device}")
        segmenter = open_segmenter(settings, Throttle(logger.warning))
        self._server.take_card(segmenter.card)
        width, height = settings.warm_up_size
        if height and width:
            logger.info(f"warming up at {width}x{height}; a first compilation can take minutes")
        segmenter.warm_up(height, width, len(self._cameras))
        return segmenter

    @property
    def _label(self) -> str:
        return "paused" if self._paused else self._state

    def _settings(self) -> Settings:
        return self._server.settings

    def _open_cameras(self) -> None:
        assert self._worker is not None
        for camera in self._cameras:
            camera.open(partial(self._worker.slots.put, camera.number))

    def _pause(self) -> str:
        if self._state != "active":
            return f"the node is {self._state}"
        for camera in self._cameras:
            camera.close()
        self._paused = True
        return ""

    def _resume(self) -> str:
        if self._paused:
            for camera in self._cameras:
                camera.perception.reset()
            self._paused = False
            self._open_cameras()
        return "" if self._state == "active" else f"the node is {self._state}"

    def _report_diagnostics(self) -> None:
        segmenter, threshold = self._segmenter, self._settings().anomaly_threshold
        known: dict[str, Any] = {"lifecycle_state": self._label, "model": "not loaded"}
        if segmenter is not None:
            known |= {"model": segmenter.describe(), "backend_reason": segmenter.reason}
        if self._upgrade is not None and (progress := self._upgrade.progress()):
            known["engine_build"] = progress
        if self._transport:
            known["transport"] = self._transport
        known["anomaly_threshold"] = "unset" if threshold is None else threshold
        for camera in self._cameras:
            self._diagnostics.publish(camera.report(known))


def _answer(action: Callable[[], str]) -> Callable[[Any, Any], Any]:
    """Makes the callback of a Trigger service; ``action`` returns why it can't be done, or an empty text."""

    def answer(_: Any, response: Any) -> Any:
        problem = action()
        response.success, response.message = not problem, problem
        return response

    return answer


def main(arguments: list[str] | None = None) -> int:
    """Runs the node; a process begins in ``densehybrid_ros.nodes.__main__``."""
    return run(PerceptionNode, with_input_names(sys.argv if arguments is None else arguments))


def with_input_names(arguments: Sequence[str]) -> list[str]:
    """Makes ``-r image:=/x`` mean ``-r ~/input/image:=/x``; ROS drops it without a word, a shell expands the ``~``."""
    return [
        f"~/input/{word}" if before in ("-r", "--remap") and word.partition(":=")[0] in _INPUTS else word
        for before, word in zip(["", *arguments], arguments, strict=False)
    ]
