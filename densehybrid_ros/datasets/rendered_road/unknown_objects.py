"""Things that do not belong on a road, of many shapes, 0.2 to 1.2 m."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np

from densehybrid_ros.datasets.rendered_road.mesh import Color, Face, Mesh, box, cylinder, ellipsoid, joined, star_shaped
from densehybrid_ros.datasets.rendered_road.textures import Texture, fractal_noise, grain

UNKNOWN = 255
"""What stands in the semantic map where an unknown object lies."""

Part = tuple[np.ndarray, list[Face]]


def unknown_object(rng: np.random.Generator, instance: int, kind: str | None = None) -> tuple[str, Mesh]:
    """Makes an unknown object about the origin, standing on the ground.

    Returns:
        Its kind and its mesh.
    """
    kind = kind or KINDS[int(rng.integers(len(KINDS)))]
    vertices, faces = _MAKERS[kind](rng)
    vertices = vertices - [0, 0, vertices[:, 2].min()]
    vertices[:, :2] -= 0.5 * (vertices[:, :2].min(axis=0) + vertices[:, :2].max(axis=0))
    mesh = Mesh(vertices, faces, UNKNOWN, instance, grain(int(rng.integers(8)), 0.11, 6), kind in _ROUND)
    mesh.placed(0, 0, 0, float(rng.uniform(0, 2 * math.pi)))
    return kind, mesh


def _color(rng: np.random.Generator, *choices: Color, spread: float = 0.15) -> Color:
    base = np.array(choices[int(rng.integers(len(choices)))]) if choices else rng.uniform(20, 215, 3)
    red, green, blue = np.clip(base * rng.uniform(1 - spread, 1 + spread), 5, 240)
    return float(red), float(green), float(blue)


@lru_cache(maxsize=12)
def _cover(variant: int) -> Texture:
    """Draws packaging: cardboard with tape and print, boards, or cloth."""
    rng = np.random.default_rng(1_700 + variant)
    size = 128
    noise = fractal_noise(rng, size, size, cells=4, octaves=6, gain=0.8)
    if variant % 3 == 0:
        picture = np.array([166, 128, 88]) * rng.uniform(0.75, 1.1) * (1 + 0.06 * noise[..., None])
        picture[:, 56:72] = picture[:, 56:72] * 0.85 + 24
        ink = np.array([60, 46, 36])
        for _ in range(int(rng.integers(2, 6))):
            x, y = rng.integers(6, 90, 2)
            picture[y : y + int(rng.integers(3, 14)), x : x + int(rng.integers(8, 30))] = ink
    elif variant % 3 == 1:
        grain_lines = cv2.resize(rng.standard_normal((48, 6)).astype(np.float32), (size, size), interpolation=2)
        picture = np.array([150, 116, 78]) * rng.uniform(0.6, 1.1) * (1 + 0.13 * grain_lines[..., None])
        for y in range(0, size, int(rng.choice([21, 32]))):
            picture[y : y + 3] *= 0.35
    else:
        first, last = rng.uniform(25, 200, 3), rng.uniform(25, 200, 3)
        stripe = (np.arange(size) // int(rng.integers(5, 24)) % 2)[:, None, None]
        picture = np.broadcast_to(first * stripe + last * (1 - stripe), (size, size, 3)) * (1 + 0.10 * noise[..., None])
    edge = np.arange(size, dtype=float)
    rim = np.minimum(np.minimum(edge, size - 1 - edge)[:, None], np.minimum(edge, size - 1 - edge)[None])
    picture = picture * np.clip(0.72 + 0.05 * rim, 0, 1)[..., None]
    return Texture(np.clip(picture, 0, 255).astype(np.uint8))


def _crate(rng: np.random.Generator) -> Part:
    w, d, h = rng.uniform(0.3, 1.0), rng.uniform(0.3, 0.9), rng.uniform(0.25, 0.85)
    return box(w, d, h, (150, 116, 80), _cover(int(rng.integers(12))))


def _boxes(rng: np.random.Generator) -> Part:
    low, high = _crate(rng), _crate(rng)
    top = low[0][:, 2].max()
    small = high[0] * 0.6 + [rng.uniform(-0.1, 0.1), rng.uniform(-0.1, 0.1), 0]
    small[:, 2] += top - small[:, 2].min()
    return joined(low, (small, high[1]))


def _pallet(rng: np.random.Generator) -> Part:
    color = _color(rng, (158, 126, 86), (120, 104, 84))
    parts = []
    for base, thickness in ((0.0, 0.022), (0.122, 0.022)):
        for index in range(5):
            tone = rng.uniform(0.8, 1.15)
            plank: Color = (color[0] * tone, color[1] * tone, color[2] * tone)
            points, faces = box(1.2, 0.125, thickness, plank, base=base)
            parts.append((points + np.array([0, -0.34 + 0.17 * index, 0]), faces))
    for x in (-0.53, 0.0, 0.53):
        points, faces = box(0.1, 0.8, 0.10, (color[0] * 0.6, color[1] * 0.6, color[2] * 0.6), base=0.022)
        parts.append((points + np.array([x, 0, 0]), faces))
    vertices, faces = joined(*parts)
    if rng.random() < 0.5:
        # Leaning up on its long edge.
        tilt = rng.uniform(0.9, 1.5)
        cosine, sine = math.cos(tilt), math.sin(tilt)
        vertices = vertices @ np.array([[1, 0, 0], [0, cosine, sine], [0, -sine, cosine]])
    return vertices, faces


def _tyre(rng: np.random.Generator) -> Part:
    outer, inner, width = rng.uniform(0.30, 0.46), 0.0, rng.uniform(0.18, 0.28)
    inner = outer * 0.58
    count = 18
    angles = np.arange(count) * (2 * math.pi / count)
    rings = [(inner, 0.12 * width), (outer * 0.93, 0.0), (outer, 0.2 * width), (outer, 0.8 * width),
             (outer * 0.93, width), (inner, 0.88 * width)]  # fmt: skip
    vertices = [(r * math.cos(a), r * math.sin(a), z) for r, z in rings for a in angles]
    faces: list[Face] = []
    dark = rng.uniform(22, 40)
    for ring in range(len(rings)):
        following = (ring + 1) % len(rings)
        for i in range(count):
            j = (i + 1) % count
            tone = dark * (1.0 if ring not in (2,) else (0.75 if i % 2 else 1.15))
            faces.append(
                Face(
                    (ring * count + i, following * count + i, following * count + j, ring * count + j),
                    (tone, tone, tone),
                )
            )
    points = np.array(vertices)
    if rng.random() < 0.6:
        points = points[:, [0, 2, 1]]
        faces = [Face(face.corners[::-1], face.color) for face in faces]
    # Corners were strung along growing angles, which is clockwise from outside for the lying tyre.
    return points, faces


def _barrel(rng: np.random.Generator) -> Part:
    color = _color(rng, (40, 78, 140), (150, 40, 34), (60, 96, 60), (180, 130, 40), (110, 112, 112))
    radius, height = rng.uniform(0.2, 0.3), rng.uniform(0.6, 0.9)
    dark: Color = (color[0] * 0.6, color[1] * 0.6, color[2] * 0.6)
    levels = [0.0, 0.32, 0.36, 0.64, 0.68, 1.0]
    parts = []
    for low, high in pairwise(levels):
        rib = high - low < 0.1
        parts.append(cylinder((0, 0, low * height), (0, 0, high * height), radius * (1.06 if rib else 1.0),
                              dark if rib else color, 16))  # fmt: skip
    vertices, faces = joined(*parts)
    if rng.random() < 0.45:
        vertices = vertices[:, [2, 0, 1]]
    return vertices, faces


def _log(rng: np.random.Generator) -> Part:
    color = _color(rng, (92, 76, 58), (112, 92, 70), (70, 58, 46))
    length, radius = rng.uniform(0.7, 1.25), rng.uniform(0.07, 0.17)
    parts = [
        cylinder(
            (-length / 2, 0, radius), (length / 2, 0.06, radius), radius, color, 10, radius * 0.85, (188, 156, 112)
        )
    ]
    for _ in range(int(rng.integers(1, 5))):
        x = rng.uniform(-0.4, 0.4) * length
        tip = (x + rng.uniform(-0.25, 0.25), rng.uniform(-0.35, 0.35), rng.uniform(0.15, 0.65))
        parts.append(cylinder((x, 0, radius), tip, radius * 0.25, color, 6, radius * 0.1))
    return joined(*parts)


def _branch(rng: np.random.Generator) -> Part:
    color = _color(rng, (84, 70, 52), (66, 58, 44))
    green = _color(rng, (66, 84, 40), (92, 96, 50), (110, 92, 48))
    reach = float(rng.uniform(0.45, 0.65))
    parts = [cylinder((-reach, 0, 0.06), (reach, 0.1, 0.22), 0.035, color, 6, 0.012)]
    for _ in range(int(rng.integers(5, 9))):
        x = rng.uniform(-0.6, 0.9) * reach
        tip = np.array([x + rng.uniform(0.05, 0.35), rng.uniform(-0.35, 0.35), rng.uniform(0.05, 0.5)])
        parts.append(cylinder((x, 0.05, 0.12), tip, 0.014, color, 5, 0.006))
        for _ in range(int(rng.integers(2, 5))):
            place = tip + rng.normal(0, 0.07, 3)
            place[2] = max(place[2], 0.04)
            parts.append(_leaf(rng, place, _color(rng, green, spread=0.25)))
    return joined(*parts)


def _leaf(rng: np.random.Generator, place: np.ndarray, color: Color) -> Part:
    """A ragged flat cluster of leaves, turned at random."""
    count = 7
    across, along = rng.standard_normal((2, 3))
    across /= np.linalg.norm(across)
    along -= across * (along @ across)
    along /= np.linalg.norm(along)
    angles = np.arange(count) * (2 * math.pi / count)
    radii = rng.uniform(0.04, 0.13, count)
    corners = place + (radii * np.cos(angles))[:, None] * across + (radii * np.sin(angles))[:, None] * along
    return corners, [Face(tuple(range(count)), color, two_sided=True)]


def _bag(rng: np.random.Generator) -> Part:
    color = _color(rng, (28, 28, 32), (196, 196, 190), (40, 70, 130), (150, 150, 60), (120, 40, 110))
    radii = (rng.uniform(0.2, 0.42), rng.uniform(0.18, 0.36), rng.uniform(0.16, 0.36))
    vertices, faces = ellipsoid((0, 0, radii[2] * 0.8), radii, color, 9, 14)
    vertices = _dented(rng, vertices, 0.22)
    vertices[:, 2] = np.maximum(vertices[:, 2], 0.0)
    knot = cylinder((0, 0, vertices[:, 2].max() - 0.05), (0.03, 0, vertices[:, 2].max() + 0.10), 0.03, color, 6, 0.07)
    return joined((vertices, faces), knot)


def _ball(rng: np.random.Generator) -> Part:
    radius = rng.uniform(0.11, 0.35)
    vertices, faces = ellipsoid((0, 0, radius), (radius, radius, radius), _color(rng), 9, 16)
    second = _color(rng)
    for index, face in enumerate(faces):
        if (index // 8) % 3 == 0:
            face.color = second
    return vertices, faces


def _cone(rng: np.random.Generator) -> Part:
    orange: Color = _color(rng, (216, 78, 28), (230, 96, 30), spread=0.08)
    white: Color = (214, 212, 206)
    height, radius = rng.uniform(0.45, 0.8), rng.uniform(0.13, 0.19)
    parts = [box(radius * 2.6, radius * 2.6, 0.04, orange)]
    for index in range(5):
        low, high = index / 5, (index + 1) / 5
        parts.append(cylinder((0, 0, 0.04 + low * height), (0, 0, 0.04 + high * height), radius * (1 - 0.86 * low),
                              white if index in (1, 3) else orange, 12, radius * (1 - 0.86 * high)))  # fmt: skip
    vertices, faces = joined(*parts)
    if rng.random() < 0.5:
        vertices = vertices[:, [2, 0, 1]]
    return vertices, faces


def _rock(rng: np.random.Generator) -> Part:
    radii = (rng.uniform(0.14, 0.45), rng.uniform(0.14, 0.4), rng.uniform(0.12, 0.38))
    vertices, faces = ellipsoid(
        (0, 0, radii[2] * 0.7), radii, _color(rng, (128, 122, 112), (96, 92, 88), (146, 128, 104)), 6, 9
    )
    vertices = _dented(rng, vertices, 0.30)
    vertices[:, 2] = np.maximum(vertices[:, 2], 0.0)
    return vertices, faces


def _polyhedron(rng: np.random.Generator) -> Part:
    count = int(rng.integers(5, 9))
    angles = np.sort(rng.uniform(0, 2 * math.pi, count))
    low, high = rng.uniform(0.15, 0.5), rng.uniform(0.05, 0.45)
    top = rng.uniform(0.2, 0.9)
    shift = rng.uniform(-0.15, 0.15, 2)
    vertices = [(low * math.cos(a), low * math.sin(a), 0.0) for a in angles]
    vertices += [(shift[0] + high * math.cos(a), shift[1] + high * math.sin(a), top) for a in angles]
    polygons: list[tuple[int, ...]] = []
    for i in range(count):
        j = (i + 1) % count
        polygons += [(i, j, count + j), (i, count + j, count + i)]
    polygons.append(tuple(range(count, 2 * count)))
    colors = [_color(rng) for _ in range(2)]
    return star_shaped(vertices, polygons, [colors[index % 2] for index in range(len(polygons))])


def _suitcase(rng: np.random.Generator) -> Part:
    color = _color(rng)
    dark: Color = (color[0] * 0.5, color[1] * 0.5, color[2] * 0.5)
    w, d, h = rng.uniform(0.38, 0.55), rng.uniform(0.2, 0.3), rng.uniform(0.55, 0.78)
    parts = [box(w, d, h, color)]
    for level in (0.2, 0.5, 0.8):
        parts.append(box(w * 1.02, d * 1.04, 0.02, dark, base=level * h))
    for x in (-0.25, 0.25):
        parts.append(cylinder((x * w, 0, h), (x * w, 0, h + 0.25), 0.012, (120, 120, 122), 5))
    parts.append(cylinder((-0.25 * w, 0, h + 0.25), (0.25 * w, 0, h + 0.25), 0.016, (40, 40, 42), 5))
    vertices, faces = joined(*parts)
    if rng.random() < 0.4:
        vertices = vertices[:, [2, 0, 1]]
    return vertices, faces


def _chair(rng: np.random.Generator) -> Part:
    color = _color(rng, (120, 84, 54), (190, 190, 186), (40, 42, 46), (150, 40, 36))
    parts = []
    for x in (-0.2, 0.2):
        for y in (-0.2, 0.2):
            parts.append(cylinder((x, y, 0), (x * 0.9, y * 0.9, 0.45), 0.022, color, 5))
    parts.append(box(0.46, 0.46, 0.05, color, base=0.44))
    points, faces = box(0.44, 0.05, 0.45, (color[0] * 0.9, color[1] * 0.9, color[2] * 0.9), base=0.49)
    parts.append((points + np.array([0, 0.2, 0]), faces))
    vertices, faces = joined(*parts)
    if rng.random() < 0.5:
        vertices = vertices[:, [0, 2, 1]]
        faces = [Face(face.corners[::-1], face.color) for face in faces]
    return vertices, faces


def _animal(rng: np.random.Generator) -> Part:
    color = _color(rng, (120, 88, 58), (60, 52, 46), (176, 168, 156), (150, 120, 84))
    length, tall = rng.uniform(0.5, 0.95), rng.uniform(0.35, 0.6)
    thick = length * 0.2
    parts = [ellipsoid((0, 0, tall), (length / 2, thick, thick * 1.15), color, 6, 10)]
    for x in (-0.34, 0.34):
        for y in (-0.5, 0.5):
            foot = (x * length + rng.uniform(-0.06, 0.06), y * thick, 0.0)
            parts.append(cylinder((x * length, y * thick, tall), foot, thick * 0.28, color, 6, thick * 0.2))
    head = (length * 0.60, 0.0, tall + thick * rng.uniform(0.6, 1.5))
    parts.append(cylinder((length * 0.36, 0, tall), head, thick * 0.55, color, 8, thick * 0.4))
    parts.append(ellipsoid(head, (thick * 0.85, thick * 0.5, thick * 0.5), color, 5, 8))
    for y in (-0.3, 0.3):
        ear = (head[0] - 0.05, y * thick * 1.4, head[2] + thick)
        parts.append(cylinder((head[0] - 0.02, y * thick, head[2] + thick * 0.3), ear, thick * 0.2, color, 5, 0.005))
    tail = (-length * 0.72, 0, tall + rng.uniform(-0.1, 0.2))
    parts.append(cylinder((-length * 0.47, 0, tall), tail, 0.035, color, 5, 0.015))
    return joined(*parts)


def _tarpaulin(rng: np.random.Generator) -> Part:
    color = _color(rng, (40, 80, 150), (60, 110, 70), (190, 188, 180), (120, 60, 50))
    count = 11
    bumps: np.ndarray = np.abs(cv2.resize(rng.standard_normal((4, 4)), (count, count), interpolation=2)) * 0.26
    bumps = cv2.GaussianBlur(bumps, (0, 0), 0.9)
    edge = np.minimum.outer(np.arange(count), np.full(count, count)) * 1.0
    rim = np.minimum(np.minimum(edge, count - 1 - edge), np.minimum(edge.T, count - 1 - edge.T))
    height = bumps * np.clip(rim, 0, 1.5) + 0.02
    span_x, span_y = rng.uniform(0.7, 1.2), rng.uniform(0.6, 1.1)
    vertices = [
        ((j / (count - 1) - 0.5) * span_x, (0.5 - i / (count - 1)) * span_y, height[i, j])
        for i in range(count) for j in range(count)
    ]  # fmt: skip
    faces = []
    for i in range(count - 1):
        for j in range(count - 1):
            a, b, c, d = i * count + j, i * count + j + 1, (i + 1) * count + j + 1, (i + 1) * count + j
            faces += [Face((a, b, c), color, two_sided=True), Face((a, c, d), color, two_sided=True)]
    return np.array(vertices), faces


def _plank_pile(rng: np.random.Generator) -> Part:
    parts = []
    for _ in range(int(rng.integers(3, 7))):
        color = _color(rng, (160, 128, 88), (126, 104, 78), (184, 180, 170))
        tip = rng.uniform(-0.55, 0.55, 3)
        start = (-tip[0], -tip[1] * 0.6, 0.04)
        parts.append(
            cylinder(start, (tip[0], tip[1] * 0.6, abs(tip[2]) * 0.7 + 0.05), rng.uniform(0.02, 0.06), color, 4)
        )
    return joined(*parts)


def _dented(rng: np.random.Generator, vertices: np.ndarray, depth: float) -> np.ndarray:
    """Moves the points of a convex shape in and out, neighbours alike."""
    centre = vertices.mean(axis=0)
    offset = vertices - centre
    scale = np.ones(len(vertices))
    for _ in range(7):
        direction = rng.standard_normal(3)
        direction /= np.linalg.norm(direction)
        phase = offset @ direction / max(float(np.abs(offset).max()), 1e-6)
        scale += depth * rng.uniform(-0.5, 0.5) * np.cos(3.0 * phase + rng.uniform(0, 6.3))
    return centre + offset * scale[:, None]


_MAKERS: dict[str, Callable[[np.random.Generator], Part]] = {
    "crate": _crate,
    "boxes": _boxes,
    "pallet": _pallet,
    "tyre": _tyre,
    "barrel": _barrel,
    "log": _log,
    "branch": _branch,
    "bag": _bag,
    "ball": _ball,
    "cone": _cone,
    "rock": _rock,
    "polyhedron": _polyhedron,
    "suitcase": _suitcase,
    "chair": _chair,
    "animal": _animal,
    "tarpaulin": _tarpaulin,
    "planks": _plank_pile,
}
KINDS: tuple[str, ...] = tuple(_MAKERS)
"""All kinds of unknown objects."""
_ROUND = frozenset({"bag", "ball", "barrel", "log", "rock", "animal", "tarpaulin"})
