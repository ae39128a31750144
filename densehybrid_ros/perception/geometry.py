# SPDX-License-Identifier: Apache-2.0
"""Where a camera stands and how far it sees: camera_info, transforms and disparity images into numbers in metres.

tf2_ros would look transforms up as well and interpolate over time besides. A camera's mount needs no interpolation, and
tf2_ros is not to be had where ROS comes from the Python registry.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.errors import InputError, shown
from densehybrid_ros.hazards.location import HEIGHTS, LARGEST_TILT
from densehybrid_ros.perception.images import plane

_UNIT_TOLERANCE = 1e-2
_MOST_LINKS = 100
_LARGEST = float(np.finfo(np.float32).max)
_FARTHEST = 1e8  # metres between two frames; the earth's centre and UTM's zero lie nearer
_BASES = ("base_footprint", "base_link")
_WORLDS = {"map", "odom", "odom_combined", "world", "earth", "utm"}


@dataclass(frozen=True)
class Transform:
    """A rigid motion: ``point_in_target = rotation @ point_in_source + translation``."""

    rotation: np.ndarray  # float64 [3, 3], a rotation matrix
    translation: np.ndarray  # float64 [3] in metres

    @classmethod
    def from_quaternion(cls, translation: Sequence[float], quaternion: Sequence[float]) -> Transform:
        """Makes it from (x, y, z) in metres and the quaternion (x, y, z, w).

        Raises:
            InputError: A number is not finite or no distance on earth, or the quaternion has not length 1.
        """
        if not all(map(math.isfinite, (*translation, *quaternion))):
            raise InputError("has a number that is not finite")
        if max(map(abs, translation)) > _FARTHEST:
            raise InputError(f"has a translation of {max(translation, key=abs):g} m")
        length = math.hypot(*quaternion)
        if abs(length - 1.0) > _UNIT_TOLERANCE:
            raise InputError(f"has a quaternion of length {length:.4g}, which must be 1")
        x, y, z, w = (part / length for part in quaternion)
        rotation = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
        return cls(rotation, np.array(translation, dtype=np.float64))

    @classmethod
    def of_mount(cls, height: float, pitch: float) -> Transform:
        """Makes the way from a camera's optical frame to the ground below it (x ahead, y left, z up; REP 103).

        Args:
            height: Of the camera above the road, metres.
            pitch: Of the optical axis below the horizon, radians.
        """
        sine, cosine = math.sin(pitch), math.cos(pitch)
        rotation = np.array([[0.0, -sine, cosine], [-1.0, 0.0, 0.0], [0.0, -cosine, -sine]])
        return cls(rotation, np.array([0.0, 0.0, height]))

    def __matmul__(self, inner: Transform) -> Transform:
        """Returns the motion that applies ``inner`` first."""
        return Transform(self.rotation @ inner.rotation, self.apply(inner.translation))

    def inverse(self) -> Transform:
        """Returns the way back."""
        return Transform(self.rotation.T, -self.rotation.T @ self.translation)

    def apply(self, point: Sequence[float] | np.ndarray) -> np.ndarray:
        """Moves a point [3]."""
        return self.rotation @ np.asarray(point, dtype=np.float64) + self.translation

    @property
    def height(self) -> float:
        """Of the source's origin in the target, metres along z."""
        return float(self.translation[2])

    @property
    def pitch(self) -> float:
        """Of the source's z axis (an optical axis) below the target's horizon, radians."""
        return math.asin(max(-1.0, min(1.0, -float(self.rotation[2, 2]))))


