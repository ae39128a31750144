"""Lamps, signs, traffic lights, and the people and bicycles on the pavement."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np

from densehybrid_ros.datasets.rendered_road.mesh import Face, Mesh, Vector, box, card, cylinder, joined
from densehybrid_ros.datasets.rendered_road.textures import Texture

POLE, TRAFFIC_LIGHT, TRAFFIC_SIGN, PERSON, BICYCLE = 5, 6, 7, 11, 18
"""Train ids."""

# fmt: off
_WHITE, _RED, _BLUE, _BLACK, _YELLOW = ((222, 222, 218, 255), (178, 26, 32, 255), (26, 66, 146, 255),
                                        (24, 24, 26, 255), (226, 180, 30, 255))
_DISC, _BOARD = 0, ((4, 4), (92, 4), (92, 92), (4, 92))
_UP, _DOWN = ((48, 6), (92, 84), (4, 84)), ((48, 86), (4, 8), (92, 8))
_DIAMOND, _PLATE = ((48, 3), (93, 48), (48, 93), (3, 48)), ((2, 26), (94, 26), (94, 70), (2, 70))
_SIGNS = (  # outline, colour, share and colour of the field within, writing, its colour
    (_UP, _RED, .66, _WHITE, "!", _BLACK), (_DOWN, _RED, .64, _WHITE, "", _BLACK), (_DISC, _RED, .73, _WHITE, "30", _BLACK),
    (_DISC, _RED, .73, _WHITE, "50", _BLACK), (_DISC, _BLUE, .9, _BLUE, "30", _WHITE), (_BOARD, _BLUE, .9, _BLUE, "P", _WHITE),
    (_DIAMOND, _WHITE, .7, _YELLOW, "", _BLACK), (_DISC, _RED, .8, _BLUE, "X", _RED), (_DISC, _RED, .9, _RED, "-", _WHITE),
    (_PLATE, _WHITE, .9, _WHITE, "200 m", _BLACK),
)
# fmt: on


@lru_cache(maxsize=len(_SIGNS))
def _sign(variant: int) -> Texture:
    """Draws a sign face with coverage."""
    outline, color, share, field, writing, ink = _SIGNS[variant]
    drawn = np.zeros((96, 96, 4), np.uint8)
    for size, tint in ((1.0, color), (share, field)):
        if outline == _DISC:
            cv2.circle(drawn, (48, 48), int(45 * size), tint, -1)
        else:
            corners = np.array(outline)
            centre = corners.mean(axis=0)
            cv2.fillPoly(drawn, [((corners - centre) * size + centre).astype(np.int32)], tint)
    scale, thick = {1: (1.9, 9), 2: (1.25, 5), 5: (0.8, 3)}.get(len(writing), (1.0, 1))
    (width, height), _ = cv2.getTextSize(writing, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
    at = (48 - width // 2, (58 if outline == _UP else 48) + height // 2)
    cv2.putText(drawn, writing, at, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, thick)
    return Texture(drawn)


def _pole(x: float, y: float, height: float, radius: float, color: Vector) -> Mesh:
    return Mesh(cylinder((x, y, 0), (x, y, height), radius, color, taper=0.8), POLE)


def street_lamp(rng: np.random.Generator, x: float, y: float) -> list[Mesh]:
    """Makes a lamp whose arm reaches over the road."""
    color, side = (rng.uniform(70, 125),) * 3, math.copysign(1.0, x)
    height, tip = float(rng.uniform(5.5, 8.5)), x - side * rng.uniform(0.8, 2.0)
    arm = cylinder((x, y, height - 0.1), (tip, y, height + 0.25), 0.04, color)
    head = box(0.55, 0.25, 0.12, color, at=(tip - side * 0.2, y, height + 0.2))
    return [_pole(x, y, height, 0.075, color), Mesh(arm, POLE), Mesh(head, POLE)]


def traffic_sign(rng: np.random.Generator, x: float, y: float) -> list[Mesh]:
    """Makes a pole with one or two signs that face the oncoming camera."""
    meshes, size = [_pole(x, y, 2.9, 0.035, (rng.uniform(105, 150),) * 3)], float(rng.uniform(0.55, 0.8))
    for level in range(int(rng.integers(1, 3))):
        sign = _sign(int(rng.integers(len(_SIGNS))))
        meshes.append(Mesh(card(x, y - 0.06, 2.2 - level * size * 1.02, size, size, sign), TRAFFIC_SIGN))
    return meshes


def traffic_light(rng: np.random.Generator, x: float, y: float) -> list[Mesh]:
    """Makes a pole with a three-lamp signal."""
    lit, parts = int(rng.integers(3)), [box(0.30, 0.22, 0.92, (26, 28, 27), at=(x, y - 0.1, 2.45))]
    angles = np.arange(12) * (2 * np.pi / 12)
    for index, color in enumerate(((235, 48, 40), (240, 180, 40), (60, 220, 140))):
        height = 3.22 - 0.30 * index
        lamp = np.stack([x + 0.10 * np.sin(angles), np.full(12, y - 0.225), height + 0.10 * np.cos(angles)], axis=1)
        shown = np.array(color) * (1.0 if index == lit else 0.18)
        parts.append((lamp, [Face(tuple(range(12)), shown, glow=True)]))
    return [_pole(x, y, 3.4, 0.06, (92, 94, 94)), Mesh(joined(parts), TRAFFIC_LIGHT)]


@lru_cache(maxsize=12)
def _figure(variant: int) -> Texture:
    """Draws a standing or walking person with coverage."""
    rng = np.random.default_rng(1_500 + variant)
    drawn = np.zeros((256, 128, 4), np.uint8)
    tones = rng.uniform((30, 24, 20, 20), (140, 80, 50, 80))[:, None] * rng.uniform(0.8, 1.2, (4, 3))
    coat, trousers, shoes, hair = ((*tone, 255.0) for tone in tones.tolist())
    skin = (*(np.array([196, 150, 124]) * rng.uniform(0.5, 1.05)).tolist(), 255.0)
    stride, long = int(rng.integers(4, 22)), int(rng.choice([0, 26]))
    for way in (-1, 1):
        knee, foot = (64 + way * stride, 190), (64 + way * stride * (2 if way > 0 else 1), 246)
        cv2.line(drawn, (64 + way * 7, 138), knee, trousers, 21)
        cv2.line(drawn, knee, foot, trousers, 16)
        cv2.ellipse(drawn, (foot[0] + 5, 248), (13, 6), 0, 0, 360, shoes, -1)
    cv2.fillPoly(drawn, [np.array([[40, 52], [88, 52], [86, 146 + long], [42, 146 + long]])], coat)
    for way in (-1, 1):
        elbow, hand = (64 + way * int(rng.integers(26, 34)), 98), (64 + way * int(rng.integers(18, 38)), 138)
        for start, stop in (((64 + way * 21, 58), elbow), (elbow, hand)):
            cv2.line(drawn, start, stop, (*(0.8 * tones[0]).tolist(), 255.0), 13)
        cv2.circle(drawn, hand, 6, skin, -1)
    cv2.line(drawn, (64, 38), (64, 54), skin, 11)
    cv2.ellipse(drawn, (64, 25), (15, 18), 0, 0, 360, hair, -1)
    if rng.random() < 0.65:  # seen from the front
        cv2.ellipse(drawn, (64, 30), (11, 13), 0, 0, 360, skin, -1)
    light = np.clip(1.12 - 0.004 * np.abs(np.arange(128) - 50), 0.8, 1.2)[None, :, None]
    noise = 1 + 0.06 * cv2.GaussianBlur(rng.standard_normal((256, 128)), (0, 0), 1.2)[..., None]
    drawn[..., :3] = np.clip(drawn[..., :3] * light * noise, 0, 255)
    return Texture(drawn)


def person(rng: np.random.Generator, x: float, y: float) -> list[Mesh]:
    """Makes a person on the pavement."""
    height = float(rng.uniform(1.55, 1.9))
    return [Mesh(card(x, y, 0.0, height / 2, height, _figure(int(rng.integers(12)))), PERSON)]


@lru_cache(maxsize=4)
def _bicycle(variant: int) -> Texture:
    drawn, black = np.zeros((144, 256, 4), np.uint8), (22, 22, 24, 255)
    color = (*np.random.default_rng(1_600 + variant).uniform(20, 150, 3).tolist(), 255.0)
    for x in (56, 200):
        for dx, dy in ((46, 0), (40, 23), (23, 40), (0, 46), (-23, 40), (-40, 23)):
            cv2.line(drawn, (x - dx, 92 - dy), (x + dx, 92 + dy), (96, 96, 96, 255), 1)
        cv2.circle(drawn, (x, 92), 48, black, 7)
    frame = (
        (56, 92, 112, 96),
        (112, 96, 96, 36),
        (96, 42, 176, 40),
        (112, 96, 178, 46),
        (56, 92, 98, 44),
        (200, 92, 172, 24),
    )
    for x0, y0, x1, y1 in frame:
        cv2.line(drawn, (x0, y0), (x1, y1), color, 7)
    cv2.line(drawn, (160, 22), (184, 18), black, 6)
    cv2.line(drawn, (82, 32), (112, 32), black, 8)
    return Texture(drawn)


def bicycle(rng: np.random.Generator, x: float, y: float) -> list[Mesh]:
    """Makes a parked bicycle seen from its side."""
    part = card(0.0, 0.0, 0.0, 1.8, 1.02, _bicycle(int(rng.integers(4))))
    return [Mesh(part, BICYCLE).placed(x, y, 0.0, float(rng.uniform(-0.5, 0.5)))]
