# SPDX-License-Identifier: Apache-2.0
"""One moment of a drive: the picture and what is known about it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.errors import InputError


@dataclass(frozen=True)
class BagFrame:
    """One moment of a drive. All arrays have the height and width of the picture."""

    stamp: int  # Time of capture in nanoseconds
    image: np.ndarray  # uint8 [H, W, 3], RGB
    camera: Camera | None = None  # The left camera, where it is known
    disparity: np.ndarray | None = None  # float32 [H, W] in pixels, 0 where invalid or infinitely far
    labels: np.ndarray | None = None  # Anomaly labels, uint8 [H, W]: 0 inlier, 1 anomaly, 255 ignore
    semantic: np.ndarray | None = None  # Semantic labels, uint8 [H, W]: train ids, 255 where there is none
    instances: np.ndarray | None = None  # Unknown objects, uint16 [H, W]: 0 none, else the object's id
    speed: float | None = None  # Of the vehicle along its own axis, in m/s, where it is known
    name: str = ""  # Of its file, without the ending, where it has one of its own

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.image.shape[1], self.image.shape[0]


def check_size(name: str, shape: tuple[int, ...], image_name: str, image_shape: tuple[int, ...]) -> None:
    """Raises an InputError that names both where what belongs to a picture is not as large as the picture."""
    if shape[:2] != image_shape[:2]:
        sizes = f"{shape[1]}x{shape[0]}, but {image_name} is {image_shape[1]}x{image_shape[0]}"
        raise InputError(f"{name}: {sizes}; they must be the same")


def resize_frame(frame: BagFrame, width: int, height: int) -> BagFrame:
    """Returns the frame at another size: labels by nearest neighbour, disparity and camera rescaled."""
    if frame.size == (width, height):
        return frame
    shrinks = width < frame.size[0]
    return replace(
        frame,
        image=cv2.resize(frame.image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR),
        camera=frame.camera.scaled(width, height) if frame.camera else None,
        disparity=_nearest(frame.disparity, width, height, scale=width / frame.size[0]),
        labels=_nearest(frame.labels, width, height),
        semantic=_nearest(frame.semantic, width, height),
        instances=_nearest(frame.instances, width, height),
    )


def _nearest(values: np.ndarray | None, width: int, height: int, scale: float = 1.0) -> np.ndarray | None:
    if values is None:
        return None
    resized = cv2.resize(values, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return resized if scale == 1.0 else resized * np.float32(scale)
