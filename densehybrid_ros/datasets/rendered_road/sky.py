# SPDX-License-Identifier: Apache-2.0
"""A sky with a gradient and clouds that stays where it is while the camera turns."""

from __future__ import annotations

import math

import cv2
import numpy as np

from densehybrid_ros.datasets.rendered_road.raster import Raster
from densehybrid_ros.datasets.rendered_road.textures import fractal_noise, picture

SKY = 10
"""Train id of the sky."""

_COLUMNS_PER_RADIAN = 380.0
_HALF_WIDTH, _HEIGHT = math.radians(75), math.radians(50)
_STEP = 4  # samples between the places at which the picture is read


class Sky:
    """A picture of the sky over azimuth and elevation; ``haze`` is the colour [3] of the air before it."""

    def __init__(self, rng: np.random.Generator, sunny: float) -> None:
        width, height = int(2 * _HALF_WIDTH * _COLUMNS_PER_RADIAN), int(_HEIGHT * _COLUMNS_PER_RADIAN)
        elevation = (np.arange(height)[::-1, None] + 0.5) / _COLUMNS_PER_RADIAN
        azimuth = (np.arange(width)[None] + 0.5) / _COLUMNS_PER_RADIAN - _HALF_WIDTH
        zenith = np.array([96, 140, 200]) * rng.uniform(0.9, 1.1, 3) * sunny + np.array([165, 172, 180]) * (1 - sunny)
        horizon = np.array([216, 224, 232]) * rng.uniform(0.93, 1.05)
        blend = np.clip(elevation / math.radians(38), 0, 1)[..., None] ** 0.6
        noise = fractal_noise(rng, 512, 512, cells=3, octaves=7, gain=0.58)
        # Clouds lie on a level ceiling, so they crowd together and flatten towards the horizon.
        reach = 70.0 / np.tan(elevation + 0.10)
        u, v = (np.sin(azimuth) * reach + rng.uniform(0, 512)), (np.cos(azimuth) * reach + rng.uniform(0, 512))
        cloud, below = (
            cv2.remap(noise, ((u + x) % 511).astype(np.float32), ((v + y) % 511).astype(np.float32), cv2.INTER_LINEAR)
            for x, y in ((0, 0), (9, 14))
        )
        alpha = np.clip((cloud + 0.75 - 1.1 * sunny + rng.uniform(-0.2, 0.25)) * 0.9 + 0.3, 0, 0.96)[..., None]
        brightness = np.clip(228 - 20 * (1 - sunny) + 13 * (cloud - below) - 14 * np.clip(cloud, 0, 2), 120, 252)
        clouds = brightness[..., None] * np.array([0.99, 1.0, 1.02])
        self._picture = picture((horizon * (1 - blend) + zenith * blend) * (1 - alpha) + clouds * alpha).pixels
        self.haze = horizon * 0.6 + np.array([205, 210, 214]) * 0.4

    def draw(self, raster: Raster) -> None:
        """Fills all sample buffers with sky at infinity."""
        view, camera = raster.view, raster.view.camera
        horizon = camera.cy - camera.fy * math.tan(camera.pitch)
        last = min(max(int(horizon) + 24, 1), camera.height)
        rows = (np.arange(0, last + _STEP, _STEP, dtype=np.float32) - camera.cy) / camera.fy
        columns = (np.arange(0, camera.width + _STEP, _STEP, dtype=np.float32) - camera.cx) / camera.fx
        sine, cosine = math.sin(camera.pitch), math.cos(camera.pitch)
        ahead = cosine - rows * sine
        azimuth = np.arctan2(columns[None], ahead[:, None]) - np.float32(view.yaw)
        elevation = np.arctan2((-rows * cosine - sine)[:, None], np.hypot(columns[None], ahead[:, None]))
        u = ((azimuth + _HALF_WIDTH) * _COLUMNS_PER_RADIAN - 0.5).astype(np.float32)
        v = (self._picture.shape[0] - elevation * _COLUMNS_PER_RADIAN - 0.5).astype(np.float32)
        colors = cv2.remap(self._picture, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        large = cv2.resize(colors, (len(columns) * _STEP, len(rows) * _STEP), interpolation=cv2.INTER_LINEAR)
        raster.color[:last] = large[:last, : camera.width]
        raster.color[last:] = large[last - 1, : camera.width]
        raster.label[:] = SKY
        raster.inverse_depth[:] = 0
