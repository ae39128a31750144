# SPDX-License-Identifier: Apache-2.0
"""What is known beside the picture: the newest camera_info, disparities, odometry and transforms, asked for at a frame.

The node stores what its subscriptions hear, a replay what a recording holds; the messages are those of rclpy or of
rosbags, which have the same fields.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.errors import InputError
from densehybrid_ros.perception.geometry import (
    Disparity,
    Mount,
    TransformTree,
    camera_from_info,
    disparity_of,
    mount_from_parameters,
    mount_from_transforms,
    nanoseconds,
)
from densehybrid_ros.perception.images import StillPicture
from densehybrid_ros.perception.perception import Frame
from densehybrid_ros.perception.settings import Settings

T = TypeVar("T")
_KEPT = 4  # disparity images
_NEARLY_BLACK = 16  # of 255; no value of 12 bits is brighter where 16 are expected


class Inputs:
    """Keeps the newest messages. One thread stores, another one asks.

    Attributes:
        transforms: Where the frames of the vehicle lie to each other.
    """

    def __init__(self, transforms: TransformTree | None = None) -> None:
        """Begins without a message; cameras of one vehicle share ``transforms``."""
        self.transforms = transforms or TransformTree()
        self._camera_info: Any = None
        self._disparities: deque[Any] = deque(maxlen=_KEPT)
        self._odometry: tuple[float, float] | None = None
        self._still = StillPicture()

    def store(self, kind: str, message: Any, now: float) -> None:
        """Keeps a message of any of these kinds.

        Args:
            kind: Its type, such as ``sensor_msgs/msg/CameraInfo``; others are passed by.
            message: The message.
            now: Seconds of the clock that ``frame`` is asked by.
        """
        if kind == "sensor_msgs/msg/CameraInfo":
            self.store_camera_info(message)
        elif kind == "stereo_msgs/msg/DisparityImage":
            self.store_disparity(message)
        elif kind == "nav_msgs/msg/Odometry":
            self.store_odometry(message, now)
        elif kind == "tf2_msgs/msg/TFMessage":
            self.store_transforms(message)

    def base_frame(self, optical_frame: str) -> str:
        """Guesses the frame on the road below the camera; empty where no transform tells."""
        return self.transforms.base_of(self._optical(optical_frame))

    def store_camera_info(self, message: Any) -> None:
        """Keeps a sensor_msgs/CameraInfo."""
        self._camera_info = message

    def store_disparity(self, message: Any) -> None:
        """Keeps a stereo_msgs/DisparityImage; the oldest of a few is forgotten."""
        self._disparities.append(message)

    def store_odometry(self, message: Any, now: float) -> None:
        """Keeps the speed ahead of a nav_msgs/Odometry (x of the twist, which is given in the vehicle's own frame)."""
        self._odometry = float(message.twist.twist.linear.x), now

    def store_transforms(self, message: Any) -> None:
        """Keeps the transforms of a tf2_msgs/TFMessage."""
        for item in message.transforms:
            move, turn = item.transform.translation, item.transform.rotation
            self.transforms.store(
                item.header.frame_id, item.child_frame_id, (move.x, move.y, move.z), (turn.x, turn.y, turn.z, turn.w)
            )

    def frame(self, image: np.ndarray, header: Any, settings: Settings, now: float, deep: bool = False) -> Frame:
        """Puts a picture together with what is known at it; it raises nothing.

        Args:
            image: uint8 RGB [H, W, 3].
            header: Of the picture's message.
            settings: The parameters.
            now: Seconds of the clock that odometry was stored by.
            deep: Whether the picture's message has 16 bits a value.
        """
        still = self._still.problem(image, now, settings.source_timeout)
        problems = [still] if still else []
        if deep and image[::8, ::8].max() < _NEARLY_BLACK:
            bits = f"{settings.input_bits} bits count; if the camera gives fewer, set input_bits"
            problems.append(f"input_bits: the picture is nearly black ({bits})")
        size, stamp = (image.shape[0], image.shape[1]), nanoseconds(header.stamp)
        message, disparity = self._camera_info, None
        mount = self._mount(header.frame_id, settings, problems)
        if self._disparities:
            tolerance = settings.disparity_tolerance
            disparity = _tried("disparity", problems, lambda: self._disparity(stamp, tolerance, size))
        camera = None
        if message is not None:
            camera = _tried("camera_info", problems, lambda: _camera(message, header.frame_id, size))
            if camera and not mount and not disparity:
                problems.append("mount: no camera_height, and none from base_frame: distances are unknown")
        elif mount or disparity:
            problems.append("camera_info: none has arrived")
        speed = _tried("odometry", problems, lambda: self._speed(now, settings.source_timeout))
        return Frame(
            image=image,
            stamp=stamp * 1e-9,
            frame_id=header.frame_id,
            camera=camera,
            mount=mount,
            disparity=disparity,
            ego_speed=settings.ego_speed or None if speed is None else speed,
            problems=tuple(problems),
        )

    def _mount(self, optical_frame: str, settings: Settings, problems: list[str]) -> Mount | None:
        mount, base = None, settings.base_frame
        if base:
            frame = self._optical(optical_frame)
            mount = _tried("tf", problems, lambda: mount_from_transforms(self.transforms, base, frame))
        if mount is not None:
            return mount
        return _tried("mount", problems, lambda: mount_from_parameters(settings.camera_height, settings.camera_pitch))

    def _optical(self, frame: str) -> str:
        """The frame of a picture, or of its camera_info where the picture does not name one that is known."""
        if self._camera_info is None or self.transforms.knows(frame):
            return frame
        return str(self._camera_info.header.frame_id)

    def _disparity(self, stamp: int, tolerance: float, size: tuple[int, int]) -> Disparity:
        """Those whose stamp is nearest to a frame's (nanoseconds), within ``tolerance`` seconds."""
        offsets = [(nanoseconds(message.header.stamp) - stamp, message) for message in list(self._disparities)]
        offset, message = min(offsets, key=lambda item: abs(item[0]))
        if abs(offset) > tolerance * 1e9:
            raise InputError(f"none within {tolerance:g} s of the frame (the nearest is off by {offset * 1e-9:.3f} s)")
        return disparity_of(message, size)

    def _speed(self, now: float, timeout: float) -> float | None:
        if self._odometry is None:
            return None
        speed, stored = self._odometry
        if now - stored > timeout:
            raise InputError(f"nothing for {now - stored:.1f} s")
        if not math.isfinite(speed):
            raise InputError("the speed ahead is not finite")
        return speed


def _camera(message: Any, frame_id: str, size: tuple[int, int]) -> Camera | None:
    named = message.header.frame_id
    if named and frame_id and named.strip("/") != frame_id.strip("/"):
        raise InputError(f"it is of frame {named!r}, the image of {frame_id!r}")
    return camera_from_info(message, size)


def _tried(name: str, problems: list[str], call: Callable[[], T]) -> T | None:
    """Returns what ``call`` does; where that raises, a problem of this name is added and None returned."""
    try:
        return call()
    except InputError as error:
        problems.append(f"{name}: {error}")
    return None