class TransformTree:
    """Remembers for every frame its newest parent. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._links: dict[str, tuple[str, Transform | str]] = {}  # child -> parent and the way there, or why none is

    def store(self, parent: str, child: str, translation: Sequence[float], quaternion: Sequence[float]) -> None:
        """Takes over parent <- child. One that can't be is remembered, and named by a ``lookup`` that needs it."""
        parent, child = parent.lstrip("/"), child.lstrip("/")
        link: Transform | str
        try:
            if not parent or not child or parent == child:
                raise InputError("has no two different frames")
            link = Transform.from_quaternion(translation, quaternion)
        except InputError as error:
            link = f"the transform from {shown(child)!r} to {shown(parent)!r} {error}"
        with self._lock:
            self._links[child] = (parent, link)

    def lookup(self, target: str, source: str) -> Transform:
        """Returns target <- source.

        Raises:
            InputError: They are not connected.
        """
        with self._lock:
            up_target, up_source = (self._to_ancestors(frame.lstrip("/")) for frame in (target, source))
            links = [self._links[frame][1] for way in (up_target, up_source) for frame in way if frame in self._links]
        for frame, from_source in up_source.items():
            if frame in up_target:
                return up_target[frame].inverse() @ from_source
        reasons = ", ".join(link for link in links if isinstance(link, str))
        raise InputError(reasons or f"no transforms connect {shown(source)!r} with {shown(target)!r}")

    def __bool__(self) -> bool:
        """Whether any transform has been stored."""
        return bool(self._links)

    def knows(self, frame: str) -> bool:
        """Whether a transform of this frame has been stored."""
        return frame.lstrip("/") in self._links

    def base_of(self, optical_frame: str) -> str:
        """Guesses the frame on the road below a camera: base_footprint, else base_link, else the vehicle's topmost.

        Names count without their namespace. Empty where the camera's frame has no parent; a parent to which no way is
        known counts, for ``lookup`` says why.
        """
        optical_frame = optical_frame.lstrip("/")
        with self._lock:
            way = list(self._to_ancestors(optical_frame))[1:]
            if not way and optical_frame in self._links:
                return self._links[optical_frame][0]
            whole = [(child, parent) for child, (parent, link) in self._links.items() if isinstance(link, Transform)]
        linked = [*way, *(child for child, parent in whole if parent in way)]
        for base in _BASES:
            for frame in linked:
                if frame.split("/")[-1] == base:
                    return frame
        own = [frame for frame in way if frame.split("/")[-1] not in _WORLDS]
        return own[-1] if own else ""

    def _to_ancestors(self, frame: str) -> dict[str, Transform]:
        """Returns ancestor <- frame for the frame itself and each of its ancestors, in this order."""
        way = {frame: Transform(np.eye(3), np.zeros(3))}
        here = frame
        while here in self._links and len(way) < _MOST_LINKS:
            parent, link = self._links[here]
            if parent in way or isinstance(link, str):
                break  # a circle, or no way
            way[parent] = link @ way[here]
            here = parent
        return way


@dataclass(frozen=True)
class Mount:
    """How the camera is mounted."""

    to_base: Transform  # base <- optical frame
    frame: str  # Name of the base frame; empty where it is the ground below the camera


def mount_from_transforms(tree: TransformTree, base_frame: str, optical_frame: str) -> Mount:
    """Looks the mount up in /tf and /tf_static.

    The base frame is on the road, x ahead, y left, z up; the optical one has z along the optical axis (REP 103).

    Raises:
        InputError: The frames are not connected, or the camera does not look along the road from above it.
    """
    transform = tree.lookup(base_frame, optical_frame)
    roll = math.asin(max(-1.0, min(1.0, -float(transform.rotation[2, 0]))))
    if abs(roll) > LARGEST_TILT or abs(transform.pitch) > LARGEST_TILT:
        tilt = f"pitched by {transform.pitch:.2f} rad and rolled by {roll:.2f} rad against {base_frame!r}"
        raise InputError(f"{shown(optical_frame)!r} is {tilt} (is it an optical frame, z ahead and y down?)")
    if not HEIGHTS[0] <= transform.height <= HEIGHTS[1]:
        height = f"{shown(optical_frame)!r} is {transform.height:.3f} m above {base_frame!r}"
        raise InputError(
            f"{height}, which must be on the road (name that frame with base_frame, or give camera_height)"
        )
    return Mount(transform, base_frame)


def mount_from_parameters(height: float, pitch: float) -> Mount | None:
    """Makes the mount of a height in metres and a pitch in radians; None where the height is not given (0).

    Raises:
        InputError: The height is given, but none at which a vehicle carries a camera.
    """
    if height <= 0:
        return None
    if not HEIGHTS[0] <= height <= HEIGHTS[1]:
        raise InputError(f"camera_height is {height:g} m, no height of a camera above the road")
    return Mount(Transform.of_mount(height, pitch), "")


