# SPDX-License-Identifier: Apache-2.0
"""Where pixels meet the road, with class and confidence: aligned and thinned out alike, as costmaps take them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.errors import InputError
from densehybrid_ros.hazards.location import Locator, ground_reach
from densehybrid_ros.perception.geometry import Transform
from densehybrid_ros.perception.perception import Perceived
from densehybrid_ros.perception.settings import Settings

POINT = np.dtype(
    [("x", np.float32), ("y", np.float32), ("z", np.float32), ("class", np.uint8), ("confidence", np.uint8)],
    align=True,
)
"""A point in the camera's optical frame, in metres; id in the open-set mask; P(anomaly) in 255 steps."""


def ground_points(perceived: Perceived, settings: Settings) -> np.ndarray:
    """Projects pixels onto the road plane; the pixel (r, c) of the result is (n r, n c) of the image.

    The plane is that of the mount, with its roll. Points are NaN from the horizon up, and where the noise of the pitch
    leaves no distance, as with hazards.

    Args:
        perceived: The frame and its masks.
        settings: The parameters; n is ``points_decimation``.

    Returns:
        POINT [ceil(H / n), ceil(W / n)], the caller's own.

    Raises:
        InputError: It is not known where the road is.
    """
    frame, masks, step = perceived.frame, perceived.masks, settings.points_decimation
    locator = Locator(masks.open_set.shape, settings.hazards, frame.placed_camera)
    camera = locator.camera
    if camera is None or locator.horizon is None:
        needed = "needs ~/input/camera_info and the mount, from base_frame or camera_height"
        raise InputError("; ".join(locator.problems) or needed)
    mount = frame.mount.to_base if frame.mount else Transform.of_mount(camera.mount_height, camera.pitch)
    up = tuple(map(float, mount.rotation[2]))
    road = _road(replace(camera, baseline=0.0), up, ground_reach(camera, settings.hazards), step)
    # As bytes: a copy of points leaves what lies between the fields as it was in memory, and that would be published.
    points = road.view(np.uint8).copy().view(POINT)
    points["class"] = masks.open_set[::step, ::step]
    points["confidence"] = masks.confidence[::step, ::step]
    return points


def ground_open_set(perceived: Perceived, settings: Settings) -> np.ndarray:
    """Returns the open-set mask at the pixels of ``ground_points``, uint8 of its size."""
    step = settings.points_decimation
    return np.ascontiguousarray(perceived.masks.open_set[::step, ::step])


def ground_class_confidence(perceived: Perceived, settings: Settings) -> np.ndarray:
    """Returns how sure the class in ``ground_open_set`` is, uint8 of its size: P(anomaly) of unknown, else 1 less that.

    It is in 255 steps. The score tells known from unknown; which of the known classes a pixel has is not doubted.
    """
    step = settings.points_decimation
    anomaly = perceived.masks.confidence[::step, ::step]
    return np.where(perceived.masks.open_set[::step, ::step] == len(perceived.classes), anomaly, 255 - anomaly)


@lru_cache(maxsize=1)
def _road(camera: Camera, up: tuple[float, ...], reach: float, step: int) -> np.ndarray:
    """Computes the points without what changes from frame to frame; kept, because most mounts are rigid.

    Args:
        camera: With its height above the road.
        up: The road's normal in the optical frame.
        reach: Metres of depth beyond which points are NaN.
        step: Pixels from one point to the next.
    """
    x = (np.arange(0, camera.width, step) - camera.cx) / camera.fx
    y = (np.arange(0, camera.height, step)[:, None] - camera.cy) / camera.fy
    descent = -(up[0] * x + up[1] * y + up[2])  # metres towards the road for each metre of depth
    depth = np.full(descent.shape, np.nan)
    np.divide(camera.mount_height, descent, out=depth, where=descent > camera.mount_height / reach)
    points = np.zeros(depth.shape, POINT)
    points["x"], points["y"], points["z"] = x * depth, y * depth, depth
    return points
