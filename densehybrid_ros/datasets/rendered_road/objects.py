# SPDX-License-Identifier: Apache-2.0
"""Things that do not belong on a road: tables of boxes, rods, balls and turned shapes, in metres at middle size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np

from densehybrid_ros.datasets.rendered_road.mesh import Face, Mesh, Part, box, ellipsoid, joined, turned
from densehybrid_ros.datasets.rendered_road.textures import grain

UNKNOWN = 255
"""What stands in the semantic map where an unknown object lies."""
_NUMBERS = {"box": 6, "rod": 8, "ball": 6, "turn": 7}
_MIRRORED = {"2": [(-1, 1), (1, 1)], "4": list(product((-1, 1), (-1, 1)))}


class Kind(NamedTuple):
    """What an unknown object is made of.

    Rows of ``parts`` are (shape, numbers, tone, then how often and by which step it is repeated). The numbers of a
    ``box`` are the middle of its underside and its size, of a ``rod`` both ends and radii, of a ``turn`` both ends and
    the radii along it, of a ``ball`` its middle and radii. A shape ending in 2 is mirrored in x, in 4 in x and y.
    Tones are shares of a colour of ``palette``, negative ones of ``second``.
    """

    palette: str
    parts: tuple[tuple[Any, ...], ...]
    flags: str = ""  # round: faces are blended, soft: dented, tips: may lie on its side
    second: str = "any"


# fmt: off
_PALETTES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "any": ((190, 40, 40), (40, 80, 160), (50, 120, 70), (200, 170, 50), (150, 60, 150), (200, 200, 196), (60, 62, 66),
            (220, 120, 40), (40, 150, 160), (120, 84, 54)),
    "wood": ((158, 126, 86), (120, 104, 84), (184, 150, 104)),
    "metal": ((120, 122, 124), (170, 172, 172), (86, 88, 92)), "dark": ((26, 26, 28), (40, 40, 42)),
    "stone": ((128, 122, 112), (96, 92, 88), (146, 128, 104)), "white": ((214, 212, 206), (196, 196, 190)),
    "fur": ((120, 88, 58), (60, 52, 46), (176, 168, 156), (150, 120, 84)), "orange": ((216, 78, 28), (230, 96, 30)),
}
KINDS: dict[str, Kind] = {
    "crate": Kind("wood", (("box", 0, 0, 0, .65, .6, .08, 1, 5, 0, 0, .1), ("box4", .3, .28, 0, .06, .06, .48, .8))),
    "pallet": Kind("wood", (("box", 0, -.34, .12, 1.2, .13, .022, 1, 5, 0, .17, 0), ("box", 0, -.34, 0, 1.2, .13, .02,
         .8, 3, 0, .34, 0), ("box", -.53, 0, .02, .1, .8, .1, .6, 3, .53, 0, 0)), "tips"),
    "ladder": Kind("metal", (("rod2", .2, -.65, .05, .2, .65, .05, .03, .03, 1), ("rod", -.2, -.5, .05, .2, -.5, .05,
         .018, .018, .8, 5, 0, .25, 0)), "tips"),
    "tyre": Kind("dark", (("turn", 0, 0, 0, 0, 0, .22, (.2, .33, .36, .36, .33, .2), (.8, 1)), ("turn", 0, 0, -.005, 0,
         0, .225, (.18, .18), (3,))), "tips"),
    "barrel": Kind("any", (("turn", 0, 0, 0, 0, 0, .8, (.26, .26, .28, .26, .26, .28, .26, .26), (1, .7, .7)),),
         "round tips"),
    "bucket": Kind("any", (("turn", 0, 0, 0, 0, 0, .34, (.12, .14, .17, .18), (1, 1, .7)),), "round tips"),
    "bag": Kind("any", (("ball", 0, 0, .26, .3, .27, .26, 1), ("rod", 0, 0, .44, .03, 0, .6, .03, .07, .9)),
         "round soft"),
    "tarpaulin": Kind("any", (("ball", 0, 0, .08, .55, .45, .12, 1), ("ball", .15, .1, .14, .25, .3, .14, 1.1)),
         "round soft"),
    "mattress": Kind("white", (("box", 0, 0, 0, 1.3, .7, .18, 1), ("box", 0, 0, .07, 1.31, .71, .04, -.7)), "tips"),
    "ball": Kind("any", (("turn", 0, 0, 0, 0, 0, .5, (.06, .15, .21, .24, .25, .24, .21, .15, .06), (1, 1, -1, -1)),),
         "round tips"),
    "cone": Kind("orange", (("box", 0, 0, 0, .42, .42, .04, 1), ("turn", 0, 0, .04, 0, 0, .66, (.16, .13, .10, .075,
         .045, .02), (1, -1))), "tips", "white"),
    "rock": Kind("stone", (("ball", 0, 0, .2, .32, .28, .24, 1),), "round soft"),
    "suitcase": Kind("any", (("box", 0, 0, 0, .46, .25, .65, 1), ("box", 0, 0, .12, .47, .26, .02, .5, 3, 0, 0, .2),
         ("rod2", .12, 0, .65, .12, 0, .9, .012, .012, .6), ("rod", -.12, 0, .9, .12, 0, .9, .016, .016, .3)), "tips"),
    "chair": Kind("any", (("rod4", .2, .2, 0, .18, .18, .45, .022, .022, 1), ("box", 0, 0, .44, .46, .46, .05, 1),
         ("box", 0, .2, .49, .44, .05, .45, .9)), "tips"),
    "trolley": Kind("metal", (("rod4", .25, .4, .05, .25, .42, .85, .014, .014, 1), ("rod2", .25, -.42, .4, .25, .42,
         .4, .012, .012, 1, 5, 0, 0, .11), ("rod", -.25, -.4, .4, .25, -.4, .4, .012, .012, .9, 9, 0, .1, 0), ("rod",
         -.25, .45, .9, .25, .45, .9, .02, .02, -1)), "tips"),
    "dog": Kind("fur", (("ball", 0, 0, .42, .34, .13, .15, 1), ("rod4", .24, .07, .4, .25, .07, 0, .045, .03, .9),
         ("rod", .26, 0, .45, .42, 0, .6, .08, .06, 1), ("ball", .46, 0, .62, .13, .07, .075, 1), ("rod", -.32, 0, .46,
         -.5, 0, .55, .03, .012, 1), ("rod", .4, .06, .66, .38, .08, .76, .03, .005, .7)), "round"),
}
# fmt: on


def unknown_object(rng: np.random.Generator, instance: int, kind: str | None = None) -> Mesh:
    """Makes an unknown object about the origin, standing on the ground."""
    palette, rows, flags, second = KINDS[kind or str(rng.choice(list(KINDS)))]
    tint, other = (
        np.clip(rng.choice(_PALETTES[name]) * rng.uniform(0.8, 1.2) * rng.uniform(0.9, 1.1, 3), 5, 240)
        for name in (palette, second)
    )
    parts: list[Part] = []
    for row in rows:
        shape, signs = row[0].rstrip("24"), _MIRRORED.get(row[0][-1], [(1, 1)])
        count = _NUMBERS[shape] + 1
        tones, repeats, *step = row[count:] if len(row) > count + 1 else (row[count], 1, 0, 0, 0)
        for index, mirror in product(range(repeats), signs):
            shift = np.multiply(step, index) + rng.normal(0, 0.008, 3) * (1, 1, 0)
            shares = np.multiply(tones, rng.uniform(0.85, 1.1)).ravel().tolist()
            colors = [np.minimum(abs(share) * (other if share < 0 else tint), 240) for share in shares]
            points, faces = _part(shape, row[1:count], colors, (*mirror, 1))
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
    return mesh.placed(0, 0, 0, float(rng.uniform(0, 2 * math.pi)))


def _part(shape: str, row: Sequence[Any], colors: list[np.ndarray], mirror: tuple[int, ...]) -> Part:
    """Makes one part of an object, its places mirrored."""
    first, last = np.multiply(row[:3], mirror), np.multiply(row[3:6], mirror)
    if shape == "box":
        return box(row[3], row[4], row[5], colors[0], first)
    if shape == "ball":
        return ellipsoid(first, row[3:6], colors[0])
    radii = row[6] if shape == "turn" else row[6:8]
    return turned(radii, first, last, colors, 16 if max(radii) > 0.1 else 6)


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
