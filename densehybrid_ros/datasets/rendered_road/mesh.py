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
    glow: bool = False


Part = tuple[np.ndarray, list[Face]]
"""Vertices [N, 3] and the faces over them."""


class Mesh:
    """Faces of one class (and one unknown object, when ``instance`` is above zero).

    Args:
        part: Vertices [N, 3] and planar polygons over them.
        class_id: Train id of Cityscapes or 255.
        instance: Number of the unknown object, 0 for everything known.
        grain: Texture that is multiplied onto the drawn pixels (grey 128 changes nothing), or None.
        smooth: Whether the drawn colours are blended across faces (round things).
        shadow: Whether it casts a shadow on the ground.
        far: The same thing with fewer faces, for where it looks small; or None.
    """

    def __init__(
        self,
        part: Part,
        class_id: int,
        instance: int = 0,
        grain: Texture | None = None,
        smooth: bool = False,
        shadow: bool = True,
        far: Mesh | None = None,
    ) -> None:
        self.far, self.faces, self.grain, self.smooth, self.shadow = far, part[1], grain, smooth, shadow
        self.class_id, self.instance, self.label = class_id, instance, class_id + 256 * instance
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
        if self.far is not None:
            self.far.placed(x, y, z, heading)
        return self

    def moved(self, way: float) -> Mesh:
        """Returns a copy shifted along the road that shares faces and textures."""
        twin = copy.copy(self)
        twin.far = copy.copy(self.far)
        return twin.placed(0.0, way)


def crossed(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cross products of rows [N, 3], without numpy.cross's costly generality."""
    (x, y, z), (u, v, w) = first.T, second.T
    return np.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=1)


def box(
    width: float, length: float, height: float, color: Vector, texture: Texture | None = None, at: Vector = (0, 0, 0)
) -> Part:
    """Makes a box whose underside is centred at the point ``at``; all sides carry ``texture``."""
    corners = [(x, y, z) for z in (0, 1) for x, y in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))]
    sides = [(4, 5, 1, 0), (5, 6, 2, 1), (6, 7, 3, 2), (7, 4, 0, 3), (0, 1, 2, 3), (7, 6, 5, 4)]
    return np.array(corners) * (width, length, height) + at, [Face(side, color, texture) for side in sides]


def turned(
    profile: Sequence[tuple[float, float]],
    start: Vector,
    end: Vector,
    colors: Sequence[Vector],
    sides: int = 10,
    hollow: bool = False,
    texture: Texture | None = None,
) -> Part:
    """Turns a profile about the axis from ``start`` to ``end``.

    Args:
        profile: Pairs (radius in metres, share of the way from start to end).
        start: Where the axis begins [3].
        end: Where it ends [3].
        colors: Of the bands between the pairs, over and over.
        sides: Corners of a ring.
        hollow: Whether the profile is closed to a ring (a tyre); otherwise its ends are capped.
        texture: On every side of a band, or None.
    """
    first, way = np.asarray(start, dtype=float), np.subtract(end, start)
    axis = way[None] / max(math.hypot(*way), 1e-9)
    u = crossed(axis, np.array([(1.0, 0.0, 0.0) if abs(axis[0, 0]) < 0.8 else (0.0, 1.0, 0.0)]))
    u /= np.linalg.norm(u)
    angles = np.arange(sides)[:, None] * (2 * math.pi / sides)
    ring = np.cos(angles) * u + np.sin(angles) * crossed(axis, u)
    vertices = np.concatenate([first + share * way + radius * ring for radius, share in profile])
    count, faces = len(profile), []
    for band in range(count if hollow else count - 1):
        low, high = band * sides, (band + 1) % count * sides
        for i, j in zip(range(sides), (*range(1, sides), 0), strict=True):
            faces.append(Face((high + i, high + j, low + j, low + i), colors[band % len(colors)], texture))
    if not hollow:
        faces.append(Face(tuple(range(sides)), colors[0]))
        faces.append(Face(tuple(range(count * sides - 1, (count - 1) * sides - 1, -1)), colors[-1]))
    return vertices, faces


def cylinder(
    start: Vector, end: Vector, radius: float, color: Vector, taper: float = 1.0, texture: Texture | None = None
) -> Part:
    """Makes a cylinder between two points with capped ends; ``taper`` is the share of the radius at the end."""
    return turned([(radius, 0.0), (radius * taper, 1.0)], start, end, [color], 8, texture=texture)


def ellipsoid(centre: Vector, radii: Vector, color: Vector) -> Part:
    """Makes an ellipsoid with axes along x, y and z."""
    profile = [(math.sin(angle), 0.5 - 0.5 * math.cos(angle)) for angle in np.linspace(0.2, math.pi - 0.2, 8).tolist()]
    vertices, faces = turned(profile, (0, 0, -1), (0, 0, 1), [color], 12)
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
