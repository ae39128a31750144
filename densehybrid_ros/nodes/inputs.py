# SPDX-License-Identifier: Apache-2.0
"""The node's subscriptions: the camera, counted and watched for silence, and all that the hazard stage hears beside."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo
from stereo_msgs.msg import DisparityImage

from densehybrid_ros.errors import InputError, shown
from densehybrid_ros.nodes.diagnostics import SECONDS_BETWEEN_WARNINGS, FrameStatistics
from densehybrid_ros.nodes.messages import OVERRIDABLE, is_installed, message_class, qos, read_message
from densehybrid_ros.perception.geometry import TransformTree
from densehybrid_ros.perception.inputs import Inputs
from densehybrid_ros.perception.overlay import frame_overlay
from densehybrid_ros.perception.perception import Perceived
from densehybrid_ros.perception.settings import Settings

_TRANSPORTS = {"raw": "sensor_msgs/msg/Image", "compressed": "sensor_msgs/msg/CompressedImage"}
"""``input_transport`` -> message type; where a topic has both, the first counts."""
_TF_MESSAGE = "tf2_msgs/msg/TFMessage"
_TF_DEPTH = 100
_LARGEST_GAP = 1000
_DEFAULTS = Settings()


@dataclass(eq=False)
class CameraFrame:
    """One camera frame, from its subscription to the publishing of what is made of it.

    Attributes:
        message: ``sensor_msgs/Image`` or ``CompressedImage``, or a view of its bytes.
        arrival: When it arrived, seconds of ``time.monotonic()``.
        settings: The parameters that it is processed with.
        is_answered: Whether its alert is out.
        perceived: What was made of it; there once the worker has come so far.
    """

    message: Any
    arrival: float
    settings: Settings = _DEFAULTS
    is_answered: bool = False
    perceived: Perceived = field(init=False, repr=False)

    @property
    def header(self) -> Any:
        """The camera's header, which all outputs carry."""
        return self.message.header

    @cached_property
    def overlay(self) -> np.ndarray:
        """The picture for people, uint8 RGB [H, W, 3]; made once, for all who want it."""
        return frame_overlay(self.perceived, self.settings.overlay_opacity)


class CameraTopic:
    """The camera's subscription, from opening to closing."""

    def __init__(
        self,
        node: Node,
        settings: Settings,
        statistics: FrameStatistics,
        put: Callable[[CameraFrame], bool],
        topic: str = "~/input/image",
    ) -> None:
        """Subscribes to ``topic``; ``put`` stores a frame and returns whether one was lost by it."""
        self._node, self._statistics, self._put = node, statistics, put
        self._name, self._topic = topic, node.resolve_topic_name(topic)
        self._qos = qos(1, settings.input_reliability == "reliable")
        self._last_frame = time.monotonic()
        self._reported: str | None = None
        self._follows = settings.input_transport == "auto"
        self._open((self._offered() or "raw") if self._follows else settings.input_transport)

    def close(self) -> None:
        """Leaves the topic."""
        self._node.destroy_subscription(self._subscription)

    def follow(self) -> None:
        """Goes over to what the topic's publishers send, where ``input_transport`` is auto and that has changed."""
        offered = self._offered() if self._follows else ""
        if offered not in ("", self._transport):
            self.close()
            self._open(offered)
            self._node.get_logger().info(f"{self._topic} carries {_TRANSPORTS[offered]}")

    @property
    def silence(self) -> float:
        """Seconds since the last frame arrived, or since the subscription began."""
        return time.monotonic() - self._last_frame

    def check(self, timeout: float) -> float | None:
        """Logs once a silence, and again when its cause changes, what is known about it.

        Returns:
            Seconds without a frame if they exceed ``timeout`` seconds, else None.
        """
        silence = self.silence
        if silence <= timeout:
            return None
        publishers = self._node.get_publishers_info_by_topic(self._topic)
        cause = "publishers" if publishers else "nobody"
        if cause != self._reported:
            self._reported = cause
            logger = self._node.get_logger()
            if publishers:
                text = f"no frame on {self._topic} for {silence:.0f} s. " + "; ".join(map(self._describe, publishers))
                logger.warning(f"{text}; this node: {_TRANSPORTS[self._transport]}, {_policies(self._qos)}")
            else:
                logger.info(f"waiting: nobody publishes {self._topic} yet")
        return silence

    def _open(self, transport: str) -> None:
        self._transport = transport
        self._last_number: int | None = None
        # On Humble a callback gets no message information, so there are no sequence numbers.
        callback: Callable[..., None] = self._store_numbered if hasattr(Subscription, "CallbackType") else self._store
        kind = message_class(_TRANSPORTS[transport])
        # As bytes, because making a typed message of a large image takes longer than the model.
        self._subscription = self._node.create_subscription(
            kind, self._name, callback, self._qos, raw=True, qos_overriding_options=OVERRIDABLE
        )

    def _offered(self) -> str:
        """The transport that the topic's publishers have; empty where nobody publishes, or another type."""
        types = {publisher.topic_type for publisher in self._node.get_publishers_info_by_topic(self._topic)}
        return next((name for name, message_type in _TRANSPORTS.items() if message_type in types), "")

    def _store_numbered(self, data: bytes, information: dict[str, Any]) -> None:
        number, last = information.get("publication_sequence_number"), self._last_number
        self._last_number = number
        missing = 0 if number is None or last is None else number - last - 1
        # A number that is not larger, or by far too much, is another publisher's.
        if 0 < missing < _LARGEST_GAP and self._node.count_publishers(self._topic) == 1:
            self._statistics.count("missed", missing)
        self._store(data)

    def _store(self, data: bytes) -> None:
        self._statistics.count("received")
        self._last_frame = time.monotonic()
        self._reported = None
        try:
            message = read_message(_TRANSPORTS[self._transport], data)
        except InputError as error:
            self._statistics.lose("rejected", str(error))
            self._node.get_logger().warning(f"{self._topic}: {error}", throttle_duration_sec=SECONDS_BETWEEN_WARNINGS)
            return
        if self._put(CameraFrame(message, self._last_frame)):
            self._statistics.count("overtaken")

    def _describe(self, publisher: Any) -> str:
        namespace = publisher.node_namespace.rstrip("/")
        name, kind = shown(f"{namespace}/{publisher.node_name}"), shown(publisher.topic_type)
        text = f"publisher {name}: {kind}, {_policies(publisher.qos_profile)}"
        if publisher.topic_type != _TRANSPORTS[self._transport]:
            return text + " (another type: check input_transport)"
        compatibility, reason = qos_check_compatible(publisher.qos_profile, self._qos)
        if compatibility != QoSCompatibility.ERROR:  # a WARNING tells of a policy that only its owner knows
            return text + " (compatible: frames may be lost on the way, or none is sent)"
        return f"{text} (does not match: {reason.strip().rstrip(';')})"


