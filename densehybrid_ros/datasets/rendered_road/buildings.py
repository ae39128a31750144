"""Houses along the street: boxes with drawn facades and roofs."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from densehybrid_ros.datasets.rendered_road.mesh import Color, Face, Mesh
from densehybrid_ros.datasets.rendered_road.textures import Texture, fractal_noise

BUILDING, WALL, FENCE = 2, 3, 4
"""Train ids."""

_PIXELS_PER_METRE = 32
_WALLS: tuple[Color, ...] = (
    (196, 182, 150), (206, 200, 186), (176, 168, 156), (150, 98, 80), (168, 120, 96), (214, 196, 158),
    (188, 172, 168), (160, 164, 160), (132, 88, 74), (202, 186, 130), (146, 140, 132), (184, 150, 122),
)  # fmt: skip
_ROOFS: tuple[Color, ...] = ((96, 54, 44), (70, 66, 66), (112, 70, 54), (60, 56, 54))
VARIANTS = 28
"""How many different facades there are."""


@lru_cache(maxsize=VARIANTS)
def facade(variant: int) -> tuple[Texture, float, float]:
    """Draws a facade; returns it with its width and height in metres."""
    rng = np.random.default_rng(500 + variant)
    storeys = int(rng.integers(2, 6))
    storey = float(rng.uniform(2.8, 3.7))
    bays = int(rng.integers(3, 7))
    bay = float(rng.uniform(1.9, 3.0))
    width, height = bays * bay, storeys * storey + 0.6
    columns, rows = int(width * _PIXELS_PER_METRE), int(height * _PIXELS_PER_METRE)
    base = np.array(_WALLS[int(rng.integers(len(_WALLS)))]) * rng.uniform(0.75, 1.05)
    picture = _plaster(rng, rows, columns, base)
    shop = rng.random() < 0.45
    style = _WindowStyle(rng, bay, storey)
    for level in range(storeys):
        floor_line = rows - int(level * storey * _PIXELS_PER_METRE)
        if level == 0 and shop:
            _shop_front(rng, picture, floor_line, int(storey * _PIXELS_PER_METRE), columns, bays)
            continue
        door = int(rng.integers(bays)) if level == 0 else -1
        for index in range(bays):
            middle = int((index + 0.5) * bay * _PIXELS_PER_METRE)
            if index == door:
                _door(rng, picture, middle, floor_line)
            else:
                style.draw(rng, picture, middle, floor_line)
    _ledges(rng, picture, rows, storey, storeys, base)
    return Texture(_weathered(rng, picture)), width, height


def _plaster(rng: np.random.Generator, rows: int, columns: int, base: np.ndarray) -> np.ndarray:
    noise = 0.045 * fractal_noise(rng, 256, 256, cells=4, octaves=7, gain=0.8)
    tiles = np.tile(noise, (rows // 256 + 1, columns // 256 + 1))[:rows, :columns]
    if base[0] > 1.35 * base[2] and rng.random() < 0.75:
        # Bricks of 25 x 8 cm in running bond.
        course = np.arange(rows) // 3
        brick = (np.arange(columns)[None] + 4 * (course[:, None] % 2)) // 8
        tone = rng.normal(0, 0.10, (course.max() + 1, brick.max() + 1))
        tiles = tiles + tone[course[:, None], brick] - 0.10 * (np.arange(rows)[:, None] % 3 == 0)
    return np.ascontiguousarray(np.clip(base * (1 + tiles[..., None]), 0, 255).astype(np.uint8))


class _WindowStyle:
    """Size, frame and ornament shared by the windows of a house."""

    def __init__(self, rng: np.random.Generator, bay: float, storey: float) -> None:
        self.width = int(min(bay * rng.uniform(0.42, 0.66), 1.7) * _PIXELS_PER_METRE)
        self.height = int(storey * rng.uniform(0.46, 0.62) * _PIXELS_PER_METRE)
        self.sill = int(0.85 * _PIXELS_PER_METRE)
        self.frame = tuple(float(v) for v in rng.uniform(0.9, 1.0) * np.array(
            [(222, 220, 214), (90, 64, 48), (60, 62, 64)][int(rng.choice(3, p=[0.65, 0.2, 0.15]))]))  # fmt: skip
        self.surround = rng.random() < 0.55
        self.shutters = rng.random() < 0.2
        self.shutter = tuple(float(v) for v in rng.uniform(40, 110, 3))
        self.panes = int(rng.choice([1, 2, 2]))
        self.transom = rng.random() < 0.5
        self.balcony = rng.random() < 0.22

    def draw(self, rng: np.random.Generator, picture: np.ndarray, middle: int, floor_line: int) -> None:
        """Draws one window above ``floor_line``."""
        left, right = middle - self.width // 2, middle + self.width // 2
        bottom = floor_line - self.sill
        top = bottom - self.height
        if top < 4:
            return
        if self.surround:
            band = picture[max(top - 6, 0) : bottom + 4, max(left - 5, 0) : right + 5]
            band[:] = np.clip(band * 1.0 + 26, 0, 255).astype(np.uint8)
        cv2.rectangle(picture, (left - 2, top - 2), (right + 2, bottom + 1), self.frame, -1)
        _pane(rng, picture, left + 1, top + 1, right - 1, bottom - 1)
        for pane in range(1, self.panes):
            x = left + pane * self.width // self.panes
            cv2.line(picture, (x, top), (x, bottom), self.frame, 2)
        if self.transom:
            cv2.line(picture, (left, top + self.height // 3), (right, top + self.height // 3), self.frame, 2)
        picture[top : top + 3, left:right] = picture[top : top + 3, left:right] // 2
        cv2.rectangle(picture, (left - 5, bottom + 1), (right + 5, bottom + 4), (188, 184, 176), -1)
        shade = picture[bottom + 5 : bottom + 9, left - 4 : right + 4]
        shade[:] = (shade * 0.72).astype(np.uint8)
        if self.shutters:
            for edge in (left - 3 - self.width // 3, right + 3):
                cv2.rectangle(picture, (edge, top), (edge + self.width // 3, bottom), self.shutter, -1)
                for y in range(top + 3, bottom, 4):
                    cv2.line(picture, (edge, y), (edge + self.width // 3, y), tuple(v * 0.7 for v in self.shutter), 1)
        if self.balcony and rng.random() < 0.5 and floor_line < picture.shape[0] - 10:
            rail = bottom + 2
            cv2.rectangle(picture, (left - 14, rail + 22), (right + 14, rail + 27), (120, 116, 110), -1)
            for x in range(left - 14, right + 15, 4):
                cv2.line(picture, (x, rail - 4), (x, rail + 22), (44, 44, 46), 1)
            cv2.line(picture, (left - 14, rail - 4), (right + 14, rail - 4), (40, 40, 42), 2)


def _pane(rng: np.random.Generator, picture: np.ndarray, left: int, top: int, right: int, bottom: int) -> None:
    """Fills a window with what glass shows: a dark room, curtains, blinds and the mirrored sky."""
    height, width = bottom - top, right - left
    if height < 2 or width < 2:
        return
    down = np.linspace(1, 0, height)[:, None, None]
    sky = np.array([128, 142, 152]) * rng.uniform(0.3, 0.9)
    room = np.array([36, 40, 44]) * rng.uniform(0.7, 1.4)
    glass = room + (sky - room) * np.clip(down * 1.2 - rng.uniform(0.1, 0.8), 0, 1)
    glass = np.broadcast_to(glass, (height, width, 3)).copy()
    kind = rng.random()
    if kind < 0.30:
        cloth = np.array([186, 182, 172]) * rng.uniform(0.6, 1.0)
        part = int(width * rng.uniform(0.15, 0.35))
        folds = 1 + 0.12 * np.sin(np.arange(width) * rng.uniform(0.6, 1.2))[None, :, None]
        glass[:, :part] = cloth * folds[:, :part] * 0.75
        glass[:, width - part :] = cloth * folds[:, width - part :] * 0.75
    elif kind < 0.45:
        drop = int(height * rng.uniform(0.2, 1.0))
        slats = 1 - 0.15 * (np.arange(drop) % 3 == 0)[:, None, None]
        glass[:drop] = np.array([176, 174, 168]) * rng.uniform(0.6, 1.0) * slats
    shear = np.arange(height)[:, None] + np.arange(width)[None] * rng.uniform(0.4, 1.2)
    start = rng.uniform(0, height)
    glass[(shear > start) & (shear < start + height * 0.3)] += rng.uniform(5, 26)
    picture[top:bottom, left:right] = np.clip(glass, 0, 255).astype(np.uint8)


def _door(rng: np.random.Generator, picture: np.ndarray, middle: int, floor_line: int) -> None:
    half, tall = int(0.6 * _PIXELS_PER_METRE), int(2.25 * _PIXELS_PER_METRE)
    color = tuple(
        float(v) for v in np.array([[70, 44, 30], [36, 52, 44], [58, 58, 62], [94, 30, 26]])[int(rng.integers(4))]
    )
    cv2.rectangle(
        picture, (middle - half - 4, floor_line - tall - 4), (middle + half + 4, floor_line), (178, 174, 166), -1
    )
    cv2.rectangle(picture, (middle - half, floor_line - tall), (middle + half, floor_line), color, -1)
    _pane(rng, picture, middle - half + 6, floor_line - tall + 5, middle + half - 6, floor_line - tall // 2)
    cv2.rectangle(picture, (middle - half - 8, floor_line - 5), (middle + half + 8, floor_line), (140, 138, 134), -1)


def _shop_front(
    rng: np.random.Generator, picture: np.ndarray, floor_line: int, storey: int, columns: int, bays: int
) -> None:
    """Draws large panes under a sign or an awning."""
    color = tuple(float(v) for v in rng.uniform(30, 140, 3))
    top = floor_line - storey + 6
    cv2.rectangle(picture, (0, top), (columns, floor_line), tuple(v * 0.6 + 40 for v in color), -1)
    step = columns // bays
    for index in range(bays):
        left = index * step + 6
        low = floor_line - (3 if rng.random() < 0.3 else 16)
        _pane(rng, picture, left, top + 24, left + step - 12, low)
        for _ in range(int(rng.integers(2, 7))):
            # Goods in the window.
            x, y = int(rng.integers(left + 2, left + step - 16)), int(rng.integers(top + 40, low - 4))
            goods = tuple(float(v) for v in rng.uniform(30, 170, 3))
            cv2.rectangle(picture, (x, y), (x + int(rng.integers(3, 12)), low), goods, -1)
    cv2.rectangle(picture, (0, top), (columns, top + 20), color, -1)
    ink = tuple(float(v) for v in (rng.uniform(180, 240, 3) if sum(color) < 300 else rng.uniform(10, 60, 3)))
    x = int(rng.integers(6, max(columns // 3, 8)))
    for _ in range(int(rng.integers(4, 11))):
        w = int(rng.integers(5, 10))
        cv2.rectangle(picture, (x, top + 5), (x + w - 3, top + 15), ink, -1 if rng.random() < 0.4 else 2)
        x += w + 2
    if rng.random() < 0.4:
        stripe = np.array([[200, 60, 50], [60, 110, 70], [60, 80, 130], [190, 150, 70]])[int(rng.integers(4))]
        for x in range(0, columns, 10):
            tone = stripe if (x // 10) % 2 else np.array([205, 202, 194])
            cv2.rectangle(picture, (x, top + 20), (x + 10, top + 42), tuple(float(v) for v in tone), -1)
        shade = picture[top + 42 : top + 60]
        shade[:] = (shade * 0.6).astype(np.uint8)


def _ledges(
    rng: np.random.Generator, picture: np.ndarray, rows: int, storey: float, storeys: int, base: np.ndarray
) -> None:
    """Draws the plinth, cornices between storeys and the eaves."""
    plinth = int(0.5 * _PIXELS_PER_METRE)
    if rng.random() < 0.7:
        picture[rows - plinth :] = (picture[rows - plinth :] * 0.72).astype(np.uint8)
    if rng.random() < 0.6:
        for level in range(1, storeys):
            y = rows - int(level * storey * _PIXELS_PER_METRE)
            cv2.rectangle(
                picture, (0, y - 4), (picture.shape[1], y), tuple(float(min(v * 1.12, 255)) for v in base), -1
            )
            picture[y + 1 : y + 4] = (picture[y + 1 : y + 4] * 0.75).astype(np.uint8)
    cv2.rectangle(picture, (0, 0), (picture.shape[1], 9), tuple(float(v) * 0.9 for v in base), -1)
    picture[10:18] = (picture[10:18] * 0.65).astype(np.uint8)
    pipe = 3 if rng.random() < 0.5 else picture.shape[1] - 6
    cv2.line(picture, (pipe, 0), (pipe, rows), (98, 98, 96), 3)
    cv2.line(picture, (pipe + 3, 0), (pipe + 3, rows), tuple(float(v) * 0.6 for v in base), 1)


def _weathered(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Adds streaks that run down and dirt near the ground."""
    rows, columns = picture.shape[:2]
    streaks = cv2.resize(
        rng.standard_normal((4, columns // 3 + 1)).astype(np.float32), (columns, rows), interpolation=1
    )
    slow = cv2.resize(
        rng.standard_normal((rows // 60 + 2, columns // 60 + 2)).astype(np.float32), (columns, rows), interpolation=2
    )
    dirt = np.clip(1 - (rows - np.arange(rows)[:, None]) / (1.2 * _PIXELS_PER_METRE), 0, 1)
    factor = 1 + 0.022 * streaks + 0.035 * slow - 0.18 * dirt
    return np.clip(picture * factor[..., None], 0, 255).astype(np.uint8)


@lru_cache(maxsize=8)
def _tiles(variant: int) -> Texture:
    rng = np.random.default_rng(800 + variant)
    base = np.array(_ROOFS[variant % len(_ROOFS)])
    noise = 0.12 * fractal_noise(rng, 128, 256, cells=4, octaves=6, gain=0.85)
    rows = 1 - 0.22 * (np.arange(128)[:, None] % 6 == 0)
    return Texture(np.clip(base * ((1 + noise) * rows)[..., None], 0, 255).astype(np.uint8))


def house(
    rng: np.random.Generator, side: int, front: float, start: float, depth: float = 10.0
) -> tuple[list[Mesh], float]:
    """Makes a house beside the road.

    Args:
        rng: Source of randomness.
        side: -1 left of the road, 1 right of it.
        front: Position x of the facade in metres.
        start: Position y where the house begins.
        depth: Metres from the front to the back.

    Returns:
        The meshes and the position y where the house ends.
    """
    texture, width, height = facade(int(rng.integers(VARIANTS)))
    end_texture, _, _ = facade(int(rng.integers(VARIANTS)))
    end, back = start + width, front + side * depth
    vertices = np.array(
        [(x, y, z) for z in (0.0, height) for x, y in ((front, start), (front, end), (back, end), (back, start))]
    )
    plain: Color = (150, 140, 126)
    if side > 0:
        # Seen from the road the front's left end is the far one.
        front_face = Face((5, 4, 0, 1), plain, texture)
        near_face, far_face = Face((4, 7, 3, 0), plain, end_texture), Face((6, 5, 1, 2), plain, end_texture)
    else:
        front_face = Face((4, 5, 1, 0), plain, texture)
        near_face, far_face = Face((7, 4, 0, 3), plain, end_texture), Face((5, 6, 2, 1), plain, end_texture)
    faces = [front_face, near_face, far_face]
    if rng.random() < 0.65:
        ridge = height + float(rng.uniform(2.2, 4.2))
        middle = (front + back) / 2
        eave = front - side * 0.35
        vertices = np.concatenate([vertices, [(eave, start, height - 0.2), (eave, end, height - 0.2),
                                              (middle, start, ridge), (middle, end, ridge)]])  # fmt: skip
        roof = _tiles(int(rng.integers(8)))
        slope = (11, 10, 8, 9) if side > 0 else (10, 11, 9, 8)
        faces.append(Face(slope, (96, 60, 50), roof))
        gable = (4, 10, 7) if side > 0 else (7, 10, 4)
        faces.append(Face(gable, (128, 118, 106), None, two_sided=True))
        faces.append(Face((5, 11, 6), (128, 118, 106), None, two_sided=True))
    else:
        faces.append(Face((7, 6, 5, 4) if side < 0 else (4, 5, 6, 7), (84, 82, 80)))
    return [Mesh(vertices, faces, BUILDING)], end


@lru_cache(maxsize=6)
def _barrier(variant: int) -> tuple[Texture, int]:
    """Returns a wall or a fence of 4 m by its height, with its class."""
    rng = np.random.default_rng(900 + variant)
    rows, columns = 64, 256
    kind = variant % 3
    if kind == 0:
        base = np.array(_WALLS[int(rng.integers(len(_WALLS)))]) * 0.8
        return Texture(_weathered(rng, _plaster(rng, rows, columns, base))), WALL
    picture = np.zeros((rows, columns, 4), np.uint8)
    if kind == 1:
        for x in range(0, columns, 11):
            tone = rng.uniform(0.7, 1.1)
            cv2.rectangle(picture, (x, 4), (x + 8, rows), (112 * tone, 84 * tone, 60 * tone, 255), -1)
        cv2.rectangle(picture, (0, 14), (columns, 19), (92, 70, 52, 255), -1)
        cv2.rectangle(picture, (0, 48), (columns, 53), (92, 70, 52, 255), -1)
        return Texture(picture), FENCE
    for x in range(0, columns, 8):
        cv2.line(picture, (x, 2), (x, rows), (48, 54, 52, 255), 3)
    for y in (4, 30, 58):
        cv2.line(picture, (0, y), (columns, y), (48, 54, 52, 255), 4)
    return Texture(picture), FENCE


def barrier(rng: np.random.Generator, side: int, x: float, start: float, end: float) -> list[Mesh]:
    """Makes a wall or fence along the road from ``start`` to ``end``."""
    variant = int(rng.integers(6))
    texture, class_id = _barrier(variant)
    height = float(rng.uniform(0.9, 1.7))
    meshes = []
    y = start
    while y < end - 0.5:
        stop = min(y + 4.0, end)
        near, far = (x, y, height), (x, stop, height)
        left, right = (far, near) if side > 0 else (near, far)
        vertices = np.array([left, right, (right[0], right[1], 0.0), (left[0], left[1], 0.0)])
        meshes.append(Mesh(vertices, [Face((0, 1, 2, 3), (120, 110, 100), texture, two_sided=True)], class_id))
        y = stop
    return meshes
