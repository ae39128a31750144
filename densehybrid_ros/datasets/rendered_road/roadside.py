# SPDX-License-Identifier: Apache-2.0
"""What stands beside the road: houses with drawn facades, trees and the skyline (cards of leaves), lamps, signs."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np

from densehybrid_ros.datasets.rendered_road.mesh import Face, Mesh, Part, box, card, cylinder, joined
from densehybrid_ros.datasets.rendered_road.textures import Texture, fractal_noise, picture

BUILDING, POLE, TRAFFIC_SIGN, VEGETATION = 2, 5, 7, 8
"""Train ids."""
_FACADES, _PIXELS_PER_METRE = 18, 32

# fmt: off
_WALLS = ((196, 182, 150), (206, 200, 186), (176, 168, 156), (150, 98, 80), (168, 120, 96), (214, 196, 158),
          (188, 172, 168), (160, 164, 160), (132, 88, 74), (202, 186, 130), (146, 140, 132), (184, 150, 122))
_ROOFS = ((96, 54, 44), (70, 66, 66), (112, 70, 54), (60, 56, 54))
_FRAMES = ((222, 220, 214), (222, 220, 214), (90, 64, 48), (60, 62, 64))
_DOORS = ((70, 44, 30), (36, 52, 44), (58, 58, 62), (94, 30, 26))
_WHITE, _RED, _BLUE, _BLACK, _YELLOW = ((222, 222, 218, 255), (178, 26, 32, 255), (26, 66, 146, 255),
                                        (24, 24, 26, 255), (226, 180, 30, 255))
_UP, _DOWN, _DISC = ((48, 6), (92, 84), (4, 84)), ((48, 86), (4, 8), (92, 8)), ()
_BOARD, _DIAMOND = ((4, 4), (92, 4), (92, 92), (4, 92)), ((48, 3), (93, 48), (48, 93), (3, 48))
_SIGNS = (  # outline, colour, share and colour of the field within, letters and their colour, size and width
    (_UP, _RED, .66, _WHITE, "!", _BLACK, 1.7, 8), (_DOWN, _RED, .64, _WHITE, "", _BLACK, 1, 1),
    (_DISC, _RED, .73, _WHITE, "30", _BLACK, 1.25, 5), (_BOARD, _BLUE, .9, _BLUE, "P", _WHITE, 2.4, 9),
    (_DIAMOND, _WHITE, .7, _YELLOW, "", _BLACK, 1, 1), (_DISC, _RED, .8, _BLUE, "X", _RED, 2.2, 8),
    (_DISC, _RED, .9, _RED, "-", _WHITE, 3, 16),
)
# fmt: on


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


def tree(rng: np.random.Generator, x: float, y: float) -> list[Mesh]:
    """Makes a broad-leaved tree standing at (x, y)."""
    height, spread = (rng.uniform(5.5, 11.5) * np.array([1.0, rng.uniform(0.5, 0.75)])).tolist()
    stem = height * float(rng.uniform(0.22, 0.34))
    parts = [cylinder((x, y, 0), (x, y, stem + 1.4), 0.016 * height + 0.05, (74, 64, 53), 0.7)]
    for layer in (0.28, 0.0, -0.28):  # leaves grow in depth: several cards one behind the other
        scale, aside = float(rng.uniform(0.72, 0.92)) if layer else 1.0, spread * float(rng.normal(0, 0.06))
        size, low = (1.25 * spread * scale, 1.12 * (height - stem) * scale), stem + float(rng.uniform(-0.1, 0.25))
        parts.append(card(x + aside, y + layer * spread, low, *size, _crown(int(rng.integers(16)))))
    return [Mesh(part, VEGETATION) for part in parts]


def skyline(rng: np.random.Generator, y: float, width: float, height: float) -> list[Mesh]:
    """Makes the tree tops that close the view at y."""
    parts = []
    for x in np.arange(-width / 2, width / 2, 0.8 * height).tolist():
        tall = height * float(rng.uniform(1.1, 1.6))
        parts.append(card(x, y, -0.3 * height, 1.8 * height, tall, _crown(int(rng.integers(16)))))
    return [Mesh(joined(parts), VEGETATION, shadow=False)]


@lru_cache(maxsize=len(_SIGNS))
def _sign(variant: int) -> Texture:
    outline, color, share, field, letters, ink, scale, thick = _SIGNS[variant]
    drawn = np.zeros((96, 96, 4), np.uint8)
    for size, tint in ((1.0, color), (share, field)):
        if outline:
            centre = np.mean(outline, axis=0)
            cv2.fillPoly(drawn, [((outline - centre) * size + centre).astype(np.int32)], tint)
        else:
            cv2.circle(drawn, (48, 48), int(45 * size), tint, -1)
    (width, height), _ = cv2.getTextSize(letters, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
    at = (48 - width // 2, (58 if outline == _UP else 48) + height // 2)
    cv2.putText(drawn, letters, at, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, thick)
    return Texture(drawn)


def _pole(x: float, y: float, height: float, radius: float, tone: float) -> Part:
    return cylinder((x, y, 0), (x, y, height), radius, (tone, tone, tone), taper=0.8)


def street_lamp(rng: np.random.Generator, x: float, y: float) -> list[Mesh]:
    """Makes a lamp whose arm reaches over the road."""
    tone, height, side = float(rng.uniform(70, 125)), float(rng.uniform(5.5, 8.5)), math.copysign(1.0, x)
    tip = x - side * float(rng.uniform(0.8, 2.0))
    arm = cylinder((x, y, height - 0.1), (tip, y, height + 0.25), 0.04, (tone, tone, tone))
    head = box(0.55, 0.25, 0.12, (tone, tone, tone), at=(tip - side * 0.2, y, height + 0.2))
    return [Mesh(part, POLE) for part in (_pole(x, y, height, 0.075, tone), arm, head)]


def traffic_sign(rng: np.random.Generator, x: float, y: float) -> list[Mesh]:
    """Makes a pole with one or two signs that face the oncoming camera."""
    size, signs = float(rng.uniform(0.55, 0.8)), rng.integers(len(_SIGNS), size=rng.integers(1, 3)).tolist()
    cards = [card(x, y - 0.06, 2.2 - level * size * 1.02, size, size, _sign(sign)) for level, sign in enumerate(signs)]
    return [Mesh(_pole(x, y, 2.9, 0.035, 128), POLE), *(Mesh(part, TRAFFIC_SIGN) for part in cards)]


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
