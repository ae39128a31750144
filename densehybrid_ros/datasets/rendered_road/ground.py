# SPDX-License-Identifier: Apache-2.0
"""A street: its measures, covers and markings, drawn as a level plane with world-fixed texture, paint and shadows."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from densehybrid_ros.datasets.rendered_road.light import Shadow
from densehybrid_ros.datasets.rendered_road.raster import FRACTION_BITS, NEAR, Raster, clip_near
from densehybrid_ros.datasets.rendered_road.textures import Texture, fractal_noise, picture

ROAD, SIDEWALK, TERRAIN = 0, 1, 9
"""Train ids of the classes that lie on the ground."""
_FAR = 900.0  # metres; beyond it the ground is left to the backdrop
_DECAL_RANGE = 160.0  # metres ahead up to which markings, patches and shadows are drawn
_PAINT = np.array([212, 212, 206], np.float32)
_STEP = 2  # samples of the raster between those of the ground
_SIZE = 512
_PARKING = 2.15  # metres
_CIRCLE = np.exp(2j * math.pi * np.arange(14)[:, None] / 14).view(float)


class Material(NamedTuple):
    """A ground cover: its train id, its texture, and the metres that one tile of the texture spans."""

    class_id: int
    texture: Texture
    span: float


@lru_cache(maxsize=8)
def _asphalt(variant: int) -> Material:
    """Stones, binder, fine cracks."""
    rng, size = np.random.default_rng(100 + variant), _SIZE
    stones = cv2.GaussianBlur(rng.standard_normal((size, size)).astype(np.float32), (0, 0), 0.9)
    mixed = 0.10 * stones / stones.std() + 0.05 * fractal_noise(rng, size, size, cells=4, octaves=6, gain=0.8)
    ridge = np.abs(fractal_noise(rng, size, size, cells=3, octaves=5, gain=0.6))
    mixed -= 0.22 * (ridge < 0.012) * (fractal_noise(rng, size, size, cells=2, octaves=2) > 0.9)
    mixed += 0.35 * (rng.random((size, size)) > 0.9985)
    base, tint = rng.uniform(72, 112), rng.uniform(-3, 3)
    return Material(ROAD, picture((1 + mixed[..., None]) * (base + tint, base, base - tint + 2)), 4.0)


@lru_cache(maxsize=8)
def _paving(variant: int) -> Material:
    """Slabs or small stones."""
    rng = np.random.default_rng(200 + variant)
    count = int(rng.choice([5, 8, 10, 20, 25]))
    base = np.array([150, 112, 98]) if variant % 3 == 2 else np.full(3, rng.uniform(108, 150))
    grid = np.arange(_SIZE) * count // _SIZE
    mixed = rng.normal(0, 0.07, (count, count))[grid][:, grid]
    mixed += 0.06 * fractal_noise(rng, _SIZE, _SIZE, cells=4, octaves=7, gain=0.85)
    joint = np.arange(_SIZE) % (_SIZE / count) < 1.4
    mixed -= 0.22 * (joint[:, None] + joint[None].astype(float))
    return Material(SIDEWALK, picture((1 + mixed[..., None]) * base * rng.uniform(0.92, 1.06, 3)), 4.0)


@lru_cache(maxsize=4)
def _grass(variant: int) -> Material:
    """Blades with patches of earth."""
    rng = np.random.default_rng(300 + variant)
    blades = cv2.GaussianBlur(rng.standard_normal((_SIZE, _SIZE)).astype(np.float32), (0, 0), sigmaX=0.7, sigmaY=1.6)
    mixed = 0.22 * blades / blades.std() + 0.16 * fractal_noise(rng, _SIZE, _SIZE, cells=6, octaves=6, gain=0.8)
    green = (1 + mixed[..., None]) * (84, 104, 52) * rng.uniform(0.8, 1.1, 3)
    earth = np.clip(fractal_noise(rng, _SIZE, _SIZE, cells=5) - 1.0, 0, 1)[..., None] * 0.7
    brown = (1 + 0.1 * mixed[..., None]) * (112, 98, 74)
    return Material(TERRAIN, picture(green * (1 - earth) + brown * earth), 5.0)


class Decal(NamedTuple):
    """Something flat on the road: ``outline`` float32 [N, 2] (x, y) in metres.

    ``strength`` is the coverage of ``paint`` (0..1), or the factor by which a patch changes the brightness.
    """

    outline: np.ndarray
    paint: bool
    strength: float


class Street:
    """A street drawn at random, ``length`` metres and on to the horizon; positions in metres, pairs are (left, right).

    Attributes:
        lane_width: Width of a lane.
        lanes: Number of oncoming lanes and of lanes in the direction of travel.
        parking: Width of the lanes in which cars park along the kerb, 0 for none.
        edges: Positions of the kerbs (x).
        verge, front: Where the grass and the pavement end, measured from the kerb.
        covers, borders: Covers of the ground from left to right, and positions (x) of the lines between them.
        decals: Markings and patches.
    """

    def __init__(self, rng: np.random.Generator, length: float) -> None:
        self.lane_width = float(rng.uniform(3.0, 3.7))
        self.lanes: list[int] = rng.choice([1, 1, 2], 2).tolist()
        self.parking: list[float] = (_PARKING * (rng.random(2) < 0.52)).tolist()
        reach = [lanes * self.lane_width + parked for lanes, parked in zip(self.lanes, self.parking, strict=True)]
        self.edges = (-reach[0], reach[1])
        self.verge: list[float] = (rng.uniform(0.0, 2.5, 2) * rng.integers(2)).tolist()
        self.front: list[float] = (self.verge + rng.uniform(2.2, 4.8, 2)).tolist()
        self.asphalt, lawn = _asphalt(int(rng.integers(4))), _grass(int(rng.integers(4)))
        stones, pavement = (_paving(variant) for variant in rng.integers(6, size=2).tolist())
        self.covers = [pavement, lawn, stones, self.asphalt, stones, lawn, pavement]
        left, right = ((0.16 + verge, 0.16, 0.0) for verge in self.verge)
        self.borders = [*(self.edges[0] - x for x in left), *(self.edges[1] + x for x in right[::-1])]
        self.decals: list[Decal] = []
        self._wear(rng, length + 120)
        self._mark(rng, length)

    def _mark(self, rng: np.random.Generator, length: float) -> None:
        """Paints lane lines, edge lines and zebra crossings."""
        worn = float(rng.uniform(0.45, 0.95))

        def paint(x: float, y: float, width: float, long: float) -> None:
            self.decals.append(Decal(_rectangle(x, y, x + width, y + long), True, worn))

        def line(x: float, dash: float, gap: float) -> None:
            for y in np.arange(-20.0 + rng.uniform(0, 6), length + (260 if gap else 400), dash + gap).tolist():
                paint(x - 0.06, y, 0.12, dash)

        line(0.0, 3.0, 6.0)
        for lanes, parking, sign in zip(self.lanes, self.parking, (-1, 1), strict=True):
            for lane in range(1, lanes):
                line(sign * lane * self.lane_width, 3.0, 6.0)
            x = lanes * self.lane_width - (0.0 if parking else 0.35)
            line(sign * x, *((1.0, 1.0) if parking and rng.random() < 0.4 else (12.0, 0.0)))
        for y in np.arange(rng.uniform(20, 90), length + 120, rng.uniform(60, 140)).tolist():
            for x in np.arange(self.edges[0] + 0.4, self.edges[1] - 0.6, 1.0).tolist():
                paint(x, y, 0.5, 3.5)  # a zebra crossing and its stop line
            paint(0.1, y - 1.6, self.edges[1] - 0.3, 0.4)

    def _wear(self, rng: np.random.Generator, end: float) -> None:
        """Adds wheel tracks, repairs, cracks and oil."""
        left, right = self.edges

        def stain(outline: np.ndarray, low: float, high: float) -> None:
            self.decals.append(Decal(outline.astype(np.float32), False, float(rng.uniform(low, high))))

        tracks = float(rng.uniform(0.93, 0.99))
        for x in (-2.4, -0.9, 0.9, 2.4):
            stain(_rectangle(x - 0.3, -20, x + 0.3, end + 300), tracks, tracks)
        for x, y in rng.uniform((left, -5), (right - 1, end), (int(end / 9), 2)).tolist():
            wide = min(x + rng.uniform(0.6, 0.6 * (right - left)), right)
            stain(_rectangle(x, y, wide, y + rng.uniform(0.8, 14)), 0.80, 1.14)
        for x, y in rng.uniform((left + 0.5, -5), (right - 0.5, end), (int(end / 6), 2)).tolist():
            if rng.random() < 0.4:  # a crooked crack or seam that runs mostly along the road
                way = np.cumsum(rng.normal([0.06, 0.5], [0.16, 0.25], (10, 2)), axis=0) + (x, y)  # noqa: RUF005
                wide = rng.uniform(0.012, 0.035, (10, 1)) * (1, 0)
                stain(np.concatenate([way - wide, (way + wide)[::-1]]), 0.62, 0.90)
            else:  # oil
                stain((x, y) + _CIRCLE * rng.uniform(0.06, 0.7, (14, 1)), 0.70, 0.95)


def _rectangle(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float32)


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