def camera_from_info(message: Any, size: tuple[int, int]) -> Camera:
    """Makes the camera of one frame; baseline, pitch and mounting height are 0, which says that they are not known.

    The projection matrix P is taken, which describes rectified images, or K where P is empty.

    Raises:
        InputError: It describes no camera, or one of images that are not of ``size``, (height, width).
    """
    matrix, row = (message.p, 4) if message.p[0] != 0.0 else (message.k, 3)
    fx, fy, cx, cy = matrix[0], matrix[row + 1], matrix[2], matrix[row + 2]
    if not all(map(math.isfinite, (fx, fy, cx, cy))):
        raise InputError("has a number that is not finite in P or K")
    if fx <= 0 or fy <= 0:
        raise InputError(f"focal lengths are {fx:g} and {fy:g} px (is the camera calibrated?)")
    # The matrices are those of the whole sensor: a region of interest is cut out of it, then binned.
    region, binning = message.roi, (max(1, message.binning_x), max(1, message.binning_y))
    left, top = region.x_offset, region.y_offset
    width = (region.width or message.width) // binning[0]
    height = (region.height or message.height) // binning[1]
    if width == height == 0:  # a driver that does not tell the size
        height, width = size
    if (height, width) != tuple(size) and (message.height, message.width) == tuple(size):
        # Some drivers tell of binning or a region of interest with all other numbers for the picture that they send.
        width, height, binning, left, top = message.width, message.height, (1, 1), 0, 0
    if (height, width) != tuple(size):
        raise InputError(f"is for images of {width}x{height}, but they have {size[1]}x{size[0]}")
    return Camera(
        width=width,
        height=height,
        fx=float(fx / binning[0]),
        fy=float(fy / binning[1]),
        cx=float((cx - left + 0.5) / binning[0] - 0.5),
        cy=float((cy - top + 0.5) / binning[1] - 0.5),
        baseline=0.0,
        pitch=0.0,
        mount_height=0.0,
    )


@dataclass(frozen=True)
class Disparity:
    """The disparities that belong to a frame."""

    pixels: np.ndarray  # float32 [H, W], 0 where invalid
    focal: float  # Focal length in pixels that they were made with
    baseline: float  # In metres; depth = focal * baseline / pixels


def disparity_of(message: Any, size: tuple[int, int]) -> Disparity:
    """Reads a stereo_msgs/DisparityImage for a frame of (height, width); one of another resolution is enlarged.

    Raises:
        InputError: It tells no distance, or shows another part of the view.
    """
    focal, baseline = float(message.f), abs(float(message.t))
    if not (math.isfinite(focal) and math.isfinite(baseline)) or focal <= 0 or baseline == 0:
        raise InputError(f"focal length {message.f:g} px and baseline {message.t:g} m tell no distance")
    pixels = disparity_pixels(message)
    if pixels.shape != tuple(size):
        found, wanted = (f"{width}x{height}" for height, width in (pixels.shape, size))
        scale = size[1] / pixels.shape[1]
        if abs(scale * pixels.shape[0] - size[0]) >= max(1.0, scale):
            raise InputError(f"is {found}, but the frame is {wanted}")
        pixels = cv2.resize(pixels, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT) * np.float32(scale)
        focal *= scale
    return Disparity(pixels, focal, baseline)


def disparity_pixels(message: Any) -> np.ndarray:
    """Returns the disparities as float32 [H, W], 0 where they are NaN, infinite, negative or below ``min_disparity``.

    Some vendors give all disparities below zero. They are turned round where none lies above; a picture of one value
    alone that is ``min_disparity`` less 1, or -1 or -16 (marks of OpenCV's matchers), has no valid one.

    Raises:
        InputError: The image is no 32FC1, or its size disagrees with its data.
    """
    if message.image.encoding != "32FC1":
        raise InputError(f"encoding {shown(message.image.encoding)!r}, but a disparity image is 32FC1")
    pixels = plane(message.image)
    lowest, highest = (
        float(bound) if math.isfinite(bound) else 0.0 for bound in (message.min_disparity, message.max_disparity)
    )
    _, kept = cv2.threshold(pixels, 0.0, 0.0, cv2.THRESH_TOZERO)
    _, kept = cv2.threshold(kept, _LARGEST, 0.0, cv2.THRESH_TOZERO_INV, dst=kept)
    cv2.patchNaNs(kept, 0.0)
    if not kept.any() and (turned := _turned(pixels, lowest)) is not None:
        kept, lowest = turned, -min(highest, 0.0)
    if lowest > 0:
        # A hair below, since the bound of a message has been rounded.
        cv2.threshold(kept, float(np.nextafter(np.float32(lowest), np.float32(-1.0))), 0.0, cv2.THRESH_TOZERO, dst=kept)
    return kept


def _turned(pixels: np.ndarray, lowest: float) -> np.ndarray | None:
    """Returns disparities of which none lies above zero with their sign turned; None where all are invalid."""
    below = np.where(np.isfinite(pixels) & (pixels < 0), -pixels, np.float32(0.0))
    values = np.unique(below[below > 0])
    marks = {1.0 - lowest, 1.0, 16.0}
    return None if not values.size or (values.size == 1 and float(values[0]) in marks) else below


def nanoseconds(stamp: Any) -> int:
    """Returns a builtin_interfaces/Time as one number; rclpy's own class refuses a negative one."""
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)
