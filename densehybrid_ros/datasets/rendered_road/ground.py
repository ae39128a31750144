# SPDX-License-Identifier: Apache-2.0
"""Road, kerbs, pavement and grass: two level planes with world-fixed texture, paint and shadows."""

from __future__ import annotations

import math

import cv2
import numpy as np

from densehybrid_ros.datasets.rendered_road.covers import ROAD, SIDEWALK, Material, patchiness
from densehybrid_ros.datasets.rendered_road.light import Shadow
from densehybrid_ros.datasets.rendered_road.raster import FRACTION_BITS, NEAR, Raster, clip_near
from densehybrid_ros.datasets.rendered_road.street import Decal, Street
from densehybrid_ros.datasets.rendered_road.textures import Texture

_FAR = 900.0  # metres; beyond it the ground is left to the backdrop
_DECAL_RANGE = 160.0  # metres ahead up to which markings, patches and shadows are drawn
_Plane = tuple[np.ndarray, np.ndarray, np.ndarray]  # x, y [h, w] of ground samples and their depth [h]; metres


class GroundPainter:
    """Draws a street into empty sample buffers, before anything that stands on it."""

    def __init__(self, street: Street) -> None:
        self.street = street
        self._reach = np.array([(d.outline[:, 1].min(), d.outline[:, 1].max()) for d in street.decals]).reshape(-1, 2)
        left, right = street.strips
        self._covers = [cover for _, cover in (*left, *right)]
        # From left to right: strips, kerb face, road, kerb face, strips; numbers of covers, then road and face.
        beside, road = range(len(self._covers)), len(self._covers)
        self._order = [*beside[len(left) - 1 :: -1], road + 1, road, road + 1, *beside[len(left) :]]
        self._outer = [street.edges[0] - outer for outer, _ in reversed(left[:-1])]
        self._inner = [street.edges[1] + outer for outer, _ in right[:-1]]
        self._classes = np.array([*(cover.class_id for cover in self._covers), ROAD, SIDEWALK], np.int32)

    def draw(self, raster: Raster, shadows: list[Shadow]) -> None:
        """Draws the ground and the shadows on it; rows below the horizon are overwritten."""
        view, street, camera = raster.view, self.street, raster.view.camera
        descent = raster.rows * math.cos(camera.pitch) + math.sin(camera.pitch)
        first = int(np.searchsorted(descent, camera.mount_height / _FAR))
        if first >= camera.height:
            return
        depth_road = (camera.mount_height / descent[first:]).astype(np.float32)
        depth_side = ((camera.mount_height - street.kerb) / descent[first:]).astype(np.float32)
        region = self._regions(raster, first, depth_road, depth_side)
        on_road = region == len(self._covers)

        np.take(self._classes, region, out=raster.label[first:], mode="clip")
        inverse, color = raster.inverse_depth[first:], raster.color[first:]
        inverse[:] = (1.0 / depth_side)[:, None]
        np.copyto(inverse, (1.0 / depth_road)[:, None], where=on_road)
        # The upright sides of the kerbs.
        at_rows, at_columns = np.nonzero(region == len(self._covers) + 1)
        across = view.rotation[:, 0]
        slope = across[0] * raster.columns[at_columns] + across[1] * raster.rows[first + at_rows] + across[2]
        inverse[at_rows, at_columns] = slope / (np.where(slope < 0, street.edges[0], street.edges[1]) - view.x)
        color[at_rows, at_columns] = street.kerb_color

        samples = _Samples(raster, first)
        asphalt = samples.cover(samples.plane(depth_road), street.asphalt)
        seen = (self._reach[:, 1] > view.y) & (self._reach[:, 0] < view.y + _DECAL_RANGE)
        decals = [street.decals[index] for index in np.flatnonzero(seen)]
        factor: np.ndarray = np.full(asphalt.shape[:2], 128, np.uint8)
        for decal in decals:
            if not decal.paint:
                samples.fill(factor, decal.outline, round(128 * decal.strength))
        factor = cv2.GaussianBlur(factor, (3, 3), 0)
        cv2.multiply(asphalt, cv2.merge([factor] * 3), dst=asphalt, scale=1 / 128)
        cv2.copyTo(samples.enlarged(asphalt), on_road.view(np.uint8), color)
        beside = samples.plane(depth_side)
        for cover in dict.fromkeys(self._covers):
            mask = np.take([*(other is cover for other in self._covers), False, False], region, mode="clip")
            if mask.any():
                cv2.copyTo(samples.enlarged(samples.cover(beside, cover)), mask.view(np.uint8), color)
        _paint(color, [decal for decal in decals if decal.paint], on_road, first, raster)
        if shadows:  # where several overlap the darkest counts
            light = np.full(samples.shape, 255, np.uint8)
            for shadow in sorted(shadows, key=lambda item: item.share):
                samples.fill(light, shadow.outline, round(255 * (1 - shadow.share)), shadow.height)
            light = samples.enlarged(cv2.GaussianBlur(light, (0, 0), 1.6))
            cv2.multiply(color, cv2.merge([light] * 3), dst=color, scale=1 / 255)

    def _regions(self, raster: Raster, first: int, depth_road: np.ndarray, depth_side: np.ndarray) -> np.ndarray:
        """Returns which part of the street every sample [h, W] shows, as a number of ``self._order``.

        Every line along the street crosses a row of samples at one column, so a row is a few runs of equal value.
        """
        view, camera, rotation = raster.view, raster.view.camera, raster.view.rotation
        left, right = self.street.edges
        lines = [(x, depth_side) for x in (*self._outer, left)] + [(left, depth_road), (right, depth_road)]
        lines += [(x, depth_side) for x in (right, *self._inner)]
        tilt = rotation[1, 0] * raster.rows[first:] + rotation[2, 0]
        crossings = [((x - view.x) / depth - tilt) / rotation[0, 0] * camera.fx + camera.cx for x, depth in lines]
        borders = np.clip(np.ceil(np.stack(crossings, axis=1)), 0, camera.width).astype(np.int64)
        lengths = np.diff(np.maximum.accumulate(borders, axis=1), axis=1, prepend=0, append=camera.width)
        order = np.tile(np.array(self._order, np.uint8), len(lengths))
        return np.repeat(order, lengths.ravel()).reshape(len(lengths), camera.width)


