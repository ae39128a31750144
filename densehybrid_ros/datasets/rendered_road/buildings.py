# SPDX-License-Identifier: Apache-2.0
"""Houses along the street: boxes with drawn facades and roofs; hedges, walls and fences before them."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from densehybrid_ros.datasets.rendered_road.mesh import Face, Mesh, box
from densehybrid_ros.datasets.rendered_road.textures import Texture, fractal_noise, picture

BUILDING, WALL, FENCE, VEGETATION = 2, 3, 4, 8
"""Train ids."""
_FACADES, _PIXELS_PER_METRE = 28, 32
# fmt: off
_WALLS = ((196, 182, 150), (206, 200, 186), (176, 168, 156), (150, 98, 80), (168, 120, 96), (214, 196, 158),
          (188, 172, 168), (160, 164, 160), (132, 88, 74), (202, 186, 130), (146, 140, 132), (184, 150, 122))
_ROOFS = ((96, 54, 44), (70, 66, 66), (112, 70, 54), (60, 56, 54))
_FRAMES = ((222, 220, 214), (222, 220, 214), (90, 64, 48), (60, 62, 64))
_DOORS = ((70, 44, 30), (36, 52, 44), (58, 58, 62), (94, 30, 26))
# fmt: on


@lru_cache(maxsize=_FACADES)
def _facade(variant: int) -> tuple[Texture, float, float]:
    """Draws a facade; returns it with its width and height in metres."""
    rng = np.random.default_rng(500 + variant)
    storeys, bays, door, panes = rng.integers((2, 3, 0, 1), (6, 7, 3, 3)).tolist()
    storey, bay = (rng.uniform((2.8, 1.9), (3.7, 3.0)) * _PIXELS_PER_METRE).astype(int).tolist()
    wide, tall = int(min(bay * rng.uniform(0.42, 0.66), 54)), int(storey * rng.uniform(0.46, 0.62))
    rows, columns = storeys * storey + 20, bays * bay
    base, frame = np.array(_WALLS[rng.integers(12)]) * rng.uniform(0.75, 1.05), _FRAMES[rng.integers(4)]
    drawn = _plaster(rng, rows, columns, base)
    surround, transom, cornices, shop = (rng.random(4) < (0.55, 0.5, 0.6, 0.45)).tolist()
    for level, index in np.ndindex(storeys, bays):
        middle, floor = int((index + 0.5) * bay), rows - level * storey
        left, right, bottom, top = middle - wide // 2, middle + wide // 2, floor - 27, floor - 27 - tall
        if level == 0 and shop:
            continue
        if level == 0 and index == door:
            cv2.rectangle(drawn, (middle - 23, floor - 76), (middle + 23, floor), (178, 174, 166), -1)
            cv2.rectangle(drawn, (middle - 19, floor - 72), (middle + 19, floor), _DOORS[rng.integers(4)], -1)
            continue
        if cornices:
            _shade(drawn[floor - 4 : floor, index * bay : (index + 1) * bay], 1.12)
            _shade(drawn[floor + 1 : floor + 4, index * bay : (index + 1) * bay], 0.75)
        if surround:
            _shade(drawn[top - 6 : bottom + 4, left - 5 : right + 5], 1.14)
        cv2.rectangle(drawn, (left - 2, top - 2), (right + 2, bottom + 1), frame, -1)
        _pane(rng, drawn[top + 1 : bottom - 1, left + 1 : right - 1])
        for x in range(left + wide // panes, right - 2, wide // panes):
            cv2.line(drawn, (x, top), (x, bottom), frame, 2)
        if transom:
            cv2.line(drawn, (left, top + tall // 3), (right, top + tall // 3), frame, 2)
        _shade(drawn[top : top + 3, left:right], 0.5)
        cv2.rectangle(drawn, (left - 5, bottom + 1), (right + 5, bottom + 4), (188, 184, 176), -1)
        _shade(drawn[bottom + 5 : bottom + 9, left - 4 : right + 4], 0.72)
    if shop:  # large panes with goods under a sign
        front, color, ink = drawn[rows - storey + 6 :], rng.uniform(30, 140, 3), rng.uniform(170, 240, 3)
        front[:] = color * 0.6 + 40
        for left in range(6, columns - 20, bay):
            window = front[24 : storey - int(rng.choice([9, 22])), left : left + bay - 12]
            _pane(rng, window)
            for x, y, size in rng.integers((0, 30, 3), (bay - 20, len(window), 12), (5, 3)).tolist():
                window[y:, x : x + size] = rng.uniform(30, 170, 3)
        front[:20] = color
        for x, size in zip(range(columns // 4, columns // 4 + 81, 10), rng.integers(3, 8, 9).tolist(), strict=True):
            cv2.rectangle(front, (x, 5), (x + size, 15), ink.tolist(), 2)
    _shade(drawn[:9], 0.9)  # the eaves
    _shade(drawn[10:18], 0.65)
    return _weathered(rng, drawn), columns / _PIXELS_PER_METRE, rows / _PIXELS_PER_METRE


def _shade(part: np.ndarray, factor: float) -> None:
    part[:] = np.minimum(part * factor, 255)


def _plaster(rng: np.random.Generator, rows: int, columns: int, base: np.ndarray) -> np.ndarray:
    noise = 0.045 * fractal_noise(rng, 256, 256, cells=4, octaves=7, gain=0.8)
    tiles = np.tile(noise, (rows // 256 + 1, columns // 256 + 1))[:rows, :columns]
    if base[0] > 1.35 * base[2] and rng.random() < 0.75:  # bricks of 25 x 8 cm in running bond
        course = np.arange(rows)[:, None] // 3
        tone = rng.normal(0, 0.10, (rows // 3 + 1, columns // 8 + 2))
        tiles = tiles + tone[course, (np.arange(columns)[None] + 4 * (course % 2)) // 8]
        tiles[::3] -= 0.10
    return picture(base * (1 + tiles[..., None])).pixels


def _pane(rng: np.random.Generator, part: np.ndarray) -> None:
    """Fills a window with what glass shows: a dark room, curtains, blinds and the mirrored sky."""
    height, width = part.shape[:2]
    down = np.linspace(1, 0, height)[:, None, None]
    sky, room = np.array([128, 142, 152]) * rng.uniform(0.3, 0.9), np.array([36, 40, 44]) * rng.uniform(0.7, 1.4)
    glass = np.repeat(room + (sky - room) * np.clip(down * 1.2 - rng.uniform(0.1, 0.8), 0, 1), width, axis=1)
    cloth, kind = np.array([186, 182, 172]) * rng.uniform(0.5, 0.9), rng.random()
    if kind < 0.30:
        drawn = np.abs(np.arange(width) - width / 2) > width * rng.uniform(0.15, 0.35)
        glass[:, drawn] = (cloth * (0.8 + 0.1 * np.sin(np.arange(width)))[:, None])[drawn]
    elif kind < 0.45:
        drop = int(height * rng.uniform(0.2, 1.0))
        glass[:drop] = cloth * (1 - 0.15 * (np.arange(drop) % 3 == 0)[:, None, None])
    shear = np.arange(height)[:, None] + np.arange(width)[None] * rng.uniform(0.4, 1.2) - rng.uniform(0, height)
    glass[(shear > 0) & (shear < height * 0.3)] += rng.uniform(5, 26)
    part[:] = np.clip(glass, 0, 255)


def _weathered(rng: np.random.Generator, drawn: np.ndarray) -> Texture:
    """Adds streaks that run down and dirt near the ground."""
    rows, columns = drawn.shape[:2]
    streaks, slow = (
        cv2.resize(rng.standard_normal(size).astype(np.float32), (columns, rows))
        for size in ((4, columns // 3 + 1), (rows // 60 + 2, columns // 60 + 2))
    )
    dirt = np.clip(1 - (rows - np.arange(rows)[:, None]) / 40, 0, 1)
    return picture(drawn * (1 + 0.022 * streaks + 0.035 * slow - 0.18 * dirt)[..., None])


@lru_cache(maxsize=8)
def _tiles(variant: int) -> Texture:
    noise = 1 + 0.12 * fractal_noise(np.random.default_rng(800 + variant), 128, 256, cells=4, octaves=6, gain=0.85)
    noise[::6] *= 0.78
    return picture(_ROOFS[variant % 4] * noise[..., None])


def house(rng: np.random.Generator, side: int, front: float, start: float) -> tuple[list[Mesh], float]:
    """Makes a house whose facade stands at x ``front``, on the ``side`` -1 (left) or 1; returns it with its end y."""
    (texture, width, height), (gable, _, _) = (_facade(variant) for variant in rng.integers(_FACADES, size=2).tolist())
    end, back = start + width, front + side * 10.0
    low, high = (start, end) if side < 0 else (end, start)  # the left and the right end, seen from the road
    ridge = height + float(rng.uniform(2.2, 4.2)) * bool(rng.random() < 0.65)
    middle, eave = (front + back) / 2, front - side * 0.35
    vertices = [(x, y, z) for z in (height, 0.0) for x, y in ((front, low), (front, high), (back, high), (back, low))]
    vertices += [(middle, low, ridge), (middle, high, ridge), (eave, high, height - 0.2), (eave, low, height - 0.2)]
    plain, roof = (138, 128, 114), _tiles(int(rng.integers(8)))
    faces = [Face((0, 1, 5, 4), plain, texture), Face((1, 2, 6, 5), plain, gable), Face((3, 0, 4, 7), plain, gable)]
    faces += [Face((1, 9, 2), plain), Face((3, 8, 0), plain), Face((8, 9, 10, 11), plain, roof)]
    return [Mesh((np.array(vertices), faces), BUILDING)], end


@lru_cache(maxsize=9)
def _border(variant: int) -> tuple[Texture, int, float]:
    """Returns the texture, train id and thickness in metres of a hedge, a wall or a fence."""
    rng = np.random.default_rng(900 + variant)
    if variant % 3 == 0:
        leaves = 1 + 0.28 * fractal_noise(rng, 128, 256, cells=12, octaves=5, gain=0.9)
        return picture(leaves[..., None] * (62, 80, 38) * rng.uniform(0.8, 1.15)), VEGETATION, 0.9
    if variant % 3 == 1:
        return _weathered(rng, _plaster(rng, 64, 128, np.array(_WALLS[rng.integers(12)]) * 0.8)), WALL, 0.3
    drawn = np.zeros((64, 128, 4), np.uint8)
    wide, step, color = (8, 11, (112, 84, 60, 255)) if rng.random() < 0.5 else (3, 8, (48, 54, 52, 255))
    for x in range(0, 128, step):
        drawn[4:, x : x + wide] = np.multiply(color, (*[rng.uniform(0.8, 1.1)] * 3, 1))
    drawn[14:19] = drawn[48:53] = color
    return Texture(drawn), FENCE, 0.02


def border(rng: np.random.Generator, x: float, start: float, end: float) -> list[Mesh]:
    """Makes a hedge, wall or fence along the road from ``start`` to ``end``."""
    texture, class_id, thick = _border(int(rng.integers(9)))
    height, step = float(rng.uniform(0.9, 1.7)), (end - start) / max(round((end - start) / 3), 1)
    middles = np.arange(start + 0.5 * step, end, step).tolist()
    return [Mesh(box(thick, step, height, (90, 90, 80), texture, (x, y, 0)), class_id) for y in middles]
