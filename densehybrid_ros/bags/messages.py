# SPDX-License-Identifier: Apache-2.0
"""Arrays into ROS messages and back, with the message classes of rosbags (no ROS needed)."""

from __future__ import annotations

import math
import struct
from functools import cache
from typing import Any

import cv2
import numpy as np
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from densehybrid_ros.datasets.camera import Camera

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
DISPARITY_IMAGE = "stereo_msgs/msg/DisparityImage"
TF_MESSAGE = "tf2_msgs/msg/TFMessage"
ODOMETRY = "nav_msgs/msg/Odometry"

_UNKNOWN_VARIANCE = 1e6  # m^2 and rad^2 of a pose that the bag does not tell
_SMALLEST_STEP = 1.0 / 256.0  # of a disparity stored in 16 bits, in pixels


@cache
def typestore() -> Typestore:
    """Message classes and their wire format; those used here are the same from Humble to Lyrical."""
    return get_typestore(Stores.ROS2_JAZZY)


def make(message_type: str, **fields: Any) -> Any:
    """Makes a message of the given type."""
    return typestore().types[message_type](**fields)


def serialize(message: Any) -> memoryview:
    """Returns the message in CDR, as it travels and as a bag holds it."""
    return typestore().serialize_cdr(message, message.__msgtype__)


def header_stamp_ns(data: bytes | memoryview) -> int:
    """Reads the stamp in nanoseconds from a serialized message that begins with a header."""
    order = "<" if data[1] & 1 else ">"  # the lowest bit of CDR's second byte: little-endian
    seconds, nanoseconds = struct.unpack_from(f"{order}iI", data, 4)
    return int(seconds) * 10**9 + int(nanoseconds)


def with_header_stamp(data: bytes, stamp: int) -> bytes:
    """Returns a serialized message that begins with a header, with another stamp in nanoseconds."""
    order = "<" if data[1] & 1 else ">"
    return data[:4] + struct.pack(f"{order}iI", stamp // 10**9, stamp % 10**9) + data[12:]


def header_message(stamp: int, frame_id: str) -> Any:
    """Makes a std_msgs/Header of a stamp in nanoseconds."""
    time = make("builtin_interfaces/msg/Time", sec=stamp // 10**9, nanosec=stamp % 10**9)
    return make("std_msgs/msg/Header", stamp=time, frame_id=frame_id)


def image_message(pixels: np.ndarray, encoding: str, header: Any) -> Any:
    """Makes a sensor_msgs/Image without padding from [H, W] or [H, W, C] of the encoding's element type."""
    height, width = pixels.shape[:2]
    contiguous = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<"))
    return make(
        IMAGE,
        header=header,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=contiguous.nbytes // height,
        data=contiguous.reshape(-1).view(np.uint8),
    )


def compressed_image_message(image: np.ndarray, compression: str, header: Any) -> Any:
    """Makes a sensor_msgs/CompressedImage, "jpeg" (quality 95) or "png" (lossless), from uint8 RGB [H, W, 3]."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_PNG_COMPRESSION, 3]
    _, data = cv2.imencode(f".{compression}", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
    # The format of compressed_image_transport: original encoding; codec and channel order on the wire.
    wire_format = f"rgb8; {compression} compressed bgr8"
    return make(COMPRESSED_IMAGE, header=header, format=wire_format, data=data.reshape(-1))


def camera_info_message(camera: Camera, header: Any) -> Any:
    """Makes a sensor_msgs/CameraInfo of a rectified left camera: no distortion, P = [K | 0]."""
    matrix = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    projection = [*matrix[0:3], 0.0, *matrix[3:6], 0.0, *matrix[6:9], 0.0]
    return make(
        CAMERA_INFO,
        header=header,
        height=camera.height,
        width=camera.width,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=np.array(matrix),
        r=np.eye(3).reshape(-1),
        p=np.array(projection),
        binning_x=0,
        binning_y=0,
        roi=_region(0, 0),
    )


def disparity_message(disparity: np.ndarray, camera: Camera | None, header: Any) -> Any:
    """Makes a stereo_msgs/DisparityImage of float32 [H, W] in pixels, 0 where invalid.

    Focal length and baseline are 0 where the camera is not known.
    """
    height, width = disparity.shape
    valid = disparity[disparity > 0]
    return make(
        DISPARITY_IMAGE,
        header=header,
        image=image_message(disparity.astype(np.float32, copy=False), "32FC1", header),
        f=camera.fx if camera else 0.0,
        t=camera.baseline if camera else 0.0,
        valid_window=_region(width, height),
        min_disparity=float(valid.min()) if valid.size else 0.0,
        max_disparity=float(valid.max()) if valid.size else 0.0,
        delta_d=_SMALLEST_STEP,
    )


def _region(width: int, height: int) -> Any:
    size = {"width": width, "height": height}
    return make("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, do_rectify=False, **size)


def camera_pose_message(camera: Camera, header: Any, base_frame: str) -> Any:
    """Makes the tf2_msgs/TFMessage that says how the camera is mounted.

    Args:
        camera: Its height above the road and its pitch are used.
        header: Stamp, and the frame of the camera: optical (x right, y down, z along the axis; REP 103).
        base_frame: The vehicle's frame on the road below the camera (x ahead, y left, z up).
    """
    # base <- optical without pitch is the quaternion (x, y, z, w) = (-1, 1, -1, 1) / 2. The pitch turns the
    # optical axis down: a rotation by -pitch about the optical x axis, which points right.
    half = -camera.pitch / 2.0
    sine, cosine = math.sin(half) / 2.0, math.cos(half) / 2.0
    rotation = {"x": sine - cosine, "y": cosine - sine, "z": -cosine - sine, "w": cosine + sine}
    transform = make(
        "geometry_msgs/msg/Transform",
        translation=make("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=camera.mount_height),
        rotation=make("geometry_msgs/msg/Quaternion", **rotation),
    )
    stamped = make(
        "geometry_msgs/msg/TransformStamped",
        header=make("std_msgs/msg/Header", stamp=header.stamp, frame_id=base_frame),
        child_frame_id=header.frame_id,
        transform=transform,
    )
    return make(TF_MESSAGE, transforms=[stamped])


def odometry_message(speed: float, header: Any, base_frame: str) -> Any:
    """Makes a nav_msgs/Odometry of the header's stamp that tells the vehicle's speed along its axis in m/s alone."""

    def vector(kind: str, **fields: float) -> Any:
        return make(f"geometry_msgs/msg/{kind}", **({"x": 0.0, "y": 0.0, "z": 0.0} | fields))

    pose = make("geometry_msgs/msg/Pose", position=vector("Point"), orientation=vector("Quaternion", w=1.0))
    ahead = vector("Vector3", x=float(speed))
    twist = make("geometry_msgs/msg/Twist", linear=ahead, angular=vector("Vector3"))
    unknown = np.diag(np.full(6, _UNKNOWN_VARIANCE)).reshape(-1)
    return make(
        ODOMETRY,
        header=make("std_msgs/msg/Header", stamp=header.stamp, frame_id="odom"),
        child_frame_id=base_frame,
        pose=make("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=unknown),
        twist=make("geometry_msgs/msg/TwistWithCovariance", twist=twist, covariance=np.zeros(36)),
    )