class _Samples:
    """Ground samples from row ``first`` on, at half the sampling resolution where the picture is large."""

    def __init__(self, raster: Raster, first: int) -> None:
        self.raster, self.first = raster, first
        self.full = (raster.view.camera.width, raster.view.camera.height - first)
        self.step = 2 if self.full[1] > 64 and self.full[0] > 1024 else 1
        self.rows, self.columns = raster.rows[first :: self.step], raster.columns[:: self.step]
        self.shape = (len(self.rows), len(self.columns))

    def plane(self, depth: np.ndarray) -> _Plane:
        """Returns where the samples meet a level plane, given its depth at every row of the sampling grid."""
        view, depth = self.raster.view, depth[:: self.step]
        rotation = view.rotation.astype(np.float32)
        x, y = (
            depth[:, None] * (rotation[0, i] * self.columns + (rotation[1, i] * self.rows + rotation[2, i])[:, None])
            + np.float32(place)
            for i, place in enumerate((view.x, view.y))
        )
        return x, y, depth

    def enlarged(self, colors: np.ndarray) -> np.ndarray:
        """Brings an array of this grid to the sampling resolution."""
        return colors if self.step == 1 else cv2.resize(colors, self.full, interpolation=cv2.INTER_LINEAR)

    def fill(self, target: np.ndarray, outline: np.ndarray, value: int, height: float = 0.0) -> None:
        """Fills a ground polygon in an array of this grid."""
        fixed = _on_screen(outline, self.raster, height)
        if fixed is not None:
            fixed = (fixed - np.array([0, self.first << FRACTION_BITS], np.int32)) // self.step
            cv2.fillPoly(target, [fixed], value, shift=FRACTION_BITS)

    def cover(self, plane: _Plane, material: Material) -> np.ndarray:
        """Returns the colours uint8 [h, w, 3] of a ground cover that lies everywhere on the plane."""
        colors = self._tiled(plane, material.texture, material.span)
        return cv2.multiply(colors, self._tiled(plane, patchiness(), 47.0), scale=1 / 128)

    def _tiled(self, plane: _Plane, texture: Texture, span: float) -> np.ndarray:
        """Reads a tiled texture; bands of rows take the copy that their own footprint on the ground asks for."""
        x, y, depth = plane
        camera = self.raster.view.camera
        height, width = texture.pixels.shape[:2]
        wide = depth * self.step / camera.fx * width / span
        long = depth**2 * self.step / (camera.fy * camera.mount_height) * height / span
        across = np.rint(np.log2(np.maximum(wide, 1.0))).astype(int)
        down = np.rint(np.log2(np.maximum(long, 1.0)) - 0.4).astype(int).clip(0)
        result = np.empty((*x.shape, 3), np.uint8)
        starts = np.flatnonzero(np.diff(across * 64 + down, prepend=-1))
        for start, stop in zip(starts, [*starts[1:], len(depth)], strict=True):
            tile = _wrapped(texture, int(across[start]), int(down[start]))
            u, v = x[start:stop] * np.float32(1 / span), y[start:stop] * np.float32(1 / span)
            u = (u - np.floor(u)) * np.float32(tile.shape[1] - 1)
            v = (v - np.floor(v)) * np.float32(tile.shape[0] - 1)
            result[start:stop] = cv2.remap(tile, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return result


def _wrapped(texture: Texture, across: int, down: int) -> np.ndarray:
    """Returns a filtered copy with its first row and column repeated at the end, for seamless tiles."""
    key = (min(across, 12) + 100, min(down, 12) + 100)
    if key not in texture.levels:
        texture.levels[key] = cv2.copyMakeBorder(texture.level(across, down), 0, 1, 0, 1, cv2.BORDER_WRAP)
    return texture.levels[key]


def _on_screen(outline: np.ndarray, raster: Raster, height: float = 0.0) -> np.ndarray | None:
    """Projects a polygon [N, 2] on the road to fixed-point pixels, or None where nothing of it can be seen."""
    points = raster.view.to_camera(np.column_stack([outline, np.full(len(outline), height)]))
    nearest = points[:, 2].min()
    if nearest > _DECAL_RANGE or points[:, 2].max() < NEAR:
        return None
    if nearest < NEAR:
        points = clip_near(points)
        if len(points) < 3:
            return None
    pixels = raster.view.project(points)
    if pixels[:, 0].max() < 0 or (pixels.min(axis=0) > raster.label.shape[::-1]).any():
        return None
    return np.rint(pixels * (1 << FRACTION_BITS)).astype(np.int32)


def _paint(color: np.ndarray, decals: list[Decal], on_road: np.ndarray, first: int, raster: Raster) -> None:
    """Blends worn road paint onto the asphalt."""
    mask = np.zeros(raster.label.shape, np.uint8)
    for decal in decals:
        outline = _on_screen(decal.outline, raster)
        if outline is not None:
            cv2.fillPoly(mask, [outline], round(255 * decal.strength), shift=FRACTION_BITS)
    painted = (mask[first:] > 0) & on_road
    if not painted.any():
        return
    below = color[painted].astype(np.float32)
    coverage = mask[first:][painted].astype(np.float32)[:, None] / 255
    # Paint wears off where the asphalt's stones stand out, so the asphalt's own texture thins it.
    coverage *= np.clip(1.25 - 0.0045 * below[:, :1], 0.4, 1.0)
    paint = np.array([212, 212, 206], np.float32) + 0.25 * (below - below.mean())
    color[painted] = np.clip(below + coverage * (paint - below), 0, 255).astype(np.uint8)
