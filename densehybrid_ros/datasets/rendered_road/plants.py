"""Trees, bushes and hedges: layered cards of leaves that face along the road, and trunks."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from densehybrid_ros.datasets.rendered_road.mesh import Face, Mesh, box, cylinder
from densehybrid_ros.datasets.rendered_road.textures import Texture, fractal_noise

VEGETATION = 8
"""Train id."""


@lru_cache(maxsize=16)
def crown(variant: int) -> Texture:
    """Draws a crown of leaves with coverage, light from above."""
    rng = np.random.default_rng(1_000 + variant)
    size = 320
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    shape = np.full((size, size), -1.0, np.float32)
    shade = np.zeros((size, size), np.float32)
    for _ in range(int(rng.integers(14, 26))):
        angle, radius = rng.uniform(0, 2 * np.pi), 0.30 * np.sqrt(rng.uniform())
        cx, cy, r = radius * np.cos(angle), radius * np.sin(angle) * 0.9, rng.uniform(0.08, 0.19)
        lobe = 1 - np.hypot(x - cx, (y - cy) * 1.1) / r
        front = lobe > shape
        shade = np.where(front & (lobe > 0), -(y - cy) / r + rng.uniform(-0.3, 0.3), shade)
        shape = np.maximum(shape, lobe)
    leaves = fractal_noise(rng, size, size, cells=24, octaves=4, gain=0.9)
    clumps = fractal_noise(rng, size, size, cells=8, octaves=4, gain=0.7)
    # The picture's rim stays empty, so that no crown ends in a straight line.
    rim = np.clip(12 * (np.maximum(np.abs(x), np.abs(y)) - 0.42), 0, 1)
    alpha = shape + 0.20 * leaves + 0.16 * clumps - rim > 0.06
    green = np.array([68.0, 86.0, 40.0]) * rng.uniform(0.75, 1.15) * rng.uniform(0.92, 1.08, 3)
    light = np.clip(0.82 + 0.26 * shade + 0.20 * leaves + 0.16 * clumps - 0.35 * y, 0.25, 1.9)
    warm = 1 + 0.08 * clumps[..., None] * np.array([1.0, 0.3, -0.6])
    color = np.clip(green * light[..., None] * warm, 0, 255)
    return Texture(np.dstack([color, np.where(alpha, 255, 0)]).astype(np.uint8))


@lru_cache(maxsize=4)
def _leaves(variant: int) -> Texture:
    rng = np.random.default_rng(1_100 + variant)
    noise = fractal_noise(rng, 128, 256, cells=12, octaves=5, gain=0.9)
    green = np.array([62.0, 80.0, 38.0]) * rng.uniform(0.8, 1.15)
    return Texture(np.clip(green * (1 + 0.28 * noise[..., None]), 0, 255).astype(np.uint8))


@lru_cache(maxsize=4)
def _bark(variant: int) -> Texture:
    rng = np.random.default_rng(1_200 + variant)
    streaks = cv2.resize(rng.standard_normal((10, 48)).astype(np.float32), (64, 128), interpolation=cv2.INTER_CUBIC)
    return Texture(np.clip(np.array([84, 72, 58]) * (1 + 0.22 * streaks[..., None]), 0, 255).astype(np.uint8))


def _card(
    x: float, y: float, low: float, width: float, height: float, texture: Texture
) -> tuple[np.ndarray, list[Face]]:
    half = width / 2
    vertices = np.array(
        [(x - half, y, low + height), (x + half, y, low + height), (x + half, y, low), (x - half, y, low)]
    )
    return vertices, [Face((0, 1, 2, 3), (70, 88, 44), texture, two_sided=True)]


def tree(rng: np.random.Generator, x: float, y: float) -> list[Mesh]:
    """Makes a broad-leaved tree standing at (x, y)."""
    height = float(rng.uniform(5.5, 11.5))
    spread = height * float(rng.uniform(0.5, 0.75))
    stem = height * float(rng.uniform(0.22, 0.34))
    radius = 0.016 * height + 0.05
    bark = _bark(int(rng.integers(4)))
    trunk, faces = cylinder((x, y, 0), (x, y, stem + 1.4), radius, (84, 74, 62), 8, radius * 0.7)
    for face in faces:
        if len(face.corners) == 4:
            face.texture = bark
    meshes = [Mesh(trunk, faces, VEGETATION)]
    for layer in (0.28, 0.0, -0.28):
        # Leaves grow in depth: several cards one behind the other.
        scale = 1.0 if layer == 0.0 else float(rng.uniform(0.72, 0.92))
        offset = float(rng.normal(0, 0.06)) * spread
        vertices, card = _card(
            x + offset, y + layer * spread, stem + float(rng.uniform(-0.1, 0.25)), spread * 1.25 * scale,
            (height - stem) * 1.12 * scale, crown(int(rng.integers(16))),
        )  # fmt: skip
        meshes.append(Mesh(vertices, card, VEGETATION))
    return meshes


def bush(rng: np.random.Generator, x: float, y: float) -> list[Mesh]:
    """Makes a bush of two cards."""
    size = float(rng.uniform(0.8, 2.2))
    meshes = []
    for layer in (0.2, -0.2):
        vertices, card = _card(
            x + float(rng.normal(0, 0.1)), y + layer * size, -0.22 * size, size * float(rng.uniform(1.2, 1.6)),
            size * 1.25, crown(int(rng.integers(16))),
        )  # fmt: skip
        vertices[:, 2] = np.maximum(vertices[:, 2], -0.22 * size)
        meshes.append(Mesh(vertices, card, VEGETATION))
    return meshes


def hedge(rng: np.random.Generator, x: float, start: float, end: float) -> list[Mesh]:
    """Makes a clipped hedge along the road."""
    height, texture = float(rng.uniform(0.9, 1.8)), _leaves(int(rng.integers(4)))
    meshes = []
    y = start
    while y < end - 0.3:
        stop = min(y + 3.0, end)
        vertices, faces = box(0.9, stop - y, height, (62, 80, 38), texture)
        meshes.append(Mesh(vertices, faces, VEGETATION).placed(x, (y + stop) / 2))
        y = stop
    return meshes


@lru_cache(maxsize=6)
def skyline(variant: int) -> Texture:
    """Draws the end of the view: tree tops, with coverage."""
    rng = np.random.default_rng(1_300 + variant)
    rows, columns = 96, 768
    coarse, fine = (
        cv2.resize(rng.standard_normal((1, count)).astype(np.float32), (columns, 1), interpolation=cv2.INTER_CUBIC)[0]
        for count in (14, 110)
    )
    rough = rng.standard_normal(columns).astype(np.float32)
    line = np.clip((0.45 + 0.10 * coarse + 0.05 * fine + 0.015 * rough) * rows, 2, rows - 8)
    noise = fractal_noise(rng, 128, columns, cells=24, octaves=3, gain=0.8)[:rows]
    color = np.array([62, 76, 48]) * (1 + 0.2 * noise[..., None])
    alpha = np.arange(rows)[:, None] > line
    return Texture(np.dstack([np.clip(color, 0, 255), np.where(alpha, 255, 0)]).astype(np.uint8))
