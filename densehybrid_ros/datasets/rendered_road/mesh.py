"""Polygon meshes in road coordinates: x to the right, y along the road, z up, in metres."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from densehybrid_ros.datasets.rendered_road.textures import Texture

Color = tuple[float, float, float]
"""Reflectance as red, green, blue in 0..255."""


@dataclass
class Face:
    """A planar polygon whose corners run clockwise as seen from outside.

    With a texture the first corner is the picture's top left, the second its top right and the last its bottom left.
    """

    corners: tuple[int, ...]
    color: Color
    texture: Texture | None = None
    two_sided: bool = False
    glow: bool = False
    light: float = 1.0


@dataclass
class Mesh:
    """Faces of one class (and one unknown object, when ``instance`` is above zero).

    Attributes:
        vertices: float64 [N, 3].
        faces: Planar polygons over the vertices.
        class_id: Train id of Cityscapes or 255.
        instance: Number of the unknown object, 0 for everything known.
        grain: Texture that is multiplied onto the drawn pixels (grey 128 changes nothing), or None.
        smooth: Whether the drawn colours are blended across faces (round things).
        shadow: Whether it casts a shadow on the ground.
        far: The same thing with fewer faces, for where it looks small; or None.
    """

    vertices: np.ndarray
    faces: list[Face]
    class_id: int
    instance: int = 0
    grain: Texture | None = None
    smooth: bool = False
    shadow: bool = True
    far: Mesh | None = None
    low: np.ndarray = field(init=False)
    high: np.ndarray = field(init=False)
    corners: np.ndarray = field(init=False, repr=False)
    two_sided: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.vertices = np.asarray(self.vertices, dtype=np.float64)
        # Corner indices of all faces as one array; short faces repeat their last corner.
        longest = max(len(face.corners) for face in self.faces)
        self.corners = np.array(
            [face.corners + face.corners[-1:] * (longest - len(face.corners)) for face in self.faces]
        )
        self.two_sided = np.array([face.two_sided for face in self.faces])
        self.measure()

    def measure(self) -> None:
        """Updates the bounding box ``low``, ``high`` after the vertices were changed."""
        self.low = self.vertices.min(axis=0)
        self.high = self.vertices.max(axis=0)

    def placed(self, x: float, y: float, z: float = 0.0, heading: float = 0.0) -> Mesh:
        """Turns the mesh by ``heading`` (radians, counter-clockwise from above) about its origin and moves it."""
        cosine, sine = math.cos(heading), math.sin(heading)
        rotation = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
        self.vertices = self.vertices @ rotation.T + (x, y, z)
        self.measure()
        if self.far is not None:
            self.far.placed(x, y, z, heading)
        return self

    def raised(self, dz: float) -> Mesh:
        """Lifts the mesh by ``dz`` metres."""
        return self if dz == 0.0 else self.placed(0.0, 0.0, dz)

    def moved(self, dx: float, dy: float) -> Mesh:
        """Returns a copy shifted on the ground that shares faces and textures."""
        copy = replace(self, vertices=self.vertices + np.array([dx, dy, 0.0]))
        if self.far is not None:
            copy.far = self.far.moved(dx, dy)
        return copy


def normal(points: np.ndarray) -> np.ndarray:
    """Returns the outward unit normal of a polygon [N, 3] whose corners run clockwise seen from outside (Newell)."""
    nx = ny = nz = 0.0
    corners = points.tolist()
    x, y, z = corners[-1]
    for u, v, w in corners:
        nx -= (y - v) * (z + w)
        ny -= (z - w) * (x + u)
        nz -= (x - u) * (y + v)
        x, y, z = u, v, w
    length = math.sqrt(nx * nx + ny * ny + nz * nz)
    return np.array([nx, ny, nz]) / length if length > 0 else np.array([0.0, 0.0, 1.0])


def star_shaped(
    vertices: Sequence[Sequence[float]] | np.ndarray,
    polygons: Sequence[tuple[int, ...]],
    colors: Sequence[Color] | Color,
    centre: Sequence[float] | np.ndarray | None = None,
) -> tuple[np.ndarray, list[Face]]:
    """Makes faces and turns each outwards from ``centre`` (the mean vertex when None)."""
    points = np.asarray(vertices, dtype=np.float64)
    middle = points.mean(axis=0) if centre is None else np.asarray(centre, dtype=np.float64)
    faces = []
    for index, polygon in enumerate(polygons):
        color: Color = colors if isinstance(colors[0], (int, float)) else colors[index]  # type: ignore[assignment]
        corners = points[list(polygon)]
        if normal(corners) @ (corners.mean(axis=0) - middle) < 0:
            polygon = polygon[::-1]
        faces.append(Face(tuple(polygon), color))
    return points, faces


def box(
    width: float,
    length: float,
    height: float,
    color: Color,
    textures: Texture | None = None,
    base: float = 0.0,
    top_color: Color | None = None,
) -> tuple[np.ndarray, list[Face]]:
    """Makes a box standing on height ``base``, centred in x and y; the four sides carry ``textures``."""
    w, d = width / 2, length / 2
    vertices = np.array([(x, y, z) for z in (base, base + height) for x, y in ((-w, -d), (w, -d), (w, d), (-w, d))])
    sides = [(4, 5, 1, 0), (5, 6, 2, 1), (6, 7, 3, 2), (7, 4, 0, 3)]
    faces = [Face(side, color, textures) for side in sides]
    faces.append(Face((0, 1, 2, 3), color, textures))
    faces.append(Face((7, 6, 5, 4), top_color or color, textures if top_color is None else None))
    return vertices, faces


def cylinder(
    start: Sequence[float] | np.ndarray,
    end: Sequence[float] | np.ndarray,
    radius: float,
    color: Color,
    sides: int = 10,
    end_radius: float | None = None,
    cap: Color | None = None,
) -> tuple[np.ndarray, list[Face]]:
    """Makes a (tapered) cylinder between two points with capped ends."""
    first, last = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
    axis = (last - first) / max(float(np.linalg.norm(last - first)), 1e-9)
    helper = np.array([1.0, 0.0, 0.0]) if abs(axis[0]) < 0.8 else np.array([0.0, 1.0, 0.0])
    u = np.cross(axis, helper)
    u /= np.linalg.norm(u)
    v = np.cross(axis, u)
    angles = np.arange(sides) * (2 * math.pi / sides)
    ring = np.cos(angles)[:, None] * u + np.sin(angles)[:, None] * v
    radius_end = radius if end_radius is None else end_radius
    vertices = np.concatenate([first + ring * radius, last + ring * radius_end])
    polygons: list[tuple[int, ...]] = [(i, (i + 1) % sides, sides + (i + 1) % sides, sides + i) for i in range(sides)]
    polygons += [tuple(range(sides)), tuple(range(sides, 2 * sides))]
    colors = [color] * sides + [cap or color] * 2
    return star_shaped(vertices, polygons, colors)


def ellipsoid(
    centre: Sequence[float], radii: Sequence[float], color: Color, rings: int = 7, sides: int = 12
) -> tuple[np.ndarray, list[Face]]:
    """Makes an ellipsoid with axes along x, y and z."""
    middle, axes = np.asarray(centre, dtype=float), np.asarray(radii, dtype=float)
    polar = np.linspace(0, math.pi, rings + 1)[1:-1]
    around = np.arange(sides) * (2 * math.pi / sides)
    directions = [(0.0, 0.0, 1.0)]
    directions += [(math.sin(p) * math.cos(a), math.sin(p) * math.sin(a), math.cos(p)) for p in polar for a in around]
    directions.append((0.0, 0.0, -1.0))
    polygons: list[tuple[int, ...]] = [(0, 1 + i, 1 + (i + 1) % sides) for i in range(sides)]
    for ring in range(rings - 2):
        low, high = 1 + ring * sides, 1 + (ring + 1) * sides
        for i in range(sides):
            # Two triangles, so that the mesh stays planar when its points are displaced.
            polygons.append((low + i, low + (i + 1) % sides, high + i))
            polygons.append((low + (i + 1) % sides, high + (i + 1) % sides, high + i))
    last = len(directions) - 1
    base = 1 + (rings - 2) * sides
    polygons += [(last, base + i, base + (i + 1) % sides) for i in range(sides)]
    return star_shaped(np.array(directions) * axes + middle, polygons, color, middle)


def joined(*parts: tuple[np.ndarray, list[Face]]) -> tuple[np.ndarray, list[Face]]:
    """Joins the vertices and faces of several parts into one."""
    vertices, faces, offset = [], [], 0
    for points, polygons in parts:
        vertices.append(points)
        for face in polygons:
            corners = tuple(index + offset for index in face.corners)
            faces.append(Face(corners, face.color, face.texture, face.two_sided, face.glow))
        offset += len(points)
    return np.concatenate(vertices), faces