class SideTopics:
    """The subscriptions beside the pictures': of each camera camera_info and disparity, of the vehicle the others.

    Those are odometry and, with a base_frame, transforms.

    Attributes:
        inputs: What they have heard, for each camera.
    """

    def __init__(self, node: LifecycleNode, settings: Settings, prefixes: Sequence[str]) -> None:
        """Subscribes; ``prefixes`` are those of the cameras' topics."""
        self._node = node
        transforms = TransformTree()
        self.inputs = [Inputs(transforms) for _ in prefixes]
        reliable = settings.input_reliability == "reliable"
        self._subscriptions: list[Subscription] = []
        for prefix, inputs in zip(prefixes, self.inputs, strict=True):
            self._subscribe(CameraInfo, f"{prefix}/input/camera_info", inputs.store_camera_info, qos(1, False))
            self._subscribe(DisparityImage, f"{prefix}/input/disparity", inputs.store_disparity, qos(1, reliable))
        self._subscribe(Odometry, "~/input/odometry", self._store_odometry, qos(1, False))
        if not settings.base_frame:
            return
        if not is_installed(_TF_MESSAGE):
            node.get_logger().error("base_frame: tf2_msgs is not installed, so transforms can't be heard")
            return
        kind = message_class(_TF_MESSAGE)
        for topic, latched in (("/tf", False), ("/tf_static", True)):
            self._subscribe(kind, topic, self.inputs[0].store_transforms, qos(_TF_DEPTH, latched=latched))

    def close(self) -> None:
        """Leaves all topics."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def _subscribe(self, kind: type, topic: str, callback: Callable[[Any], None], profile: QoSProfile) -> None:
        self._subscriptions.append(
            self._node.create_subscription(kind, topic, callback, profile, qos_overriding_options=OVERRIDABLE)
        )

    def _store_odometry(self, message: Odometry) -> None:
        for inputs in self.inputs:
            inputs.store_odometry(message, time.monotonic())


def _policies(profile: QoSProfile) -> str:
    """The policies that decide whether two sides match, and the depth where it is known."""
    policies = f"{profile.reliability.name.lower()}, {profile.durability.name.lower()}"
    return f"{policies}, depth {profile.depth}" if profile.depth else policies
