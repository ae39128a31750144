# SPDX-License-Identifier: Apache-2.0
"""Draws road, kerbs, pavement and grass: a level plane with world-fixed texture, paint and shadows."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np

from densehybrid_ros.datasets.rendered_road.light import Shadow
from densehybrid_ros.datasets.rendered_road.raster import FRACTION_BITS, NEAR, Raster, clip_near
from densehybrid_ros.datasets.rendered_road.street import Street
from densehybrid_ros.datasets.rendered_road.textures import Texture, fractal_noise, picture

_FAR = 900.0  # metres; beyond it the ground is left to the backdrop
_DECAL_RANGE = 160.0  # metres ahead up to which markings, patches and shadows are drawn
_PAINT = np.array([212, 212, 206], np.float32)
_STEP = 2  # samples of the raster between those of the ground


class GroundPainter:
    """Draws a street into empty sample buffers, before anything that stands on it."""

    def __init__(self, street: Street) -> None:
        self.street = street
        self._reach = np.array([(d.outline[:, 1].min(), d.outline[:, 1].max()) for d in street.decals])
        self._classes = np.array([cover.class_id for cover in street.covers], np.int32)

    def draw(self, raster: Raster, shadows: list[Shadow]) -> None:
        """Draws the ground and the shadows on it; rows below the horizon are overwritten."""
        view, street, camera = raster.view, self.street, raster.view.camera
        descent = raster.rows * math.cos(camera.pitch) + math.sin(camera.pitch)
        first = int(np.searchsorted(descent, camera.mount_height / _FAR))
        if first >= camera.height:
            return
        depth = (camera.mount_height / descent[first:]).astype(np.float32)
        region = self._regions(raster, first, depth)
        np.take(self._classes, region, out=raster.label[first:], mode="clip")
        raster.inverse_depth[first:] = (1.0 / depth)[:, None]
        samples, color = _Samples(raster, first, depth), raster.color[first:]
        for cover in dict.fromkeys(street.covers):
            mask = np.take([other is cover for other in street.covers], region, mode="clip")
            if mask.any():
                drawn = samples.tiled(cover.texture, cover.span)
                drawn = cv2.multiply(drawn, samples.tiled(_patchiness(), 47.0), scale=1 / 128)
                if cover is street.asphalt:
                    self._mark(samples, drawn, view.y)
                cv2.copyTo(samples.enlarged(drawn), mask.view(np.uint8), color)
        # Where several shadows overlap the darkest counts.
        light = np.full(samples.shape, 255, np.uint8)
        for shadow in sorted(shadows, key=lambda item: item.share):
            samples.fill(light, shadow.outline, round(255 * (1 - shadow.share)))
        light = samples.enlarged(cv2.GaussianBlur(light, (0, 0), 1.6))
        cv2.multiply(color, cv2.merge([light] * 3), dst=color, scale=1 / 255)

    def _mark(self, samples: _Samples, asphalt: np.ndarray, y: float) -> None:
        """Changes the asphalt's colours by patches and by worn paint."""
        factor, paint = np.full(samples.shape, 128, np.uint8), np.zeros(samples.shape, np.uint8)
        seen = (self._reach[:, 1] > y) & (self._reach[:, 0] < y + _DECAL_RANGE)
        for index in np.flatnonzero(seen).tolist():
            decal = self.street.decals[index]
            target, value = (paint, 255 * decal.strength) if decal.paint else (factor, 128 * decal.strength)
            samples.fill(target, decal.outline, round(value))
        factor = cv2.GaussianBlur(factor, (3, 3), 0)
        cv2.multiply(asphalt, cv2.merge([factor] * 3), dst=asphalt, scale=1 / 128)
        rows, columns = np.nonzero(paint)
        below = asphalt[rows, columns].astype(np.float32)
        # Paint wears off where the asphalt's stones stand out, so the asphalt's own texture thins it.
        coverage = paint[rows, columns][:, None] / np.float32(255) * np.clip(1.25 - 0.0045 * below[:, :1], 0.4, 1.0)
        asphalt[rows, columns] = (below + coverage * (_PAINT - 0.75 * below)).clip(0, 255)

    def _regions(self, raster: Raster, first: int, depth: np.ndarray) -> np.ndarray:
        """Returns the number of the cover that every sample [h, W] shows.

        Every line along the street crosses a row of samples at one column, so a row is a few runs of equal value.
        """
        view, camera, rotation = raster.view, raster.view.camera, raster.view.rotation
        tilt = rotation[1, 0] * raster.rows[first:] + rotation[2, 0]
        across = (np.array(self.street.borders)[None] - view.x) / depth[:, None] - tilt[:, None]
        borders = np.clip(np.ceil(across / rotation[0, 0] * camera.fx + camera.cx), 0, camera.width).astype(np.int64)
        lengths = np.diff(np.maximum.accumulate(borders, axis=1), axis=1, prepend=0, append=camera.width)
        numbers = np.tile(np.arange(len(self._classes), dtype=np.uint8), len(lengths))
        return np.repeat(numbers, lengths.ravel()).reshape(len(lengths), camera.width)


