"""Ground positions and textures at half the sampling resolution, where the ground is smooth enough."""

from __future__ import annotations

import cv2
import numpy as np

from densehybrid_ros.datasets.rendered_road.covers import Material, patchiness
from densehybrid_ros.datasets.rendered_road.raster import NEAR, Raster, clip_near
from densehybrid_ros.datasets.rendered_road.textures import Texture

DECAL_RANGE = 160.0
"""Metres ahead up to which markings, patches and shadows are drawn."""


class GroundSamples:
    """Ground samples at half the sampling resolution, where the textures are read."""

    def __init__(self, raster: Raster, first: int, rows: np.ndarray, columns: np.ndarray) -> None:
        self.raster = raster
        self.first = first
        self.shape = (len(rows), len(columns))
        self.step = 2 if len(rows) > 64 and len(columns) > 1024 else 1
        self.rows, self.columns = rows[:: self.step], columns[:: self.step]

    def plane(self, depth: np.ndarray) -> GroundPlane:
        """Returns where the samples meet a level plane, given its depth at every row of the sampling grid."""
        view = self.raster.view
        rotation = view.rotation
        depth = depth[:: self.step]
        tilt_x = (rotation[1, 0] * self.rows + rotation[2, 0]).astype(np.float32)
        tilt_y = (rotation[1, 1] * self.rows + rotation[2, 1]).astype(np.float32)
        x = depth[:, None] * (np.float32(rotation[0, 0]) * self.columns + tilt_x[:, None]) + np.float32(view.x)
        y = depth[:, None] * (np.float32(rotation[0, 1]) * self.columns + tilt_y[:, None]) + np.float32(view.y)
        return GroundPlane(self, x, y, depth)

    def enlarged(self, colors: np.ndarray) -> np.ndarray:
        """Brings an array of this grid to the sampling resolution."""
        if self.step == 1:
            return colors
        return cv2.resize(colors, self.shape[::-1], interpolation=cv2.INTER_LINEAR)

    def fill(self, target: np.ndarray, outline: np.ndarray, raster: Raster, value: int, height: float = 0.0) -> None:
        """Fills a ground polygon in an array of this grid."""
        fixed = on_screen(outline, raster, height)
        if fixed is None:
            return
        fixed = fixed - np.array([0, self.first * 16], np.int32)
        cv2.fillPoly(target, [fixed // self.step], value, shift=4)


class GroundPlane:
    """Where the ground samples meet a level plane.

    Attributes:
        x: float32 [h, w] positions across the road in metres.
        y: float32 [h, w] positions along the road in metres.
        depth: float32 [h] metres along the optical axis.
    """

    def __init__(self, samples: GroundSamples, x: np.ndarray, y: np.ndarray, depth: np.ndarray) -> None:
        self.samples, self.x, self.y, self.depth = samples, x, y, depth
        self._patchiness = self._tiled(patchiness(), 47.0)

    def cover(self, material: Material) -> np.ndarray:
        """Returns the colours uint8 [h, w, 3] of a ground cover that lies everywhere on the plane."""
        return cv2.multiply(self._tiled(material.texture, material.span), self._patchiness, scale=1 / 128)

    def _tiled(self, texture: Texture, span: float) -> np.ndarray:
        """Reads a tiled texture; bands of rows take the copy that their own footprint on the ground asks for."""
        x, y, depth = self.x, self.y, self.depth
        camera, step = self.samples.raster.view.camera, self.samples.step
        height, width = texture.pixels.shape[:2]
        footprint_x = depth * step / camera.fx * width / span
        footprint_y = depth**2 * step / (camera.fy * camera.mount_height) * height / span
        across = np.rint(np.log2(np.maximum(footprint_x, 1.0))).astype(int)
        down = np.rint(np.log2(np.maximum(footprint_y, 1.0)) - 0.4).astype(int).clip(0)
        result = np.empty((*x.shape, 3), np.uint8)
        key = across * 64 + down
        starts = np.flatnonzero(np.diff(key, prepend=-1))
        for start, stop in zip(starts, [*starts[1:], len(key)], strict=True):
            tile = _wrapped(texture, int(across[start]), int(down[start]))
            rows, columns = tile.shape[0] - 1, tile.shape[1] - 1
            u = x[start:stop] * np.float32(1 / span)
            v = y[start:stop] * np.float32(1 / span)
            u = (u - np.floor(u)) * np.float32(columns)
            v = (v - np.floor(v)) * np.float32(rows)
            result[start:stop] = cv2.remap(tile, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return result


def on_screen(outline: np.ndarray, raster: Raster, height: float = 0.0) -> np.ndarray | None:
    """Projects a polygon [N, 2] on the road to fixed-point pixels, or None where nothing of it can be seen."""
    ground = np.full((len(outline), 3), height)
    ground[:, :2] = outline
    points = raster.view.to_camera(ground)
    nearest = points[:, 2].min()
    if nearest > DECAL_RANGE or points[:, 2].max() < NEAR:
        return None
    if nearest < NEAR:
        points = clip_near(points)
        if len(points) < 3:
            return None
    pixels = raster.view.project(points)
    if pixels[:, 0].max() < 0 or pixels[:, 0].min() > raster.label.shape[1]:
        return None
    if pixels[:, 1].min() > raster.label.shape[0]:
        return None
    return np.rint(pixels * 16).astype(np.int32)


def _wrapped(texture: Texture, across: int, down: int) -> np.ndarray:
    """Returns a filtered copy with its first row and column repeated at the end, for seamless tiles."""
    key = (min(across, 12) + 100, min(down, 12) + 100)
    if key not in texture.levels:
        texture.levels[key] = cv2.copyMakeBorder(texture.level(across, down), 0, 1, 0, 1, cv2.BORDER_WRAP)
    return texture.levels[key]
