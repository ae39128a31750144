"""Poles, lamps, signs, traffic lights, and the few people and bicycles on the pavement."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from densehybrid_ros.datasets.rendered_road.mesh import Color, Face, Mesh, box, cylinder
from densehybrid_ros.datasets.rendered_road.textures import Texture

POLE, TRAFFIC_LIGHT, TRAFFIC_SIGN, PERSON, BICYCLE = 5, 6, 7, 11, 18
"""Train ids."""


def _pole(x: float, y: float, height: float, radius: float, color: Color) -> Mesh:
    vertices, faces = cylinder((x, y, 0), (x, y, height), radius, color, 8, radius * 0.8)
    return Mesh(vertices, faces, POLE)


def street_lamp(rng: np.random.Generator, x: float, y: float, side: int) -> list[Mesh]:
    """Makes a lamp whose arm reaches over the road."""
    tone = float(rng.uniform(70, 125))
    color: Color = (tone, tone, tone * 0.98)
    height = float(rng.uniform(5.5, 8.5))
    reach = float(rng.uniform(0.8, 2.0))
    arm, arm_faces = cylinder((x, y, height - 0.1), (x - side * reach, y, height + 0.25), 0.04, color, 6)
    head, head_faces = box(0.55, 0.25, 0.12, (tone * 0.8, tone * 0.8, tone * 0.8))
    return [
        _pole(x, y, height, 0.075, color),
        Mesh(arm, arm_faces, POLE),
        Mesh(head, head_faces, POLE).placed(x - side * (reach + 0.2), y, height + 0.2),
    ]


_SIGNS = 10


@lru_cache(maxsize=_SIGNS)
def _sign(variant: int) -> Texture:
    """Draws a sign face with coverage."""
    picture = np.zeros((96, 96, 4), np.uint8)
    white, red, blue, black, yellow = (
        (222, 222, 218, 255), (178, 26, 32, 255), (26, 66, 146, 255), (24, 24, 26, 255), (226, 180, 30, 255)
    )  # fmt: skip
    triangle = np.array([[48, 6], [92, 84], [4, 84]])
    if variant in (0, 1):
        cv2.fillPoly(picture, [triangle], red)
        cv2.fillPoly(picture, [np.array([[48, 24], [78, 76], [18, 76]])], white)
        cv2.rectangle(picture, (45, 40), (51, 60), black, -1)
        cv2.circle(picture, (48, 68), 4, black, -1)
    elif variant == 2:
        cv2.fillPoly(picture, [triangle[:, ::1] * [1, -1] + [0, 92]], red)
        cv2.fillPoly(picture, [np.array([[48, 66], [76, 18], [20, 18]])], white)
    elif variant in (3, 4):
        cv2.circle(picture, (48, 48), 45, red, -1)
        cv2.circle(picture, (48, 48), 33, white, -1)
        cv2.putText(picture, ("30", "50")[variant - 3], (22, 62), cv2.FONT_HERSHEY_SIMPLEX, 1.25, black, 5)
    elif variant == 5:
        cv2.circle(picture, (48, 48), 45, blue, -1)
        cv2.arrowedLine(picture, (30, 70), (66, 30), white, 9, tipLength=0.45)
    elif variant == 6:
        cv2.rectangle(picture, (6, 6), (90, 90), blue, -1)
        cv2.putText(picture, "P", (24, 76), cv2.FONT_HERSHEY_SIMPLEX, 2.4, white, 9)
    elif variant == 7:
        diamond = np.array([[48, 3], [93, 48], [48, 93], [3, 48]])
        cv2.fillPoly(picture, [diamond], white)
        cv2.fillPoly(picture, [(diamond - 48) * 7 // 10 + 48], yellow)
    elif variant == 8:
        cv2.circle(picture, (48, 48), 45, blue, -1)
        cv2.circle(picture, (48, 48), 45, red, 9)
        cv2.line(picture, (18, 18), (78, 78), red, 9)
    else:
        cv2.rectangle(picture, (2, 26), (94, 70), white, -1)
        for x in range(10, 84, 11):
            cv2.rectangle(picture, (x, 38), (x + 7, 58), black, -1 if x % 2 else 2)
    # Text drawn with soft edges would leave holes: whatever was painted covers.
    picture[..., 3] = np.where(picture[..., :3].any(axis=2), 255, 0)
    return Texture(picture)


def traffic_sign(rng: np.random.Generator, x: float, y: float) -> list[Mesh]:
    """Makes a pole with one or two signs that face the oncoming camera."""
    tone = float(rng.uniform(105, 150))
    meshes = [_pole(x, y, 2.9, 0.035, (tone, tone, tone))]
    low = 2.2
    for _ in range(int(rng.integers(1, 3))):
        size = float(rng.uniform(0.55, 0.8))
        half = size / 2
        vertices = np.array(
            [(x - half, y - 0.06, low + size), (x + half, y - 0.06, low + size),
             (x + half, y - 0.06, low), (x - half, y - 0.06, low)]
        )  # fmt: skip
        texture = _sign(int(rng.integers(_SIGNS)))
        meshes.append(Mesh(vertices, [Face((0, 1, 2, 3), (180, 180, 180), texture)], TRAFFIC_SIGN))
        low -= size * 1.02
        if low < 1.5:
            break
    return meshes


def traffic_light(rng: np.random.Generator, x: float, y: float) -> list[Mesh]:
    """Makes a pole with a three-lamp signal."""
    meshes = [_pole(x, y, 3.4, 0.06, (92, 94, 94))]
    vertices, faces = box(0.30, 0.22, 0.92, (26, 28, 27))
    lit = int(rng.integers(3))
    colors: tuple[Color, ...] = ((235.0, 48.0, 40.0), (240.0, 180.0, 40.0), (60.0, 220.0, 140.0))
    points = list(map(tuple, vertices))
    for index, color in enumerate(colors):
        shown: Color = color if index == lit else (color[0] * 0.18, color[1] * 0.18, color[2] * 0.18)
        angles = np.arange(12) * (2 * np.pi / 12)
        base = len(points)
        points += [(0.10 * np.sin(a), -0.125, 0.77 - 0.30 * index + 0.10 * np.cos(a)) for a in angles]
        faces.append(Face(tuple(range(base, base + 12)), shown, glow=True))
    meshes.append(Mesh(np.array(points), faces, TRAFFIC_LIGHT).placed(x, y - 0.1, 2.45))
    return meshes


@lru_cache(maxsize=12)
def _figure(variant: int) -> Texture:
    """Draws a standing or walking person with coverage."""
    rng = np.random.default_rng(1_500 + variant)
    picture = np.zeros((256, 128, 4), np.uint8)

    def tone(low: float, high: float) -> tuple[float, ...]:
        return (*(float(v) for v in rng.uniform(low, high) * rng.uniform(0.8, 1.2, 3)), 255.0)

    skin = (*(float(v) for v in np.array([196, 150, 124]) * rng.uniform(0.5, 1.05)), 255.0)
    coat, trousers, shoes, hair = tone(30, 140), tone(24, 80), tone(20, 50), tone(20, 80)
    stride = int(rng.integers(4, 22))
    for direction in (-1, 1):
        knee = (64 + direction * stride, 190)
        foot = (64 + direction * stride * (2 if direction > 0 else 1), 246)
        cv2.line(picture, (64 + direction * 7, 138), knee, trousers, 21)
        cv2.line(picture, knee, foot, trousers, 16)
        cv2.ellipse(picture, (foot[0] + 5, 248), (13, 6), 0, 0, 360, shoes, -1)
    long = int(rng.choice([0, 26]))
    cv2.fillPoly(picture, [np.array([[40, 52], [88, 52], [86, 146 + long], [42, 146 + long]])], coat)
    dark = (*(v * 0.8 for v in coat[:3]), 255.0)
    for direction in (-1, 1):
        elbow = (64 + direction * int(rng.integers(26, 34)), 98)
        hand = (64 + direction * int(rng.integers(18, 38)), 138)
        cv2.line(picture, (64 + direction * 21, 58), elbow, dark, 14)
        cv2.line(picture, elbow, hand, dark, 12)
        cv2.circle(picture, hand, 6, skin, -1)
    cv2.line(picture, (64, 38), (64, 54), skin, 11)
    cv2.ellipse(picture, (64, 25), (15, 18), 0, 0, 360, hair, -1)
    if rng.random() < 0.65:  # seen from the front
        turn = int(rng.integers(-4, 5))
        cv2.ellipse(picture, (64 + turn, 29), (11, 14), 0, 0, 360, skin, -1)
        fringe = (64 + turn, 18)
        cv2.ellipse(picture, fringe, (12, 6), 0, 180, 360, hair, -1)
        for eye in (-4, 4):
            cv2.circle(picture, (64 + turn + eye, 28), 1, (40, 34, 30, 255), -1)
    if rng.random() < 0.4:
        bag = tone(30, 120)
        cv2.rectangle(picture, (34, 66), (52, 118), bag, -1)
    light = np.clip(1.12 - 0.004 * np.abs(np.arange(128) - 50), 0.8, 1.2)[None, :, None]
    noise = 1 + 0.06 * rng.standard_normal((256, 128, 1))
    picture[..., :3] = np.clip(picture[..., :3] * light * cv2.GaussianBlur(noise, (0, 0), 1.2)[..., None], 0, 255)
    return Texture(picture)


def person(rng: np.random.Generator, x: float, y: float) -> list[Mesh]:
    """Makes a person on the pavement."""
    height = float(rng.uniform(1.55, 1.9))
    half = height / 4
    vertices = np.array([(x - half, y, height), (x + half, y, height), (x + half, y, 0), (x - half, y, 0)])
    face = Face((0, 1, 2, 3), (90, 80, 70), _figure(int(rng.integers(12))), two_sided=True)
    return [Mesh(vertices, [face], PERSON)]


@lru_cache(maxsize=4)
def _bicycle(variant: int) -> Texture:
    rng = np.random.default_rng(1_600 + variant)
    picture = np.zeros((144, 256, 4), np.uint8)
    frame = (*(float(v) for v in rng.uniform(20, 150, 3)), 255.0)
    black = (22, 22, 24, 255)
    for x in (56, 200):
        cv2.circle(picture, (x, 92), 48, black, 7)
        for angle in np.arange(0, np.pi, np.pi / 6):
            dx, dy = int(46 * np.cos(angle)), int(46 * np.sin(angle))
            cv2.line(picture, (x - dx, 92 - dy), (x + dx, 92 + dy), (96, 96, 96, 255), 1)
    for first, last in (((56, 92), (112, 96)), ((112, 96), (96, 36)), ((96, 42), (176, 40)), ((112, 96), (178, 46)),
                        ((56, 92), (98, 44)), ((200, 92), (172, 24))):  # fmt: skip
        cv2.line(picture, first, last, frame, 7)
    cv2.line(picture, (160, 22), (184, 18), black, 6)
    cv2.line(picture, (82, 32), (112, 32), black, 8)
    return Texture(picture)


def bicycle(rng: np.random.Generator, x: float, y: float) -> list[Mesh]:
    """Makes a parked bicycle seen from its side."""
    turn = float(rng.uniform(-0.5, 0.5))
    vertices = np.array([(-0.9, 0, 1.02), (0.9, 0, 1.02), (0.9, 0, 0), (-0.9, 0, 0)])
    face = Face((0, 1, 2, 3), (60, 60, 60), _bicycle(int(rng.integers(4))), two_sided=True)
    return [Mesh(vertices, [face], BICYCLE).placed(x, y, 0.0, turn)]
