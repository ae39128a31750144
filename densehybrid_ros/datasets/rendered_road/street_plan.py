"""Measures of a street, its markings and the wear of its asphalt."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from densehybrid_ros.datasets.rendered_road.ground import Decal, Street


@dataclass(frozen=True)
class Plan:
    """Measures of a street in metres; pairs are (left, right).

    Attributes:
        lane_width: Width of a lane.
        lanes_left: Number of oncoming lanes.
        lanes_right: Number of lanes in the direction of travel.
        parking: Whether cars park along the kerb.
        walk: Width of the pavement.
        verge: Width of the grass between kerb and pavement.
        style: What lies behind: ``city``, ``suburb`` or ``park``.
    """

    lane_width: float
    lanes_left: int
    lanes_right: int
    parking: tuple[bool, bool]
    walk: tuple[float, float]
    verge: tuple[float, float]
    style: tuple[str, str]


def draw_plan(rng: np.random.Generator) -> Plan:
    """Draws the measures of a street."""
    style = str(rng.choice(["city", "suburb", "park"], p=[0.55, 0.28, 0.17]))
    other = style if rng.random() < 0.65 else str(rng.choice(["city", "suburb", "park"]))

    def pair(low: float, high: float) -> tuple[float, float]:
        return float(rng.uniform(low, high)), float(rng.uniform(low, high))

    right = int(rng.choice([1, 1, 2]))
    return Plan(
        lane_width=float(rng.uniform(3.0, 3.7)),
        lanes_left=int(rng.choice([1, 1, 2])),
        lanes_right=right,
        parking=(bool(rng.random() < 0.55), bool(rng.random() < 0.5)),
        walk=pair(2.0, 4.6),
        verge=pair(0.0, 2.5) if rng.random() < 0.5 else (0.0, 0.0),
        style=(style, other),
    )


def mark(rng: np.random.Generator, plan: Plan, street: Street, length: float) -> None:
    """Paints lane lines, edge lines, and now and then a zebra crossing or arrows."""
    worn = float(rng.uniform(0.45, 0.95))
    end = length + 400.0
    decals = street.decals
    if rng.random() < 0.12:
        return

    def line(x: float, width: float, dash: float, gap: float) -> None:
        y = -20.0 + float(rng.uniform(0, 6))
        while y < end:
            stop = min(y + dash, end)
            if y < length + 260 or gap == 0:
                decals.append(Decal(_rectangle(x - width / 2, y, x + width / 2, stop), 1.0, worn))
            y = stop + gap

    solid = rng.random() < 0.2
    line(0.0, 0.13, 12.0 if solid else 3.0, 0.0 if solid else 6.0)
    for lane in range(1, plan.lanes_right):
        line(lane * plan.lane_width, 0.12, 3.0, 6.0)
    for lane in range(1, plan.lanes_left):
        line(-lane * plan.lane_width, 0.12, 3.0, 6.0)
    edges = rng.random() < 0.5
    for index, sign in ((0, -1), (1, 1)):
        lanes = plan.lanes_left if index == 0 else plan.lanes_right
        if plan.parking[index] or edges:
            offset = 0.0 if plan.parking[index] else -0.35
            broken = plan.parking[index] and rng.random() < 0.4
            line(sign * (lanes * plan.lane_width + offset), 0.12, 1.0 if broken else 12.0, 1.0 if broken else 0.0)
    for y in np.arange(rng.uniform(20, 90), length + 120, rng.uniform(60, 140)):
        if rng.random() < 0.6:
            _zebra(street, float(y), worn)


def _zebra(street: Street, y: float, worn: float) -> None:
    for x in np.arange(street.left + 0.4, street.right - 0.6, 1.0):
        street.decals.append(Decal(_rectangle(float(x), y, float(x) + 0.5, y + 3.5), 1.0, worn))
    street.decals.append(Decal(_rectangle(0.1, y - 1.6, street.right - 0.2, y - 1.2), 1.0, worn))


def wear(rng: np.random.Generator, street: Street, length: float) -> None:
    """Repairs, tar seams, oil and manholes on the asphalt."""
    width = street.right - street.left
    end = length + 120
    for _ in range(int(end / 9)):
        x, y = rng.uniform(street.left, street.right - 1), rng.uniform(-5, end)
        shape = _rectangle(x, y, min(x + rng.uniform(0.6, 0.6 * width), street.right), y + rng.uniform(0.8, 14))
        street.decals.append(Decal(shape, 0, float(rng.uniform(0.80, 1.14))))
    for _ in range(int(end / 12)):
        x, y = rng.uniform(street.left + 0.5, street.right - 0.5), rng.uniform(-5, end)
        chance = rng.random()
        if chance < 0.2:
            shape = _rectangle(street.left, y, street.right, y + rng.uniform(0.03, 0.06))
        elif chance < 0.5:
            shape = _rectangle(x, y, x + rng.uniform(0.02, 0.05), y + rng.uniform(3, 20))
        else:
            shape = _crack(x, y, rng)
        street.decals.append(Decal(shape, 0, float(rng.uniform(0.62, 0.90))))
    for _ in range(int(end / 14)):
        x, y = rng.uniform(street.left + 0.5, street.right - 0.5), rng.uniform(0, end)
        if rng.random() < 0.5:
            street.decals.append(Decal(_disc(x, y, 0.36), 0, 0.72))
            street.decals.append(Decal(_disc(x, y, 0.29), 0, float(rng.uniform(0.55, 0.95))))
        else:
            street.decals.append(Decal(_disc(x, y, rng.uniform(0.1, 0.6), rng), 0, float(rng.uniform(0.80, 0.95))))
    tracks = float(rng.uniform(0.93, 0.99))
    for lane in (0.5, -0.5, 1.5):
        for offset in (-0.75, 0.75):
            x = lane * 3.3 + offset
            if street.left < x < street.right:
                street.decals.insert(0, Decal(_rectangle(x - 0.3, -20, x + 0.3, end + 300), 0, tracks))


def _rectangle(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float32)


def _crack(x: float, y: float, rng: np.random.Generator) -> np.ndarray:
    """A crooked line that runs mostly along the road."""
    steps = np.cumsum(rng.normal([0.06, 0.5], [0.16, 0.25], (10, 2)), axis=0) + np.array([x, y])
    wide = rng.uniform(0.012, 0.035, (10, 1)) * (1, 0)
    return np.concatenate([steps - wide, (steps + wide)[::-1]]).astype(np.float32)


def _disc(x: float, y: float, radius: float, rng: np.random.Generator | None = None) -> np.ndarray:
    angles = np.arange(14) * (2 * math.pi / 14)
    radii = radius if rng is None else radius * rng.uniform(0.6, 1.2, 14)
    return np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1).astype(np.float32)
