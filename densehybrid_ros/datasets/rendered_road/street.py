# SPDX-License-Identifier: Apache-2.0
"""Measures of a street, its covers, markings and the wear of its asphalt."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from densehybrid_ros.datasets.rendered_road.covers import Material, asphalt, grass, paving

_PARKING = 2.15  # metres
_STYLES = ("city", "suburb", "park")
_CIRCLE = np.exp(2j * math.pi * np.arange(14)[:, None] / 14).view(float)


@dataclass(frozen=True)
class Decal:
    """Something flat on the road.

    Attributes:
        outline: float32 [N, 2] (x, y) in metres.
        paint: Whether it is road paint, rather than a darker or brighter patch.
        strength: Coverage of the paint (0..1), or the factor by which a patch changes the brightness.
    """

    outline: np.ndarray
    paint: bool
    strength: float


class Street:
    """A street drawn at random, ``length`` metres and on to the horizon; positions in metres, pairs are (left, right).

    Attributes:
        style: What lies behind: ``city``, ``suburb`` or ``park``.
        lane_width: Width of a lane.
        lanes: Number of oncoming lanes and of lanes in the direction of travel.
        parking: Width of the lanes in which cars park along the kerb, 0 for none.
        edges: Positions of the kerbs (x).
        kerb: Height of everything beside the road over the road.
        verge: Width of the grass between kerb and pavement.
        front: Where the pavement ends, measured from the kerb.
        strips: (outer position measured from the kerb, cover) from the kerb outwards; a side's last has no end.
        asphalt: Cover of the road.
        kerb_color: Colour of the kerb's face.
        decals: Markings and patches.
    """

    def __init__(self, rng: np.random.Generator, length: float) -> None:
        self.style = [str(rng.choice(_STYLES, p=[0.55, 0.28, 0.17]))] * 2
        if rng.random() > 0.65:
            self.style[1] = str(rng.choice(_STYLES))
        self.lane_width = float(rng.uniform(3.0, 3.7))
        self.lanes: list[int] = rng.choice([1, 1, 2], 2).tolist()
        self.parking: list[float] = (_PARKING * (rng.random(2) < 0.52)).tolist()
        reach = [lanes * self.lane_width + parked for lanes, parked in zip(self.lanes, self.parking, strict=True)]
        self.edges = (-reach[0], reach[1])
        self.kerb = float(rng.choice([0.06, 0.10, 0.13]))
        self.verge: list[float] = (rng.uniform(0.0, 2.5, 2) * rng.integers(2)).tolist()
        self.front: list[float] = (self.verge + rng.uniform(2.2, 4.8, 2)).tolist()
        self.asphalt, stones = asphalt(int(rng.integers(8))), paving(int(rng.integers(8)))
        pavement, lawn = paving(int(rng.integers(8))), grass(int(rng.integers(4)))
        self.strips: list[list[tuple[float, Material]]] = [
            [(0.16, stones), (0.16 + verge, lawn), (front, pavement), (100.0, pavement if style == "city" else lawn)]
            for verge, front, style in zip(self.verge, self.front, self.style, strict=True)
        ]
        self.kerb_color = rng.uniform(96, 134) * np.array([0.8, 0.79, 0.76])
        self.decals: list[Decal] = []
        self._wear(rng, length + 120)
        if rng.random() > 0.12:
            self._mark(rng, length)

    def _mark(self, rng: np.random.Generator, length: float) -> None:
        """Paints lane lines, edge lines and zebra crossings."""
        worn, edges = float(rng.uniform(0.45, 0.95)), rng.random() < 0.5

        def paint(x: float, y: float, width: float, long: float) -> None:
            self.decals.append(Decal(_rectangle(x, y, x + width, y + long), True, worn))

        def line(x: float, dash: float, gap: float) -> None:
            for y in np.arange(-20.0 + rng.uniform(0, 6), length + (260 if gap else 400), dash + gap).tolist():
                paint(x - 0.06, y, 0.12, dash)

        line(0.0, *((12.0, 0.0) if rng.random() < 0.2 else (3.0, 6.0)))
        for lanes, parking, sign in zip(self.lanes, self.parking, (-1, 1), strict=True):
            for lane in range(1, lanes):
                line(sign * lane * self.lane_width, 3.0, 6.0)
            if parking or edges:
                x = lanes * self.lane_width - (0.0 if parking else 0.35)
                line(sign * x, *((1.0, 1.0) if parking and rng.random() < 0.4 else (12.0, 0.0)))
        for y in np.arange(rng.uniform(20, 90), length + 120, rng.uniform(60, 140)).tolist():
            if rng.random() < 0.6:  # a zebra crossing and its stop line
                for x in np.arange(self.edges[0] + 0.4, self.edges[1] - 0.6, 1.0).tolist():
                    paint(x, y, 0.5, 3.5)
                paint(0.1, y - 1.6, self.edges[1] - 0.3, 0.4)

    def _wear(self, rng: np.random.Generator, end: float) -> None:
        """Adds wheel tracks, repairs, tar seams, cracks, oil and manholes."""
        left, right = self.edges

        def stain(outline: np.ndarray, low: float, high: float) -> None:
            self.decals.append(Decal(outline.astype(np.float32), False, float(rng.uniform(low, high))))

        tracks = float(rng.uniform(0.93, 0.99))
        for x in (-2.4, -0.9, 0.9, 2.4, 4.2, 5.7):
            stain(_rectangle(x - 0.3, -20, x + 0.3, end + 300), tracks, tracks)
        for x, y in rng.uniform((left, -5), (right - 1, end), (int(end / 9), 2)).tolist():
            wide = min(x + rng.uniform(0.6, 0.6 * (right - left)), right)
            stain(_rectangle(x, y, wide, y + rng.uniform(0.8, 14)), 0.80, 1.14)
        for x, y in rng.uniform((left + 0.5, -5), (right - 0.5, end), (int(end / 6), 2)).tolist():
            kind = rng.integers(10)
            if kind < 3:
                stain(_rectangle(x, y, x + rng.uniform(0.02, 0.05), y + rng.uniform(3, 20)), 0.62, 0.90)
            elif kind < 5:  # a crooked crack that runs mostly along the road
                way = np.cumsum(rng.normal([0.06, 0.5], [0.16, 0.25], (10, 2)), axis=0) + (x, y)  # noqa: RUF005
                wide = rng.uniform(0.012, 0.035, (10, 1)) * (1, 0)
                stain(np.concatenate([way - wide, (way + wide)[::-1]]), 0.62, 0.90)
            else:  # oil, or a manhole
                outline = (x, y) + _CIRCLE * (rng.uniform(0.06, 0.7, (14, 1)) if kind < 8 else 0.36)
                stain(outline, *((0.80, 0.95) if kind < 8 else (0.60, 0.75)))


def _rectangle(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float32)