class _Samples:
    """Ground samples from row ``first`` on, in a grid coarser than the raster's; ``depth`` [h] is that of its rows."""

    def __init__(self, raster: Raster, first: int, depth: np.ndarray) -> None:
        self.raster, self.first, self.depth = raster, first, depth[::_STEP]
        self.full = (raster.view.camera.width, raster.view.camera.height - first)
        rotation, columns = raster.view.rotation.astype(np.float32), raster.columns[::_STEP]
        down = (raster.rows[first::_STEP, None] * rotation[1] + rotation[2]) * self.depth[:, None]
        self.x, self.y = (
            self.depth[:, None] * columns * rotation[0, i] + down[:, i : i + 1] + np.float32(place)
            for i, place in enumerate((raster.view.x, raster.view.y))
        )
        self.shape = self.x.shape

    def enlarged(self, colors: np.ndarray) -> np.ndarray:
        """Brings an array of this grid to the sampling resolution."""
        return cv2.resize(colors, self.full, interpolation=cv2.INTER_LINEAR)

    def fill(self, target: np.ndarray, outline: np.ndarray, value: int) -> None:
        """Fills a polygon [N, 2] on the ground in an array of this grid."""
        view = self.raster.view
        points = view.to_camera(np.column_stack([outline, np.zeros(len(outline))]))
        if points[:, 2].min() > _DECAL_RANGE:
            return
        if points[:, 2].min() < NEAR:
            points = clip_near(points)
        if len(points) >= 3:
            fixed = np.rint((view.project(points) - (0, self.first)) / _STEP * (1 << FRACTION_BITS)).astype(np.int32)
            cv2.fillPoly(target, [fixed], value, shift=FRACTION_BITS)

    def tiled(self, texture: Texture, span: float) -> np.ndarray:
        """Reads a tile that spans metres; bands of rows take the copy that their own footprint asks for."""
        camera = self.raster.view.camera
        height, width = texture.pixels.shape[:2]
        wide = self.depth * _STEP / camera.fx * width / span
        long = self.depth**2 * _STEP / (camera.fy * camera.mount_height) * height / span
        across = np.rint(np.log2(np.maximum(wide, 1.0))).astype(int)
        down = np.rint(np.log2(np.maximum(long, 1.0)) - 0.4).astype(int).clip(0)
        result = np.empty((*self.shape, 3), np.uint8)
        starts = np.flatnonzero(np.diff(across * 64 + down, prepend=-1))
        for start, stop in zip(starts, [*starts[1:], len(self.depth)], strict=True):
            tile = texture.level(int(across[start]), int(down[start]))
            tile = cv2.copyMakeBorder(tile, 0, 1, 0, 1, cv2.BORDER_WRAP)  # so that tiles have no seams
            u, v = (
                (part - np.floor(part)) * np.float32(size - 1)
                for part, size in (
                    (self.x[start:stop] / span, tile.shape[1]),
                    (self.y[start:stop] / span, tile.shape[0]),
                )
            )
            result[start:stop] = cv2.remap(tile, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return result


@lru_cache(maxsize=1)
def _patchiness() -> Texture:
    """Slow changes of brightness over tens of metres, drawn out along the road; grey 128 changes nothing."""
    noise = fractal_noise(np.random.default_rng(11), 256, 256, cells=6, octaves=5, gain=0.7)
    drawn = cv2.blur(cv2.copyMakeBorder(noise, 20, 20, 0, 0, cv2.BORDER_WRAP), (1, 33))[20:-20]
    return picture(128 * (1 + 0.075 * (noise * 0.6 + drawn * 1.2)[..., None].repeat(3, axis=2)))
