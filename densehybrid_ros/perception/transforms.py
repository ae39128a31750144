"""Where the frames of a vehicle lie to each other: the newest transforms of /tf and /tf_static. No ROS here.

tf2_ros would do the same and interpolate over time besides. A camera's mount needs no interpolation, and tf2_ros is not
to be had where ROS comes from the Python registry.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from densehybrid_ros.errors import InputError

_UNIT_TOLERANCE = 1e-2
_MOST_LINKS = 100


@dataclass(frozen=True)
class Transform:
    """A rigid motion: ``point_in_target = rotation @ point_in_source + translation``.

    Attributes:
        rotation: float64 [3, 3], a rotation matrix.
        translation: float64 [3] in metres.
    """

    rotation: np.ndarray
    translation: np.ndarray

    @classmethod
    def from_quaternion(cls, translation: Sequence[float], quaternion: Sequence[float]) -> Transform:
        """Makes it from (x, y, z) in metres and the quaternion (x, y, z, w).

        Raises:
            InputError: A number is not finite, or the quaternion has not length 1.
        """
        if not all(map(math.isfinite, (*translation, *quaternion))):
            raise InputError("has a number that is not finite")
        length = math.hypot(*quaternion)
        if abs(length - 1.0) > _UNIT_TOLERANCE:
            raise InputError(f"has a quaternion of length {length:.3f}; it must be 1")
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
        self._links: dict[str, tuple[str, Transform]] = {}
        self._bad: dict[str, str] = {}

    def store(self, parent: str, child: str, translation: Sequence[float], quaternion: Sequence[float]) -> None:
        """Takes over parent <- child. One that can't be is remembered, and named by a ``lookup`` that needs it."""
        parent, child = parent.lstrip("/"), child.lstrip("/")
        try:
            if not parent or not child or parent == child:
                raise InputError("has no two different frames")
            transform = Transform.from_quaternion(translation, quaternion)
        except InputError as error:
            with self._lock:
                self._links.pop(child, None)
                self._bad[child] = f"the transform from {child!r} to {parent!r} {error}"
            return
        with self._lock:
            self._bad.pop(child, None)
            self._links[child] = (parent, transform)

    def lookup(self, target: str, source: str) -> Transform:
        """Returns target <- source.

        Raises:
            InputError: They are not connected.
        """
        with self._lock:
            ups = [self._to_ancestors(frame.lstrip("/")) for frame in (target, source)]
            reasons = [self._bad[frame] for way in ups for frame in way if frame in self._bad]
        up_target, up_source = ups
        for frame, from_source in up_source.items():
            if frame in up_target:
                return up_target[frame].inverse() @ from_source
        raise InputError("; ".join(reasons) or f"no transforms connect {source!r} with {target!r}")

    def _to_ancestors(self, frame: str) -> dict[str, Transform]:
        """Returns ancestor <- frame for the frame itself and each of its ancestors, in this order."""
        way = {frame: Transform(np.eye(3), np.zeros(3))}
        here = frame
        while here in self._links and len(way) < _MOST_LINKS:
            parent, link = self._links[here]
            if parent in way:
                break  # a circle
            way[parent] = link @ way[here]
            here = parent
        return way
