# SPDX-License-Identifier: Apache-2.0
"""Houses along the street: boxes with drawn facades and roofs."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from densehybrid_ros.datasets.rendered_road.mesh import Face, Mesh
from densehybrid_ros.datasets.rendered_road.textures import Texture, fractal_noise, picture

BUILDING = 2
"""Train id."""
_FACADES, _PIXELS_PER_METRE = 18, 32
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
    storeys, bays, door = rng.integers((2, 3, 0), (6, 7, 3)).tolist()
    storey, bay = (rng.uniform((2.8, 1.9), (3.7, 3.0)) * _PIXELS_PER_METRE).astype(int).tolist()
    wide, tall = int(min(bay * rng.uniform(0.42, 0.66), 54)), int(storey * rng.uniform(0.46, 0.62))
    rows, columns, has_shop = storeys * storey + 20, bays * bay, rng.random() < 0.45
    base, frame = np.array(_WALLS[rng.integers(12)]) * rng.uniform(0.75, 1.05), _FRAMES[rng.integers(4)]
    drawn = _plaster(rng, rows, columns, base)
    for level, index in np.ndindex(storeys, bays):
        middle, floor = int((index + 0.5) * bay), rows - level * storey
        left, right, bottom, top = middle - wide // 2, middle + wide // 2, floor - 27, floor - 27 - tall
        if level == 0 and has_shop:
            continue
        if level == 0 and index == door:
            cv2.rectangle(drawn, (middle - 23, floor - 76), (middle + 23, floor), (178, 174, 166), -1)
            cv2.rectangle(drawn, (middle - 19, floor - 72), (middle + 19, floor), _DOORS[rng.integers(4)], -1)
            continue
        _shade(drawn[floor - 4 : floor, index * bay : (index + 1) * bay], 1.12)  # the cornice
        _shade(drawn[top - 6 : bottom + 4, left - 5 : right + 5], 1.14)
        cv2.rectangle(drawn, (left - 2, top - 2), (right + 2, bottom + 1), frame, -1)
        _pane(rng, drawn[top + 1 : bottom - 1, left + 1 : right - 1])
        cv2.line(drawn, (middle, top), (middle, bottom), frame, 2)
        cv2.line(drawn, (left, top + tall // 3), (right, top + tall // 3), frame, 2)
        _shade(drawn[bottom + 5 : bottom + 9, left - 4 : right + 4], 0.72)
    if has_shop:  # large panes with goods under a sign
        front, color = drawn[rows - storey + 6 :], rng.uniform(30, 140, 3)
        front[:] = color * 0.6 + 40
        for left in range(6, columns - 20, bay):
            window = front[24 : storey - 16, left : left + bay - 12]
            _pane(rng, window)
            for x, y, size in rng.integers((0, 30, 3), (bay - 20, len(window), 12), (5, 3)).tolist():
                window[y:, x : x + size] = rng.uniform(30, 170, 3)
        front[:20] = color
    _shade(drawn[10:18], 0.65)  # under the eaves
    _shade(drawn[-30:], 0.9)  # dirt
    return Texture(drawn), columns / _PIXELS_PER_METRE, rows / _PIXELS_PER_METRE


def _shade(part: np.ndarray, factor: float) -> None:
    part[:] = np.minimum(part * factor, 255)


def _plaster(rng: np.random.Generator, rows: int, columns: int, base: np.ndarray) -> np.ndarray:
    noise = 0.05 * fractal_noise(rng, 256, 256, cells=2, octaves=7, gain=0.8)
    tiles = np.tile(noise, (rows // 256 + 1, columns // 256 + 1))[:rows, :columns]
    if base[0] > 1.35 * base[2]:  # bricks of 25 x 8 cm in running bond
        course = np.arange(rows)[:, None] // 3
        tone = rng.normal(0, 0.10, (rows // 3 + 1, columns // 8 + 2))
        tiles = tiles + tone[course, (np.arange(columns)[None] + 4 * (course % 2)) // 8]
        tiles[::3] -= 0.10
    return picture(base * (1 + tiles[..., None])).pixels


def _pane(rng: np.random.Generator, part: np.ndarray) -> None:
    """Fills a window with what glass shows: a dark room, curtains and the mirrored sky."""
    height, width = part.shape[:2]
    down = np.linspace(1, 0, height)[:, None, None]
    sky, room = np.array([128, 142, 152]) * rng.uniform(0.3, 0.9), np.array([36, 40, 44]) * rng.uniform(0.7, 1.4)
    glass = np.repeat(room + (sky - room) * np.clip(down * 1.2 - rng.uniform(0.1, 0.8), 0, 1), width, axis=1)
    if rng.random() < 0.4:
        cloth = np.array([186, 182, 172]) * rng.uniform(0.5, 0.9)
        drawn = np.abs(np.arange(width) - width / 2) > width * rng.uniform(0.15, 0.35)
        glass[:, drawn] = (cloth * (0.8 + 0.1 * np.sin(np.arange(width)))[:, None])[drawn]
    part[:] = np.clip(glass, 0, 255)


def house(rng: np.random.Generator, side: int, front: float, start: float) -> tuple[list[Mesh], float]:
    """Makes a house whose facade stands at x ``front``, on the ``side`` -1 (left) or 1; returns it with its end y."""
    (texture, width, height), (gable, _, _) = (_facade(variant) for variant in rng.integers(_FACADES, size=2).tolist())
    end, back = start + width, front + side * 10.0
    low, high = (start, end) if side < 0 else (end, start)  # the left and the right end, seen from the road
    ridge = height + float(rng.uniform(2.2, 4.2)) * bool(rng.random() < 0.65)
    middle, eave = (front + back) / 2, front - side * 0.35
    vertices = [(x, y, z) for z in (height, 0.0) for x, y in ((front, low), (front, high), (back, high), (back, low))]
    vertices += [(middle, low, ridge), (middle, high, ridge), (eave, high, height - 0.2), (eave, low, height - 0.2)]
    plain, roof = (138, 128, 114), _ROOFS[int(rng.integers(4))]
    faces = [Face((0, 1, 5, 4), plain, texture), Face((1, 2, 6, 5), plain, gable), Face((3, 0, 4, 7), plain, gable)]
    faces += [Face((1, 9, 2), plain), Face((3, 8, 0), plain), Face((8, 9, 10, 11), roof)]
    return [Mesh((np.array(vertices), faces), BUILDING)], end
