"""All that the hazard stage hears beside the image: camera_info, disparity, odometry and transforms."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header
from stereo_msgs.msg import DisparityImage

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.errors import InputError
from densehybrid_ros.nodes.message_types import is_installed, message_class
from densehybrid_ros.perception.camera_model import (
    Mount,
    camera_from_info,
    mount_from_parameters,
    mount_from_transforms,
)
from densehybrid_ros.perception.disparity import Disparity, DisparityBuffer, nanoseconds
from densehybrid_ros.perception.settings import Settings
from densehybrid_ros.perception.speed import SpeedInput
from densehybrid_ros.perception.transforms import TransformTree

T = TypeVar("T")

_TF_MESSAGE = "tf2_msgs/msg/TFMessage"
_TF_DEPTH = 100


@dataclass(frozen=True)
class Surroundings:
    """What is known about the camera and the vehicle at one frame.

    Attributes:
        camera: The camera; None: unknown.
        mount: Its mount; None: unknown.
        disparity: float32 [H, W] in pixels, 0 where invalid; None: none.
        ego_speed: Speed in m/s; None: unknown.
        problems: What was wrong with an input: "NAME: what"; the input was then not used.
    """

    camera: Camera | None = None
    mount: Mount | None = None
    disparity: np.ndarray | None = None
    ego_speed: float | None = None
    problems: tuple[str, ...] = ()


class HazardInputs:
    """Subscribes to them. The executor's thread stores what arrives, the worker's asks ``at`` for each frame."""

    def __init__(self, node: LifecycleNode, settings: Settings) -> None:
        self._node = node
        self._camera_info: CameraInfo | None = None
        self._disparities = DisparityBuffer()
        self._speed = SpeedInput()
        self._transforms = TransformTree()
        best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        images = QoSProfile(depth=1, reliability=ReliabilityPolicy[settings.input_reliability.upper()])
        self._subscriptions: list[Subscription] = [
            node.create_subscription(CameraInfo, "~/input/camera_info", self._store_camera_info, best_effort),
            node.create_subscription(DisparityImage, "~/input/disparity", self._disparities.add, images),
            node.create_subscription(Odometry, "~/input/odometry", self._speed.add, best_effort),
        ]
        if settings.base_frame and is_installed(_TF_MESSAGE):
            self._subscribe_to_transforms()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Leaves all topics."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def at(self, header: Header, size: tuple[int, int], settings: Settings) -> Surroundings:
        """Returns what is known at a frame; it raises nothing.

        Args:
            header: Of the frame.
            size: (height, width) of the frame in pixels.
            settings: The parameters.
        """
        problems: list[str] = []
        mount = self._mount(header.frame_id, settings, problems)
        disparity: Disparity | None = None
        if self._disparities.is_used:
            stamp, tolerance = nanoseconds(header.stamp), settings.disparity_tolerance
            disparity = _tried("disparity", problems, lambda: self._disparities.at(stamp, tolerance, size))
        camera = self._camera(size, mount, disparity, settings, problems)
        speed = _tried("odometry", problems, lambda: self._speed.speed(settings.source_timeout))
        return Surroundings(
            camera=camera,
            mount=mount,
            disparity=disparity.pixels if disparity and camera else None,
            ego_speed=speed if speed is not None else settings.ego_speed or None,
            problems=tuple(problems),
        )

    def _mount(self, optical_frame: str, settings: Settings, problems: list[str]) -> Mount | None:
        mount = None
        if settings.base_frame:
            tree, base = self._transforms, settings.base_frame
            mount = _tried("tf", problems, lambda: mount_from_transforms(tree, base, optical_frame))
            if mount is None and not is_installed(_TF_MESSAGE):
                problems[-1] += "; tf2_msgs is not installed"
        return mount or mount_from_parameters(settings.camera_height, settings.camera_pitch)

    def _camera(
        self,
        size: tuple[int, int],
        mount: Mount | None,
        disparity: Disparity | None,
        settings: Settings,
        problems: list[str],
    ) -> Camera | None:
        message = self._camera_info
        if message is None:
            if mount or disparity:
                problems.append(f"camera_info: none has arrived on {self._topic('camera_info')}")
            return None
        camera = _tried("camera_info", problems, lambda: camera_from_info(message, size, mount))
        if camera and not mount and not disparity:
            problems.append("mount: no camera_height, and none from base_frame: distances are unknown")
            return None
        if camera is None or disparity is None:
            return camera
        # So that fx * baseline is that of the disparities, even if they were made with another focal length.
        baseline = disparity.baseline * disparity.focal / camera.fx
        return _tried("camera_info", problems, lambda: camera_from_info(message, size, mount, baseline))

    def _topic(self, name: str) -> str:
        return str(self._node.resolve_topic_name(f"~/input/{name}"))

    def _store_camera_info(self, message: CameraInfo) -> None:
        self._camera_info = message

    def _subscribe_to_transforms(self) -> None:
        kind = message_class(_TF_MESSAGE)
        for topic, durability in (("/tf", DurabilityPolicy.VOLATILE), ("/tf_static", DurabilityPolicy.TRANSIENT_LOCAL)):
            qos = QoSProfile(depth=_TF_DEPTH, reliability=ReliabilityPolicy.RELIABLE, durability=durability)
            self._subscriptions.append(self._node.create_subscription(kind, topic, self.store_transforms, qos))

    def store_transforms(self, message: Any) -> None:
        """Takes over the transforms of a tf2_msgs/TFMessage."""
        for item in message.transforms:
            move, turn = item.transform.translation, item.transform.rotation
            self._transforms.store(
                item.header.frame_id, item.child_frame_id, (move.x, move.y, move.z), (turn.x, turn.y, turn.z, turn.w)
            )


def _tried(name: str, problems: list[str], call: Callable[[], T]) -> T | None:
    """Returns what ``call`` does; where that raises, a problem of this name is added and None returned."""
    try:
        return call()
    except InputError as error:
        problems.append(f"{name}: {error}")
    return None
