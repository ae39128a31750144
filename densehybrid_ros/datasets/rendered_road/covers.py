# SPDX-License-Identifier: Apache-2.0
"""Ground covers: asphalt, paving and grass, each a tile that repeats without a seam."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from densehybrid_ros.datasets.rendered_road.textures import Texture, fractal_noise, picture

ROAD, SIDEWALK, TERRAIN = 0, 1, 9
"""Train ids of the classes that lie on the ground."""
_SIZE = 512


@dataclass(frozen=True, eq=False)
class Material:
    """A ground cover: its train id, its texture, and the metres that one tile of the texture spans."""

    class_id: int
    texture: Texture
    span: float


@lru_cache(maxsize=1)
def patchiness() -> Texture:
    """Slow changes of brightness over tens of metres, drawn out along the road; grey 128 changes nothing."""
    noise = fractal_noise(np.random.default_rng(11), 256, 256, cells=6, octaves=5, gain=0.7)
    drawn = cv2.blur(cv2.copyMakeBorder(noise, 20, 20, 0, 0, cv2.BORDER_WRAP), (1, 33))[20:-20]
    return picture(128 * (1 + 0.075 * (noise * 0.6 + drawn * 1.2)[..., None].repeat(3, axis=2)))


@lru_cache(maxsize=8)
def asphalt(variant: int) -> Material:
    """Returns one of several road covers: stones, binder, fine cracks."""
    rng = np.random.default_rng(100 + variant)
    size = 2 * _SIZE
    stones = cv2.copyMakeBorder(rng.standard_normal((size, size)).astype(np.float32), 4, 4, 4, 4, cv2.BORDER_WRAP)
    stones = cv2.GaussianBlur(stones, (0, 0), 0.9)[4:-4, 4:-4]
    mixed = 0.10 * stones / stones.std() + 0.05 * fractal_noise(rng, size, size, cells=4, octaves=6, gain=0.8)
    ridge = np.abs(fractal_noise(rng, size, size, cells=3, octaves=5, gain=0.6))
    mixed -= 0.22 * (ridge < 0.012) * (fractal_noise(rng, size, size, cells=2, octaves=2) > 0.9)
    mixed += 0.35 * (rng.random((size, size)) > 0.9985)
    base, tint = rng.uniform(72, 112), rng.uniform(-3, 3)
    return Material(ROAD, picture((1 + mixed[..., None]) * (base + tint, base, base - tint + 2)), 6.0)


@lru_cache(maxsize=8)
def paving(variant: int) -> Material:
    """Returns one of several pavements made of slabs or small stones."""
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
def grass(variant: int) -> Material:
    """Returns one of several lawns and verges."""
    rng = np.random.default_rng(300 + variant)
    blades = cv2.GaussianBlur(rng.standard_normal((_SIZE, _SIZE)).astype(np.float32), (0, 0), sigmaX=0.7, sigmaY=1.6)
    mixed = 0.22 * blades / blades.std() + 0.16 * fractal_noise(rng, _SIZE, _SIZE, cells=6, octaves=6, gain=0.8)
    green = (1 + mixed[..., None]) * (84, 104, 52) * rng.uniform(0.8, 1.1, 3)
    earth = np.clip(fractal_noise(rng, _SIZE, _SIZE, cells=5) - 1.0, 0, 1)[..., None] * 0.7
    brown = (1 + 0.1 * mixed[..., None]) * (112, 98, 74)
    return Material(TERRAIN, picture(green * (1 - earth) + brown * earth), 5.0)
