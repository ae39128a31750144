# SPDX-License-Identifier: Apache-2.0
"""What stands beside the road: trees and the skyline (cards of leaves), lamps, signs."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np

from densehybrid_ros.datasets.rendered_road.mesh import Mesh, Part, box, card, cylinder, joined
from densehybrid_ros.datasets.rendered_road.textures import Texture, fractal_noise, picture

POLE, TRAFFIC_SIGN, VEGETATION = 5, 7, 8
"""Train ids."""

# fmt: off
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
