# SPDX-License-Identifier: Apache-2.0
"""Cars, vans, buses and lorries: a side profile drawn out to the width, with glass, wheels and lamps."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from densehybrid_ros.datasets.rendered_road.mesh import Face, Mesh, Vector, crossed
from densehybrid_ros.datasets.rendered_road.textures import Texture, grain

CAR, TRUCK, BUS = 13, 14, 15
"""Train ids."""
_VARIANTS = 32  # different vehicles


class _Model(NamedTuple):
    """Length, width and height in metres; the rest in shares of length and height.

    ``top`` is the outline from the boot to the nose, ``belt`` the height above which there is glass, ``windows`` are
    where side windows begin and end, ``lean`` is how much narrower the roof is.
    """

    chance: float
    class_id: int
    size: tuple[float, float, float]
    top: tuple[tuple[float, float], ...]
    windows: tuple[tuple[float, float], ...]
    belt: float = 0.63
    lean: float = 0.22


# fmt: off
_MODELS = (
    _Model(0.40, CAR, (4.5, 1.80, 1.46), ((0, .60), (.13, .67), (.27, .955), (.38, 1), (.53, .99), (.69, .67),
           (.97, .54)), ((.16, .44), (.47, .82))),
    _Model(0.38, CAR, (4.4, 1.80, 1.50), ((0, .50), (.01, .66), (.055, .94), (.16, 1), (.53, .99), (.70, .67),
           (.97, .54)), ((.10, .25), (.28, .47), (.50, .82))),
    _Model(0.14, CAR, (5.0, 1.95, 2.05), ((0, .45), (.005, .62), (.02, .97), (.06, 1), (.70, .99), (.86, .60),
           (.98, .48)), ((.08, .34), (.37, .56), (.59, .80)), 0.58, 0.10),
    _Model(0.04, TRUCK, (7.2, 2.35, 3.2), ((0, .25), (.004, .97), (.01, 1), (.70, 1), (.705, .89), (.94, .88),
           (.99, .50)), ((.81, .92),), 0.48, 0.03),
    _Model(0.04, BUS, (10.5, 2.5, 3.0), ((0, .38), (.002, .45), (.006, .96), (.015, 1), (.97, 1), (.985, .96),
           (.998, .40)), ((.03, .17), (.19, .33), (.35, .49), (.51, .65), (.67, .81), (.83, .95)), 0.42, 0.04),
)
_PAINTS = ((28, 29, 32), (52, 54, 58), (120, 123, 127), (168, 170, 172), (205, 206, 206), (34, 46, 82), (112, 22, 24),
           (60, 78, 96), (40, 66, 52), (150, 140, 120))
_BANDS = ((0.115, 0.24, 0.46), (0.24, 0.42, 0.76), (0.42, 1.0, 1.0))  # low, high, tone of a side
_ENDS = (  # -1 rear or 1 nose, across as shares of the half width, low and high, colour
    (-1, .70, .98, .44, .58, (150, 18, 20)), (-1, .70, .98, .44, .475, (168, 120, 100)),
    (-1, 0, .30, .36, .43, (205, 205, 200)), (-1, 0, .90, .19, .24, (22, 22, 24)),
    (1, .56, .98, .355, .43, (66, 70, 74)), (1, .66, .92, .37, .42, (168, 176, 182)),
    (1, 0, .30, .26, .33, (205, 205, 200)), (1, 0, .46, .35, .42, (20, 20, 22)),
)
# fmt: on


def vehicle(rng: np.random.Generator) -> Mesh:
    """Makes a vehicle about the origin that faces along the road (+y), standing on the ground."""
    return _vehicle(int(rng.integers(_VARIANTS))).moved(0.0)


@lru_cache(maxsize=4)
def _wheel(variant: int) -> Texture:
    """Draws a wheel in its arch, with coverage."""
    drawn, spokes = np.zeros((128, 128, 4), np.uint8), 5 + variant % 2 * 2
    rim = np.random.default_rng(2_300 + variant).uniform(70, 165)
    for radius, tone in ((63, 10), (54, 26), (36, 34)):
        cv2.circle(drawn, (64, 72 if radius < 60 else 64), radius, (tone, tone, tone, 255), -1)
    for angle in (np.arange(spokes) * (2 * math.pi / spokes)).tolist():
        tip = (round(64 + 34 * math.cos(angle)), round(72 + 34 * math.sin(angle)))
        cv2.line(drawn, (64, 72), tip, (rim, rim, rim, 255), 9)
    cv2.circle(drawn, (64, 72), 35, (rim, rim, rim, 255), 4)
    return Texture(drawn)


@lru_cache(maxsize=_VARIANTS)
def _vehicle(variant: int) -> Mesh:
    rng = np.random.default_rng(2_000 + variant)
    model = _MODELS[int(rng.choice(len(_MODELS), p=[model.chance for model in _MODELS]))]
    length, width, height = (rng.uniform(0.95, 1.05, 3) * model.size).tolist()
    paint = np.clip(np.array(_PAINTS[rng.integers(len(_PAINTS))]) * rng.uniform(0.8, 1.2), 8, 225)
    if model.class_id != CAR:
        paint = 0.5 * paint + 90
    glass, wheel, belt = np.array([38, 46, 52]) * rng.uniform(0.8, 1.2), _wheel(variant % 4), model.belt * height
    outline = [((y - 0.5) * length, z * height) for y, z in model.top]
    rear, nose, sill = -length / 2, length / 2, 0.115 * height
    points: list[np.ndarray] = []
    faces: list[Face] = []

    def half(y: float, z: float) -> float:
        """Half the width: it narrows to the roof, the sill and the corners."""
        full = width / 2 * (1 - 0.68 * model.lean * min(max(abs(y) / length - 0.36, 0.0) / 0.14, 1.0) ** 1.8)
        if z > belt:
            return full * (0.97 - model.lean * (z - belt) / (height - belt))
        return full * (0.95 + 0.05 * min(z / (0.3 * height), 1.0))

    def add(corners: npt.ArrayLike, color: Vector, texture: Texture | None = None) -> None:
        """Adds a polygon that faces away from the middle."""
        polygon = np.asarray(corners, float)
        outward = crossed(polygon, np.roll(polygon, -1, axis=0)).sum(axis=0)
        if outward @ (polygon.mean(axis=0) - (0.0, 0.0, 0.45 * height)) > 0:
            polygon = polygon[::-1]
        faces.append(Face(tuple(range(len(points), len(points) + len(polygon))), color, texture))
        points.extend(polygon)

    def across(low: Vector, high: Vector, color: Vector, inset: float = 0.0) -> None:
        ends = [(half(y, z) - inset, y, z) for y, z in (low, high)]
        add([*ends, *((-x, y, z) for x, y, z in reversed(ends))], color)

    def side(shape: Iterable[Vector], color: Vector, out: float = 0.0) -> None:
        corners = [(half(y, z) + out, y, z) for y, z in shape]
        for sign in (-1, 1):
            add(np.multiply(corners, (sign, 1, 1)), color)

    def band(y: Vector, low: Vector, high: Vector, color: Vector, out: float = 0.0) -> None:
        (y0, y1), (low0, low1), (high0, high1) = y, low, high
        side([(y0, low0), (y1, low1), (y1, high1), (y0, high0)], color, out)

    front = [(nose, 0.42 * height), (nose - 0.03, 0.26 * height), (nose - 0.10, sill)]
    for low, high in pairwise([(rear + 0.06, sill), (rear, 0.28 * height), *outline, *front]):
        across(low, high, paint * (0.45 if sill in (low[1], high[1]) else 1.0))
        if min(low[1], high[1]) >= belt - 0.02 and abs(high[1] - low[1]) > 0.15 * height:
            # Glass lies over the body; its upper half mirrors the sky.
            start, way, out = np.array(low), np.subtract(high, low), (math.copysign(0.012, low[0] + high[0]), 0.008)
            for lower, upper in pairwise(start + share * way + out for share in (0.06, 0.5, 0.92)):
                across(lower, upper, glass * (2.0 if lower[1] + upper[1] > low[1] + high[1] else 1.0), 0.09)
    # Doors and wings in bands that grow lighter upwards, as a curved side mirrors ground and sky.
    ys, zs = zip((rear, outline[0][1]), *outline, front[0], strict=True)
    ends = {share * length for share in (-0.5, -0.47, -0.40, 0.38, 0.45, 0.5)}
    for y in pairwise(sorted(ends | {y for y in ys if y > 0.1 * length})):
        roof = np.minimum(np.interp(y, ys, zs), belt)
        foot = sill + 0.10 * height * np.maximum(np.abs(y) / np.float64(length) - 0.44, 0.0) / 0.06
        for low_share, high_share, tone in _BANDS:
            top = np.minimum(high_share * height, roof)
            bottom = np.minimum(np.maximum(low_share * height, foot), top)
            if (top - bottom).max() > 0.005:
                band(y, bottom, top, paint * tone)
    house = [(y, z) for y, z in outline if z >= belt - 0.02]
    house_ys, house_zs = zip(*house, strict=True)
    side([(house[0][0], belt - 0.03), *house, (house[-1][0], belt - 0.03)], paint)
    for window in model.windows:
        y = np.array(window) * length - length / 2
        top = np.minimum(np.interp(y, house_ys, house_zs) - 0.07, height - 0.09)
        bottom, top = np.full(2, belt + 0.04), np.maximum(top, belt + 0.06)
        band(y, bottom, (bottom + top) / 2, glass, 0.012)
        band(y, (bottom + top) / 2, top, glass * 1.7, 0.012)
        band((y[0] - 0.03, y[0] - 0.01), (0.18 * height,) * 2, (belt,) * 2, paint * 0.4, 0.005)  # the gap of a door
    radius = 0.31 + 0.06 * (height - 1.45)
    for sign in (-1, 1):
        outer, inner = sign * (width / 2 + 0.015), sign * (width / 2 - 0.22)
        for y in (-0.31 * length, 0.30 * length):
            first, last, top = y - 1.18 * radius, y + 1.18 * radius, 2.36 * radius
            arch = [(outer, first, top), (outer, last, top), (outer, last, 0), (outer, first, 0)]
            add(arch[::sign], (30,) * 3, wheel)
            edge = y + math.copysign(0.9 * radius, y)  # the tread, seen from ahead or behind
            add([(inner, edge, 0), (outer, edge, 0), (outer, edge, radius), (inner, edge, radius)], (18, 18, 19))
        for index, (end, near, far, low_z, high_z, tint) in enumerate(_ENDS):
            y, reach = end * (nose + 0.012 + 0.002 * index), sign * half(nose, 0.45 * height)
            places = ((near, low_z), (far, low_z), (far, high_z), (near, high_z))
            add([(share * reach, y, z * height) for share, z in places], tint)
    return Mesh((np.array(points), faces), model.class_id, grain=grain(variant % 6, 0.05))
