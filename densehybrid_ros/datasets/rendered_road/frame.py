# SPDX-License-Identifier: Apache-2.0
"""What the renderer returns: a picture with the exact truth of every pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from densehybrid_ros.datasets.camera import Camera


@dataclass(frozen=True)
class RoadObject:
    """An unknown object that is visible in a frame.

    Attributes:
        id: Its number in ``RenderedFrame.instances`` (above zero, constant through a drive).
        kind: What it is, for example ``"pallet"``.
        distance: Depth of its centre along the optical axis in metres.
        lateral: Offset of its centre to the right of the optical axis in metres.
        size: Extent across the road, height and extent along the road in metres.
        visible_pixels: Pixels of the frame that show it.
    """

    id: int
    kind: str
    distance: float
    lateral: float
    size: tuple[float, float, float]
    visible_pixels: int


@dataclass(frozen=True)
class RenderedFrame:
    """One picture of the rendered road; all maps agree pixel for pixel (sampled at pixel centres).

    Attributes:
        image: uint8 [H, W, 3] RGB.
        semantic: uint8 [H, W] train ids of Cityscapes, 255 on unknown objects and void.
        anomaly: uint8 [H, W], 0 inlier, 1 unknown object, 255 void.
        instances: uint16 [H, W], 0 or the ``RoadObject.id`` of the unknown object.
        disparity: float32 [H, W] in pixels, 0 where infinite (sky).
        depth: float32 [H, W] in metres along the optical axis, inf in the sky.
        camera: The camera at this moment, with its momentary pitch and height.
        stamp: Seconds since the drive began.
        objects: The unknown objects that show at least one pixel, nearest first.
        speed: Of the vehicle along its own axis, in m/s; 0 in a single scene.
    """

    image: np.ndarray
    semantic: np.ndarray
    anomaly: np.ndarray
    instances: np.ndarray
    disparity: np.ndarray
    depth: np.ndarray
    camera: Camera
    stamp: float
    objects: tuple[RoadObject, ...]
    speed: float = 0.0
