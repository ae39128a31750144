# SPDX-License-Identifier: Apache-2.0
"""Messages beside the picture as a recording holds them, for tests without ROS."""

from __future__ import annotations

from typing import Any

import numpy as np

from densehybrid_ros.bags.messages import camera_info_message, disparity_message, header_message, make, odometry_message
from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.perception.geometry import Transform

CAMERA = Camera(320, 160, 353.0, 353.0, 159.5, 79.5, baseline=0.21, pitch=0.04, mount_height=1.22)
SIZE = (CAMERA.height, CAMERA.width)


def header(milliseconds: int = 0, frame_id: str = "optical") -> Any:
    return header_message(5 * 10**9 + milliseconds * 10**6, frame_id)


def changed(message: Any, changes: dict[str, Any]) -> Any:
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def camera_info(camera: Camera = CAMERA, **changes: Any) -> Any:
    return changed(camera_info_message(camera, header()), changes)


def region(left: int, top: int, width: int, height: int) -> Any:
    sides = {"x_offset": left, "y_offset": top, "width": width, "height": height}
    return make("sensor_msgs/msg/RegionOfInterest", do_rectify=False, **sides)


def disparity_image(
    pixels: Any, milliseconds: int = 0, focal: float = 353.0, baseline: float = 0.21, **more: Any
) -> Any:
    message = disparity_message(np.asarray(pixels, np.float32), CAMERA, header(milliseconds))
    return changed(message, {"f": focal, "t": baseline, "min_disparity": 0.5, "max_disparity": 200.0, **more})


def odometry(speed: float) -> Any:
    return odometry_message(speed, header(), "base_link")


def transform(parent: str, child: str, move: Any, quaternion: Any) -> Any:
    x, y, z, w = map(float, quaternion)
    return make(
        "geometry_msgs/msg/TransformStamped",
        header=header(frame_id=parent),
        child_frame_id=child,
        transform=make(
            "geometry_msgs/msg/Transform",
            translation=make("geometry_msgs/msg/Vector3", **dict(zip("xyz", map(float, move), strict=True))),
            rotation=make("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w),
        ),
    )


def transforms(*items: Any) -> Any:
    return make("tf2_msgs/msg/TFMessage", transforms=list(items))


def optical(pitch: float = 0.0) -> Any:
    """Quaternion of base <- optical, for a camera that looks along the road."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(Transform.of_mount(0.0, pitch).rotation).as_quat()
