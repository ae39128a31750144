# SPDX-License-Identifier: Apache-2.0
"""Trees and bushes: layered cards of leaves that face along the road, and trunks."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from densehybrid_ros.datasets.rendered_road.mesh import Mesh, card, cylinder
from densehybrid_ros.datasets.rendered_road.textures import Texture, fractal_noise, picture

VEGETATION = 8
"""Train id."""


@lru_cache(maxsize=16)
def _crown(variant: int) -> Texture:
    """Draws a crown of leaves with coverage, light from above."""
    rng = np.random.default_rng(1_000 + variant)
    y, x = np.mgrid[0:320, 0:320] / 320 - 0.5
    shape: np.ndarray = np.full_like(x, -1.0)
    shade: np.ndarray = np.zeros_like(x)
    for _ in range(int(rng.integers(14, 26))):
        angle, radius = rng.uniform(0, 2 * np.pi), 0.30 * np.sqrt(rng.uniform())
        cx, cy, r = radius * np.cos(angle), radius * np.sin(angle) * 0.9, rng.uniform(0.08, 0.19)
        lobe = 1 - np.hypot(x - cx, (y - cy) * 1.1) / r
        shade = np.where((lobe > shape) & (lobe > 0), -(y - cy) / r + rng.uniform(-0.3, 0.3), shade)
        shape = np.maximum(shape, lobe)
    leaves = fractal_noise(rng, 320, 320, cells=24, octaves=4, gain=0.9)
    clumps = fractal_noise(rng, 320, 320, cells=8, octaves=4, gain=0.7)
    # The picture's rim stays empty, so that no crown ends in a straight line.
    rim = np.clip(12 * (np.maximum(np.abs(x), np.abs(y)) - 0.42), 0, 1)
    alpha = shape + 0.20 * leaves + 0.16 * clumps - rim > 0.06
    green = np.array([68.0, 86.0, 40.0]) * rng.uniform(0.75, 1.15) * rng.uniform(0.92, 1.08, 3)
    light = np.clip(0.82 + 0.26 * shade + 0.20 * leaves + 0.16 * clumps - 0.35 * y, 0.25, 1.9)
    warm = 1 + 0.08 * clumps[..., None] * (1.0, 0.3, -0.6)
    return picture(np.dstack([green * light[..., None] * warm, 255.0 * alpha]))


@lru_cache(maxsize=4)
def _bark(variant: int) -> Texture:
    streaks: np.ndarray = np.random.default_rng(1_200 + variant).standard_normal((10, 48)).astype(np.float32)
    streaks = cv2.resize(streaks, (64, 128), interpolation=cv2.INTER_CUBIC)
    return picture((1 + 0.22 * streaks[..., None]) * (84, 72, 58))


def tree(rng: np.random.Generator, x: float, y: float) -> list[Mesh]:
    """Makes a broad-leaved tree standing at (x, y)."""
    height, spread = (rng.uniform(5.5, 11.5) * np.array([1.0, rng.uniform(0.5, 0.75)])).tolist()
    stem, bark = height * float(rng.uniform(0.22, 0.34)), _bark(int(rng.integers(4)))
    parts = [cylinder((x, y, 0), (x, y, stem + 1.4), 0.016 * height + 0.05, (84, 74, 62), 0.7, bark)]
    for layer in (0.28, 0.0, -0.28):  # leaves grow in depth: several cards one behind the other
        scale, aside = float(rng.uniform(0.72, 0.92)) if layer else 1.0, spread * float(rng.normal(0, 0.06))
        size, low = (1.25 * spread * scale, 1.12 * (height - stem) * scale), stem + float(rng.uniform(-0.1, 0.25))
        parts.append(card(x + aside, y + layer * spread, low, *size, _crown(int(rng.integers(16)))))
    return [Mesh(part, VEGETATION) for part in parts]


def bush(rng: np.random.Generator, x: float, y: float) -> list[Mesh]:
    """Makes a bush of two cards."""
    size, crowns = float(rng.uniform(0.8, 2.2)), rng.integers(16, size=2).tolist()
    cards = [
        card(x + layer, y + layer * size, -0.22 * size, 1.4 * size, 1.25 * size, _crown(variant))
        for layer, variant in zip((0.2, -0.2), crowns, strict=True)
    ]
    return [Mesh(part, VEGETATION) for part in cards]


@lru_cache(maxsize=6)
def _skyline(variant: int) -> Texture:
    rng = np.random.default_rng(1_300 + variant)
    line: np.ndarray = np.full(768, 43.0)
    for count, strength in ((14, 9.6), (110, 4.8), (768, 1.4)):
        bumps = rng.standard_normal((1, count)).astype(np.float32)
        line += strength * cv2.resize(bumps, (768, 1), interpolation=cv2.INTER_CUBIC)[0]
    noise = fractal_noise(rng, 128, 768, cells=24, octaves=3, gain=0.8)[:96]
    alpha = np.arange(96)[:, None] > np.clip(line, 2, 88)
    return picture(np.dstack([(1 + 0.2 * noise[..., None]) * (62, 76, 48), 255.0 * alpha]))


def skyline(rng: np.random.Generator, y: float, width: float, height: float) -> list[Mesh]:
    """Makes the tree tops that close the view at y."""
    part = card(0.0, y, -2.0, width, height + 2.0, _skyline(int(rng.integers(6))))
    return [Mesh(part, VEGETATION, shadow=False)]
