"""The node's subscriptions: the camera, counted and watched for silence, and all that the hazard stage hears beside."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from nav_msgs.msg import Odometry
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from stereo_msgs.msg import DisparityImage

from densehybrid_ros.errors import shown
from densehybrid_ros.nodes.frame import CameraFrame
from densehybrid_ros.nodes.messages import is_installed, message_class
from densehybrid_ros.nodes.statistics import FrameStatistics, SequenceGaps
from densehybrid_ros.perception.inputs import Inputs
from densehybrid_ros.perception.settings import Settings

_MESSAGE_TYPES = {"raw": Image, "compressed": CompressedImage}
_TF_MESSAGE = "tf2_msgs/msg/TFMessage"
_TF_DEPTH = 100


class CameraTopic:
    """The camera's subscription, from opening to closing."""

    def __init__(
        self,
        node: Node,
        settings: Settings,
        statistics: FrameStatistics,
        put: Callable[[CameraFrame], bool],
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
        self._message_type = f"sensor_msgs/msg/{kind.__name__}"
        self._qos = QoSProfile(depth=1, reliability=ReliabilityPolicy[settings.input_reliability.upper()])
        self._last_frame = time.monotonic()
        self._reported: str | None = None
        # On Humble a callback gets no message information, so there are no sequence numbers.
        callback: Callable[..., None] = self._store_numbered if hasattr(Subscription, "CallbackType") else self._store
        self._subscription = node.create_subscription(kind, "~/input/image", callback, self._qos)

    def close(self) -> None:
        """Leaves the topic."""
        self._node.destroy_subscription(self._subscription)

    @property
    def silence(self) -> float:
        """Seconds since the last frame arrived, or since the subscription began."""
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
        cause = "publishers" if publishers else "nobody"
        if cause != self._reported:
            self._reported = cause
            logger = self._node.get_logger()
            if publishers:
                text = f"no frame on {self._topic} for {silence:.0f} s. " + "; ".join(map(self._describe, publishers))
                logger.warning(f"{text}; this node: {self._message_type}, {describe_qos(self._qos)}")
            else:
                logger.info(f"waiting: nobody publishes {self._topic} yet")
        return silence

    def _store_numbered(self, message: Any, information: dict[str, Any]) -> None:
        missing = self._gaps.missing_before(information.get("publication_sequence_number"))
        if missing and self._node.count_publishers(self._topic) == 1:
            self._statistics.count("missed", missing)
        self._store(message)

    def _store(self, message: Any) -> None:
        self._statistics.count("received")
        self._last_frame = time.monotonic()
        self._reported = None
        if self._put(CameraFrame(message, self._last_frame)):
            self._statistics.count("overtaken")

    def _describe(self, publisher: Any) -> str:
        namespace = publisher.node_namespace.rstrip("/")
        name, kind = shown(f"{namespace}/{publisher.node_name}"), shown(publisher.topic_type)
        text = f"publisher {name}: {kind}"
        text += f", {describe_qos(publisher.qos_profile)}"
        if publisher.topic_type != self._message_type:
            return text + " (another type: check input_transport)"
        compatibility, reason = qos_check_compatible(publisher.qos_profile, self._qos)
        if compatibility == QoSCompatibility.OK:
            return text + " (compatible: frames may be lost on the way, or none is sent)"
        return f"{text} (does not match: {reason.strip().rstrip(';')})"


class SideTopics:
    """The subscriptions beside the camera's: camera_info, disparity, odometry and, with a base_frame, transforms.

    Attributes:
        inputs: What they have heard.
    """

    def __init__(self, node: LifecycleNode, settings: Settings) -> None:
        """Subscribes."""
        self._node = node
        self.inputs = Inputs()
        best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        images = QoSProfile(depth=1, reliability=ReliabilityPolicy[settings.input_reliability.upper()])
        inputs, subscribe = self.inputs, node.create_subscription
        self._subscriptions: list[Subscription] = [
            subscribe(CameraInfo, "~/input/camera_info", inputs.store_camera_info, best_effort),
            subscribe(DisparityImage, "~/input/disparity", inputs.store_disparity, images),
            subscribe(Odometry, "~/input/odometry", self._store_odometry, best_effort),
        ]
        if not settings.base_frame:
            return
        if not is_installed(_TF_MESSAGE):
            node.get_logger().error("base_frame: tf2_msgs is not installed, so transforms can't be heard")
            return
        kind = message_class(_TF_MESSAGE)
        for topic, durability in (("/tf", DurabilityPolicy.VOLATILE), ("/tf_static", DurabilityPolicy.TRANSIENT_LOCAL)):
            qos = QoSProfile(depth=_TF_DEPTH, reliability=ReliabilityPolicy.RELIABLE, durability=durability)
            self._subscriptions.append(subscribe(kind, topic, inputs.store_transforms, qos))

    def close(self) -> None:
        """Leaves all topics."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def _store_odometry(self, message: Odometry) -> None:
        self.inputs.store_odometry(message, time.monotonic())


def describe_qos(qos: QoSProfile) -> str:
    """Returns the policies that decide whether two sides match."""
    return f"{qos.reliability.name.lower()}, {qos.durability.name.lower()}, depth {qos.depth}"
