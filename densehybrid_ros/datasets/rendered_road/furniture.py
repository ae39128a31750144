# SPDX-License-Identifier: Apache-2.0
"""Lamps, signs, traffic lights, and the people and bicycles on the pavement."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np

from densehybrid_ros.datasets.rendered_road.mesh import Face, Mesh, Part, box, card, cylinder, joined
from densehybrid_ros.datasets.rendered_road.textures import Texture

POLE, TRAFFIC_LIGHT, TRAFFIC_SIGN, PERSON, BICYCLE = 5, 6, 7, 11, 18
"""Train ids."""

# fmt: off
_WHITE, _RED, _BLUE, _BLACK, _YELLOW = ((222, 222, 218, 255), (178, 26, 32, 255), (26, 66, 146, 255),
                                        (24, 24, 26, 255), (226, 180, 30, 255))
_UP, _DOWN, _DISC = ((48, 6), (92, 84), (4, 84)), ((48, 86), (4, 8), (92, 8)), ()
_BOARD, _DIAMOND = ((4, 4), (92, 4), (92, 92), (4, 92)), ((48, 3), (93, 48), (48, 93), (3, 48))
_SIGNS = (  # outline, colour, share and colour of the field within, letters and their colour, size and width
    (_UP, _RED, .66, _WHITE, "!", _BLACK, 1.7, 8), (_DOWN, _RED, .64, _WHITE, "", _BLACK, 1, 1),
    (_DISC, _RED, .73, _WHITE, "30", _BLACK, 1.25, 5), (_DISC, _RED, .73, _WHITE, "50", _BLACK, 1.25, 5),
    (_DISC, _BLUE, .9, _BLUE, "30", _WHITE, 1.4, 6), (_BOARD, _BLUE, .9, _BLUE, "P", _WHITE, 2.4, 9),
    (_DIAMOND, _WHITE, .7, _YELLOW, "", _BLACK, 1, 1), (_DISC, _RED, .8, _BLUE, "X", _RED, 2.2, 8),
    (_DISC, _RED, .9, _RED, "-", _WHITE, 3, 16),
)
_FRAME = ((56, 92, 112, 96), (112, 96, 96, 36), (96, 42, 176, 40), (112, 96, 178, 46), (56, 92, 98, 44),
          (200, 92, 172, 24))
# fmt: on


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


def traffic_light(rng: np.random.Generator, x: float, y: float) -> list[Mesh]:
    """Makes a pole with a three-lamp signal."""
    lit, parts = int(rng.integers(3)), [box(0.30, 0.22, 0.92, (26, 28, 27), at=(x, y - 0.1, 2.45))]
    angles = np.arange(12) * (2 * np.pi / 12)
    for index, color in enumerate(((235, 48, 40), (240, 180, 40), (60, 220, 140))):
        rows = (x + 0.10 * np.sin(angles), np.full(12, y - 0.225), 3.22 - 0.30 * index + 0.10 * np.cos(angles))
        shown = np.array(color) * (1.0 if index == lit else 0.18)
        parts.append((np.stack(rows, axis=1), [Face(tuple(range(12)), shown, glow=True)]))
    return [Mesh(_pole(x, y, 3.4, 0.06, 92), POLE), Mesh(joined(parts), TRAFFIC_LIGHT)]


@lru_cache(maxsize=12)
def _figure(variant: int) -> Texture:
    """Draws a standing or walking person with coverage."""
    rng = np.random.default_rng(1_500 + variant)
    drawn = np.zeros((256, 128, 4), np.uint8)
    tones = rng.uniform((30, 24, 20, 20, 110), (140, 80, 50, 80, 190))[:, None] * rng.uniform(0.85, 1.15, (5, 3))
    tones[4] = tones[4, 0] * np.array([1.0, 0.77, 0.63])
    coat, trousers, shoes, hair, skin = ((*tone, 255.0) for tone in tones.tolist())
    sleeve, stride, long = (*(0.8 * tones[0]).tolist(), 255.0), int(rng.integers(4, 22)), int(rng.choice([0, 26]))
    for way in (-1, 1):
        knee, foot = (64 + way * stride, 190), (64 + way * stride * (2 if way > 0 else 1), 246)
        cv2.line(drawn, (64 + way * 7, 138), knee, trousers, 21)
        cv2.line(drawn, knee, foot, trousers, 16)
        cv2.ellipse(drawn, (foot[0] + 5, 248), (13, 6), 0, 0, 360, shoes, -1)
    cv2.fillPoly(drawn, [np.array([[40, 52], [88, 52], [86, 146 + long], [42, 146 + long]])], coat)
    for way, bend in ((-1, int(rng.integers(26, 34))), (1, int(rng.integers(26, 34)))):
        cv2.line(drawn, (64 + way * 21, 58), (64 + way * bend, 98), sleeve, 13)
        cv2.line(drawn, (64 + way * bend, 98), (64 + way * (bend - 2), 138), sleeve, 12)
        cv2.circle(drawn, (64 + way * (bend - 2), 140), 6, skin, -1)
    cv2.line(drawn, (64, 38), (64, 54), skin, 11)
    cv2.ellipse(drawn, (64, 25), (15, 18), 0, 0, 360, hair, -1)
    if rng.random() < 0.65:  # seen from the front
        cv2.ellipse(drawn, (64, 30), (11, 13), 0, 0, 360, skin, -1)
    noise = 1 + 0.06 * cv2.GaussianBlur(rng.standard_normal((256, 128)), (0, 0), 1.2)[..., None]
    drawn[..., :3] = np.clip(drawn[..., :3] * noise * np.linspace(1.1, 0.85, 128)[None, :, None], 0, 255)
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
    for x0, y0, x1, y1, tint in (
        *((*tube, color) for tube in _FRAME),
        (160, 22, 184, 18, black),
        (82, 32, 112, 32, black),
    ):
        cv2.line(drawn, (x0, y0), (x1, y1), tint, 7)
    return Texture(drawn)


def bicycle(rng: np.random.Generator, x: float, y: float) -> list[Mesh]:
    """Makes a parked bicycle seen from its side."""
    part = card(0.0, 0.0, 0.0, 1.8, 1.02, _bicycle(int(rng.integers(4))))
    return [Mesh(part, BICYCLE).placed(x, y, 0.0, float(rng.uniform(-0.5, 0.5)))]
