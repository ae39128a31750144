"""Ground covers: asphalt, paving, kerb stones and grass, each a tile that repeats without a seam."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from densehybrid_ros.datasets.rendered_road.textures import Texture, fractal_noise, tinted

ROAD, SIDEWALK, TERRAIN = 0, 1, 9
"""Train ids of the classes that lie on the ground."""


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
    mixed = noise * 0.6 + drawn * 1.2
    grey = np.clip(128 * (1 + 0.075 * mixed), 0, 255).astype(np.uint8)
    return Texture(cv2.merge([grey] * 3))


@lru_cache(maxsize=8)
def asphalt(variant: int) -> Material:
    """Returns one of several road covers: stones, binder, fine cracks."""
    rng = np.random.default_rng(100 + variant)
    size = 1024
    stones: np.ndarray = rng.standard_normal((size, size)).astype(np.float32)
    stones = cv2.GaussianBlur(cv2.copyMakeBorder(stones, 4, 4, 4, 4, cv2.BORDER_WRAP), (0, 0), 0.9)[4:-4, 4:-4]
    stones = stones / float(stones.std())
    slow = fractal_noise(rng, size, size, cells=4, octaves=6, gain=0.8)
    mixed = 0.10 * stones + 0.05 * slow
    ridge = np.abs(fractal_noise(rng, size, size, cells=3, octaves=5, gain=0.6))
    gate = fractal_noise(rng, size, size, cells=2, octaves=2) > 0.9
    mixed -= 0.22 * (ridge < 0.012) * gate
    mixed = mixed + 0.35 * (rng.random((size, size)) > 0.9985)
    base = float(rng.uniform(72, 112))
    tint = rng.uniform(-3, 3)
    return Material(ROAD, Texture(tinted(mixed, (base + tint, base, base - tint + 2), 1.0)), 6.0)


@lru_cache(maxsize=8)
def paving(variant: int) -> Material:
    """Returns one of several pavements made of slabs or small stones."""
    rng = np.random.default_rng(200 + variant)
    size = 512
    count = int(rng.choice([5, 8, 10, 20, 25]))
    base = np.array([rng.uniform(105, 150)] * 3) * rng.uniform(0.94, 1.06, 3)
    if variant % 3 == 2:
        base = np.array([150, 112, 98]) * rng.uniform(0.85, 1.05)
    cell = size / count
    grid = (np.arange(size) / cell).astype(int)
    tones = rng.normal(0, 0.07, (count, count)).astype(np.float32)
    mixed = tones[grid][:, grid] + 0.06 * fractal_noise(rng, size, size, cells=4, octaves=7, gain=0.85)
    joint = (np.arange(size) % cell) < 1.4
    mixed[joint] -= 0.22
    mixed[:, joint] -= 0.22
    return Material(SIDEWALK, Texture(tinted(mixed, tuple(base), 1.0)), 4.0)


@lru_cache(maxsize=4)
def grass(variant: int) -> Material:
    """Returns one of several lawns and verges."""
    rng = np.random.default_rng(300 + variant)
    size = 512
    blades: np.ndarray = rng.standard_normal((size, size)).astype(np.float32)
    blades = cv2.GaussianBlur(blades, (0, 0), sigmaX=0.7, sigmaY=1.6)
    mixed = 0.22 * blades / blades.std() + 0.16 * fractal_noise(rng, size, size, cells=6, octaves=6, gain=0.8)
    green = np.array([84.0, 104.0, 52.0]) * rng.uniform(0.8, 1.1, 3)
    colors = tinted(mixed, tuple(green), 1.0).astype(np.float32)
    earth = np.clip(fractal_noise(rng, size, size, cells=5, octaves=5) - 1.0, 0, 1)[..., None] * 0.7
    colors = colors * (1 - earth) + np.array([112, 98, 74], np.float32) * (1 + 0.1 * mixed[..., None]) * earth
    return Material(TERRAIN, Texture(np.clip(colors, 0, 255).astype(np.uint8)), 5.0)


@lru_cache(maxsize=8)
def kerb_stones(variant: int) -> Material:
    """Returns one of several rows of kerb stones, a metre long each."""
    rng = np.random.default_rng(400 + variant)
    size = 512
    mixed = 0.07 * fractal_noise(rng, size, size, cells=6, octaves=7, gain=0.9)
    length = size // 4
    mixed += rng.normal(0, 0.06, 4).astype(np.float32)[np.arange(size) // length][:, None]
    mixed[np.arange(size) % length < 3] -= 0.3
    base = float(rng.uniform(108, 158))
    tint = rng.uniform(-4, 6)
    return Material(SIDEWALK, Texture(tinted(mixed, (base + tint, base, base - tint), 1.0)), 4.0)
