"""From ``sensor_msgs/CameraInfo`` and the camera's mount to the pinhole model that distances are worked out with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.errors import InputError
from densehybrid_ros.perception.transforms import Transform, TransformTree

_LARGEST_TILT = 0.5  # radians; more than that is no optical frame that looks along a road


@dataclass(frozen=True)
class Mount:
    """How the camera is mounted.

    Attributes:
        to_base: base <- optical frame.
        frame: Name of the base frame; empty where it is the ground below the camera.
    """

    to_base: Transform
    frame: str


def mount_from_transforms(tree: TransformTree, base_frame: str, optical_frame: str) -> Mount:
    """Looks the mount up in /tf and /tf_static.

    Args:
        tree: What came in on these topics.
        base_frame: Frame on the road, x ahead, y left, z up.
        optical_frame: The camera's frame: x right, y down, z along the optical axis (REP 103).

    Raises:
        InputError: The frames are not connected, or the camera does not look along the road from above it.
    """
    transform = tree.lookup(base_frame, optical_frame)
    roll = math.asin(max(-1.0, min(1.0, -float(transform.rotation[2, 0]))))
    if abs(roll) > _LARGEST_TILT or abs(transform.pitch) > _LARGEST_TILT:
        tilt = f"pitched by {transform.pitch:.2f} rad and rolled by {roll:.2f} rad against {base_frame!r}"
        raise InputError(f"{optical_frame!r} is {tilt}; is it an optical frame (z ahead, y down)?")
    if transform.height <= 0:
        raise InputError(
            f"{optical_frame!r} is {transform.height:.2f} m above {base_frame!r}, which must be on the road"
        )
    return Mount(transform, base_frame)


def mount_from_parameters(height: float, pitch: float) -> Mount | None:
    """Makes the mount of a height in metres and a pitch in radians; None where the height is not given (0)."""
    return Mount(Transform.of_mount(height, pitch), "") if height > 0 else None


def camera_from_info(message: Any, size: tuple[int, int], mount: Mount | None = None, baseline: float = 0.0) -> Camera:
    """Makes the camera of one frame.

    The projection matrix P is taken, which describes rectified images, or K where P is empty.

    Args:
        message: The CameraInfo.
        size: (height, width) of the image in pixels.
        mount: Gives height and pitch; without one both are 0, and so is the distance of all ground.
        baseline: Of the stereo pair in metres, 0 if there is none.

    Raises:
        InputError: It describes no camera, or one of another image size.
    """
    projection, matrix = message.p, message.k
    if projection[0] != 0.0:
        fx, fy, cx, cy = projection[0], projection[5], projection[2], projection[6]
    else:
        fx, fy, cx, cy = matrix[0], matrix[4], matrix[2], matrix[5]
    if not all(map(math.isfinite, (fx, fy, cx, cy))):
        raise InputError("has a number that is not finite in P or K")
    if fx <= 0 or fy <= 0:
        raise InputError(f"focal lengths are {fx:g} and {fy:g} px; is the camera calibrated?")
    # The matrices are those of the whole sensor: a region of interest is cut out of it, then binned.
    region, binning = message.roi, (max(1, message.binning_x), max(1, message.binning_y))
    width = (region.width or message.width) // binning[0]
    height = (region.height or message.height) // binning[1]
    if (height, width) != tuple(size):
        raise InputError(f"is for images of {width}x{height}, but they have {size[1]}x{size[0]}")
    return Camera(
        width=width,
        height=height,
        fx=float(fx / binning[0]),
        fy=float(fy / binning[1]),
        cx=float((cx - region.x_offset + 0.5) / binning[0] - 0.5),
        cy=float((cy - region.y_offset + 0.5) / binning[1] - 0.5),
        baseline=baseline,
        pitch=mount.to_base.pitch if mount else 0.0,
        mount_height=mount.to_base.height if mount else 0.0,
    )
