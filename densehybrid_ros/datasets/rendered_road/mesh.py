# SPDX-License-Identifier: Apache-2.0
"""Polygon meshes in road coordinates: x to the right, y along the road, z up, in metres."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from densehybrid_ros.datasets.rendered_road.textures import Texture

Vector = Sequence[float] | np.ndarray
"""A point or, as red, green and blue in 0..255, a reflectance."""


@dataclass
class Face:
    """A planar polygon whose corners run clockwise as seen from outside.

    With a texture the first corner is the picture's top left, the second its top right and the last its bottom left.
    """

    corners: tuple[int, ...]
    color: Vector
    texture: Texture | None = None
    two_sided: bool = False


Part = tuple[np.ndarray, list[Face]]
"""Vertices [N, 3] and the faces over them."""


class Mesh:
    """Faces of one class (and one unknown object, when ``instance`` is above zero).

    ``grain`` is multiplied onto the drawn pixels (grey 128 changes nothing); the colours of a ``smooth`` mesh are
    blended across its faces; one without ``shadow`` casts none.
    """

    def __init__(
        self, part: Part, class_id: int, instance: int = 0, grain: Texture | None = None, smooth: bool = False,
        shadow: bool = True,
    ) -> None:  # fmt: skip
        self.faces, self.grain, self.smooth, self.shadow = part[1], grain, smooth, shadow
        self.instance, self.label = instance, class_id + 256 * instance
        # Corner indices of all faces as one array; short faces repeat their last corner.
        longest = max(len(face.corners) for face in self.faces)
        self.corners = np.array([(*face.corners, *face.corners[-1:] * longest)[:longest] for face in self.faces])
        self.two_sided = np.array([face.two_sided for face in self.faces])
        self.colors = np.array([face.color for face in self.faces], float)
        self.light: np.ndarray = np.ones(len(self.faces))
        self.vertices = np.asarray(part[0], dtype=np.float64)
        self.low, self.high = self.vertices.min(axis=0), self.vertices.max(axis=0)

    def placed(self, x: float, y: float, z: float = 0.0, heading: float = 0.0) -> Mesh:
        """Turns the mesh by ``heading`` (radians, counter-clockwise from above) about its origin and moves it."""
        cosine, sine = math.cos(heading), math.sin(heading)
        self.vertices = self.vertices @ [[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]] + (x, y, z)
        self.low, self.high = self.vertices.min(axis=0), self.vertices.max(axis=0)
        return self

    def moved(self, way: float) -> Mesh:
        """Returns a copy shifted along the road that shares faces and textures."""
        return copy.copy(self).placed(0.0, way)


def crossed(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cross products of rows [N, 3], without numpy.cross's costly generality."""
    (x, y, z), (u, v, w) = first.T, second.T
    return np.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=1)


def box(width: float, length: float, height: float, color: Vector, at: Vector = (0, 0, 0)) -> Part:
    """Makes a box whose underside is centred at the point ``at``."""
    corners = [(x, y, z) for z in (0, 1) for x, y in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))]
    sides = [(4, 5, 1, 0), (5, 6, 2, 1), (6, 7, 3, 2), (7, 4, 0, 3), (0, 1, 2, 3), (7, 6, 5, 4)]
    return np.array(corners) * (width, length, height) + at, [Face(side, color) for side in sides]


def turned(radii: Sequence[float], start: Vector, end: Vector, colors: Sequence[Vector], sides: int) -> Part:
    """Turns a profile about the axis from ``start`` to ``end`` into rings of so many ``sides``; the ends are capped.

    The ``radii`` are at places evenly spaced along the axis; the bands between them take the ``colors`` in turn.
    """
    first, way = np.asarray(start, dtype=float), np.subtract(end, start)
    axis = way[None] / max(math.hypot(*way), 1e-9)
    u = crossed(axis, np.array([(1.0, 0.0, 0.0) if abs(axis[0, 0]) < 0.8 else (0.0, 1.0, 0.0)]))
    u /= np.linalg.norm(u)
    angles = np.arange(sides)[:, None] * (2 * math.pi / sides)
    ring = np.cos(angles) * u + np.sin(angles) * crossed(axis, u)
    shares = np.linspace(0.0, 1.0, len(radii))
    rings = [first + share * way + radius * ring for radius, share in zip(radii, shares, strict=True)]
    faces, last = [], sides * (len(radii) - 1)
    for band, low in enumerate(range(0, last, sides)):
        high, color = low + sides, colors[band % len(colors)]
        for i in range(sides):
            j = (i + 1) % sides
            faces.append(Face((high + i, high + j, low + j, low + i), color))
    faces.append(Face(tuple(range(sides)), colors[0]))
    faces.append(Face(tuple(range(last + sides - 1, last - 1, -1)), colors[-1]))
    return np.concatenate(rings), faces


def cylinder(start: Vector, end: Vector, radius: float, color: Vector, taper: float = 1.0) -> Part:
    """Makes a cylinder between two points with capped ends; ``taper`` is the share of the radius at the end."""
    return turned([radius, radius * taper], start, end, [color], 8)


def ellipsoid(centre: Vector, radii: Vector, color: Vector) -> Part:
    """Makes an ellipsoid with axes along x, y and z."""
    heights = np.linspace(-0.97, 0.97, 8)
    vertices, faces = turned(np.sqrt(1 - heights**2).tolist(), (0, 0, -0.97), (0, 0, 0.97), [color], 12)
    return vertices * radii + centre, faces


def card(x: float, y: float, low: float, width: float, height: float, texture: Texture) -> Part:
    """Makes an upright picture that is seen from both sides along the road, centred at x and y above ``low``."""
    left, right, top = x - width / 2, x + width / 2, low + height
    face = Face((0, 1, 2, 3), (0, 0, 0), texture, two_sided=True)
    return np.array([(left, y, top), (right, y, top), (right, y, low), (left, y, low)]), [face]


def joined(parts: Sequence[Part]) -> Part:
    """Joins the vertices and faces of several parts into one; the faces are changed in place."""
    faces, offset = [], 0
    for points, polygons in parts:
        for face in polygons:
            face.corners = tuple(index + offset for index in face.corners)
            faces.append(face)
        offset += len(points)
    return np.concatenate([points for points, _ in parts]), faces
