# SPDX-License-Identifier: Apache-2.0
"""Things that do not belong on a road, built from the tables of their kinds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise, product
from typing import Any

import numpy as np

from densehybrid_ros.datasets.rendered_road.mesh import Face, Mesh, Part, box, ellipsoid, joined, turned
from densehybrid_ros.datasets.rendered_road.object_kinds import KINDS, PALETTES
from densehybrid_ros.datasets.rendered_road.textures import Texture, fractal_noise, grain, picture

UNKNOWN = 255
"""What stands in the semantic map where an unknown object lies."""
_NUMBERS = {"box": 6, "rod": 8, "ball": 6, "ring": 5, "turn": 7}
_MIRRORED = {"2": [(-1, 1), (1, 1)], "4": list(product((-1, 1), (-1, 1)))}


def unknown_object(rng: np.random.Generator, instance: int, kind: str | None = None) -> tuple[str, Mesh]:
    """Makes an unknown object about the origin, standing on the ground; returns its kind and its mesh."""
    kind = kind or str(rng.choice(list(KINDS)))
    palette, rows, flags, second = KINDS[kind]
    tint, other = (
        np.clip(rng.choice(PALETTES[name]) * rng.uniform(0.8, 1.2) * rng.uniform(0.9, 1.1, 3), 5, 240)
        for name in (palette, second)
    )
    texture = _cover(int(rng.integers(12))) if "print" in flags else None
    parts: list[Part] = []
    for row in rows:
        shape, signs = row[0].rstrip("24"), _MIRRORED.get(row[0][-1], [(1, 1)])
        count = _NUMBERS[shape] + 1
        tones, repeats, *step = row[count:] if len(row) > count + 1 else (row[count], 1, 0, 0, 0)
        for index, mirror in product(range(repeats), signs):
            shift = np.multiply(step, index) + rng.normal(0, 0.008, 3) * (1, 1, 0)
            shares = np.multiply(tones, rng.uniform(0.85, 1.1)).ravel().tolist()
            colors = [np.minimum(abs(share) * (other if share < 0 else tint), 240) for share in shares]
            points, faces = _part(shape, row[1:count], colors, (*mirror, 1), texture)
            parts.append((points + shift, faces))
    vertices, faces = joined(parts)
    vertices *= rng.uniform(0.8, 1.25) * rng.uniform(0.9, 1.1, 3)
    if "soft" in flags:
        vertices, faces = _dented(rng, vertices, faces)
    if "tips" in flags and rng.random() < 0.45:
        vertices = vertices[:, [[2, 0, 1], [1, 2, 0]][rng.integers(2)]]
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    vertices = vertices - (*(0.5 * (low + high))[:2], low[2])
    mesh = Mesh((vertices, faces), UNKNOWN, instance, grain(int(rng.integers(8)), 0.11), "round" in flags)
    return kind, mesh.placed(0, 0, 0, float(rng.uniform(0, 2 * math.pi)))


def _part(
    shape: str, row: Sequence[Any], colors: list[np.ndarray], mirror: tuple[int, ...], texture: Texture | None
) -> Part:
    """Makes one part of an object, its places mirrored."""
    first, last = np.multiply(row[:3], mirror), np.multiply(row[3:6], mirror) if len(row) > 5 else np.zeros(3)
    if shape == "box":
        return box(row[3], row[4], row[5], colors[0], texture, first)
    if shape == "ball":
        return ellipsoid(first, row[3:6], colors[0])
    if shape == "ring":
        radius, width = row[3:]
        profile = [
            (radius, 0.2),
            (radius, 0.8),
            (0.93 * radius, 1),
            (0.58 * radius, 0.88),
            (0.58 * radius, 0.12),
            (0.93 * radius, 0),
        ]
        return turned(profile, first, np.add(first, (0, 0, width)), [*colors, 0.8 * colors[0]], 18, hollow=True)
    radii = row[6] if shape == "turn" else row[6:8]
    sides = 16 if max(radii) > 0.1 else 6
    return turned([(radius, i / (len(radii) - 1)) for i, radius in enumerate(radii)], first, last, colors, sides)


def _dented(rng: np.random.Generator, vertices: np.ndarray, faces: list[Face]) -> Part:
    """Moves the points of a shape in and out, neighbours alike, and splits what is no longer planar."""
    offset = vertices - vertices.mean(axis=0)
    scale = np.ones(len(vertices))
    for direction in rng.standard_normal((7, 3)):
        phase = offset @ direction / np.linalg.norm(direction) / np.abs(offset).max()
        scale += 0.25 * rng.uniform(-0.5, 0.5) * np.cos(3.0 * phase + rng.uniform(0, 6.3))
    vertices = vertices + offset * (scale[:, None] - 1)
    vertices[:, 2] = np.maximum(vertices[:, 2], 0.0)
    split = [Face((face.corners[0], *pair), face.color) for face in faces for pair in pairwise(face.corners[1:])]
    return vertices, split


@lru_cache(maxsize=12)
def _cover(variant: int) -> Texture:
    """Draws packaging: cardboard with tape and print, boards, or cloth."""
    rng = np.random.default_rng(1_700 + variant)
    shade = 1 + 0.07 * fractal_noise(rng, 128, 128, cells=4, octaves=6, gain=0.8)[..., None]
    if variant % 3 == 0:
        drawn = shade * (166, 128, 88) * rng.uniform(0.75, 1.1)
        drawn[:, 56:72] = drawn[:, 56:72] * 0.85 + 24
        for x, y, wide, tall in rng.integers((6, 6, 8, 3), (90, 90, 30, 14), (4, 4)).tolist():
            drawn[y : y + tall, x : x + wide] = (60, 46, 36)
    elif variant % 3 == 1:
        drawn = shade * rng.uniform(0.85, 1.1, (128, 1, 1)) * (150, 116, 78) * rng.uniform(0.6, 1.1)
        drawn[np.arange(128) % int(rng.choice([21, 32])) < 3] *= 0.35
    else:
        stripe = (np.arange(128) // int(rng.integers(5, 24)) % 2)[:, None, None]
        drawn = shade * (rng.uniform(25, 200, 3) * stripe + rng.uniform(25, 200, 3) * (1 - stripe))
    rim = np.minimum(np.arange(128), np.arange(127, -1, -1))
    return picture(drawn * np.clip(0.72 + 0.05 * np.minimum.outer(rim, rim), 0, 1)[..., None])
