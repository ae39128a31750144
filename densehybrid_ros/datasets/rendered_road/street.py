# SPDX-License-Identifier: Apache-2.0
"""Measures of a street, its covers (tiles that repeat without a seam), its markings and the wear of its asphalt."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from densehybrid_ros.datasets.rendered_road.textures import Texture, fractal_noise, picture

ROAD, SIDEWALK, TERRAIN = 0, 1, 9
"""Train ids of the classes that lie on the ground."""
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
