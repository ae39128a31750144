"""Cars, vans and a lorry as extruded side profiles with glass, wheels and lamps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np

from densehybrid_ros.datasets.rendered_road.mesh import Color, Face, Mesh, star_shaped
from densehybrid_ros.datasets.rendered_road.textures import Texture, fractal_noise, grain

Point = tuple[float, float, float]
Part = tuple[np.ndarray, list[Face]]

CAR, TRUCK = 13, 14
"""Train ids."""
VARIANTS = 72
"""How many car models there are."""

_PAINTS: tuple[Color, ...] = (
    (28, 29, 32), (52, 54, 58), (120, 123, 127), (168, 170, 172), (205, 206, 206), (34, 46, 82),
    (112, 22, 24), (60, 78, 96), (86, 88, 84), (142, 30, 28), (40, 66, 52), (150, 140, 120),
)  # fmt: skip
_GLASS: Color = (38, 46, 52)

# Side profiles as (position from the rear, height) in shares of length and height: boot, rear window, roof,
# windscreen, bonnet, nose. The first and last points lie at the sill.
_PROFILES: dict[str, tuple[tuple[float, float], ...]] = {
    "hatchback": ((0.0, 0.52), (0.015, 0.64), (0.10, 0.95), (0.24, 1.0), (0.52, 0.985), (0.71, 0.66), (0.965, 0.54)),
    "saloon": ((0.0, 0.60), (0.13, 0.67), (0.27, 0.955), (0.38, 1.0), (0.53, 0.99), (0.69, 0.67), (0.97, 0.54)),
    "estate": ((0.0, 0.50), (0.01, 0.66), (0.055, 0.94), (0.16, 1.0), (0.53, 0.99), (0.70, 0.67), (0.97, 0.54)),
    "van": ((0.0, 0.45), (0.005, 0.62), (0.02, 0.97), (0.06, 1.0), (0.70, 0.99), (0.86, 0.60), (0.98, 0.48)),
}
_SIZES = {
    "hatchback": (4.0, 1.74, 1.48),
    "saloon": (4.6, 1.82, 1.45),
    "estate": (4.6, 1.82, 1.50),
    "van": (5.0, 1.95, 2.05),
}


def car(rng: np.random.Generator) -> list[Mesh]:
    """Makes a car about the origin that faces along the road (+y), standing on the ground."""
    near, far = _model(int(rng.integers(VARIANTS)))
    return [Mesh(*_copied(near), CAR, grain=_sheen(int(rng.integers(6))), far=Mesh(*_copied(far), CAR))]


@lru_cache(maxsize=VARIANTS)
def _model(variant: int) -> tuple[Part, Part]:
    """Makes one of the car models: with every detail, and for afar."""
    rng = np.random.default_rng(2_000 + variant)
    kind = str(rng.choice(list(_PROFILES), p=[0.36, 0.24, 0.26, 0.14]))
    length, width, height = (value * float(rng.uniform(0.95, 1.05)) for value in _SIZES[kind])
    color = _PAINTS[int(rng.integers(len(_PAINTS)))]
    shade = float(rng.uniform(0.8, 1.2))
    red, green, blue = (float(np.clip(value * shade * rng.uniform(0.96, 1.04), 8, 225)) for value in color)
    seed = int(rng.integers(1 << 30))
    near, far = (
        _Body(kind, (length, width, height), (red, green, blue), np.random.default_rng(seed), detailed).parts()
        for detailed in (True, False)
    )
    return near, far


@lru_cache(maxsize=6)
def _sheen(variant: int) -> Texture:
    """What a car's paint mirrors and what sticks to it: sky above, the dark street below, dust near the ground."""
    rng = np.random.default_rng(2_200 + variant)
    size = 128
    noise = fractal_noise(rng, size, size, cells=5, octaves=6, gain=0.6)
    wavy = cv2.GaussianBlur(fractal_noise(rng, size, size, cells=3, octaves=2), (0, 0), sigmaX=9, sigmaY=1)
    # A car is about a third as high as it is long, and the card is square: it lies in the middle third.
    level = (0.66 - np.arange(size)[:, None] / size) / 0.32 + 0.05 * wavy
    tone = 0.80 + 0.36 / (1 + np.exp(-14 * (level - 0.42))) + 0.10 * np.exp(-(((level - 0.55) / 0.05) ** 2))
    tone = tone + 0.035 * noise
    dust = np.clip(0.5 - level, 0, 0.5) * rng.uniform(0.1, 0.5)
    color = tone[..., None] * (1 + dust[..., None] * np.array([0.35, 0.22, 0.0]))
    return Texture(np.clip(128 * color, 0, 255).astype(np.uint8))


def _copied(part: Part) -> Part:
    """Copies faces, so that light can be written into them."""
    return part[0].copy(), [replace(face) for face in part[1]]


class _Body:
    """Collects the faces of one car."""

    def __init__(
        self,
        kind: str,
        size: tuple[float, float, float],
        paint: Color,
        rng: np.random.Generator,
        detailed: bool = True,
    ) -> None:
        self.kind, self.paint, self.detailed = kind, paint, detailed
        self.length, self.width, self.height = size
        length, height = self.length, self.height
        # Drawn here and in this order, so that the detailed and the simple form of a car agree.
        self.mirrored = float(rng.uniform(1.5, 2.4))
        self.panel_van = bool(rng.random() < 0.6)
        self.tint = float(rng.uniform(0.8, 1.2))
        self.rim = float(rng.uniform(70, 165))
        self.lit = bool(rng.random() < 0.25)
        self.tall_lamps = kind in ("van", "estate") and bool(rng.random() < 0.6)
        self.points: list[tuple[float, float, float]] = []
        self.faces: list[Face] = []
        self.sill = 0.115 * height
        self.profile = [((share - 0.5) * length, level * height) for share, level in _PROFILES[kind]]
        self.middle: Point = (0.0, 0.0, 0.45 * height)
        self.belt = 0.63 * height if kind != "van" else 0.58 * height

    def half_width(self, z: float, y: float = 0.0) -> float:
        """Half the width at a height and a place along the car: it narrows to the roof, the sill and the corners."""
        full = self.width / 2
        beyond = max(abs(y) / self.length - 0.36, 0.0) / 0.14
        full *= 1 - 0.15 * min(beyond, 1.0) ** 1.8
        if z > self.belt:
            lean = 0.22 if self.kind != "van" else 0.10
            return full * (1 - 0.03 - lean * (z - self.belt) / (self.height - self.belt))
        if z < 0.3 * self.height:
            return full * (0.95 + 0.05 * z / (0.3 * self.height))
        return full * (1 - 0.03 * max(z - 0.45 * self.height, 0.0) / (self.belt - 0.45 * self.height))

    def add(self, corners: list[tuple[float, float, float]], color: Color, centre: tuple[float, float, float],
            glow: bool = False) -> None:  # fmt: skip
        """Adds a polygon that faces away from ``centre``."""
        points, faces = star_shaped(corners, [tuple(range(len(corners)))], color, centre)
        base = len(self.points)
        self.points.extend((float(p[0]), float(p[1]), float(p[2])) for p in points)
        for face in faces:
            self.faces.append(Face(tuple(i + base for i in face.corners), face.color, glow=glow))

    def parts(self) -> tuple[np.ndarray, list[Face]]:
        """Returns vertices and faces of the whole car."""
        self._shell()
        self._sides()
        self._wheels()
        self._ends()
        return np.array(self.points), self.faces

    def _across(self, y: float, z: float, inset: float = 0.0) -> tuple[tuple[float, float, float], ...]:
        half = self.half_width(z, y) - inset
        return (-half, y, z), (half, y, z)

    def _strip(self, low: tuple[float, float], high: tuple[float, float], color: Color, inset: float = 0.0) -> None:
        left_low, right_low = self._across(*low, inset)
        left_high, right_high = self._across(*high, inset)
        self.add([left_low, right_low, right_high, left_high], color, (0, 0, 0.5 * self.height))

    def _shell(self) -> None:
        """Bumpers, boot, rear window, roof, windscreen and bonnet."""
        rear, nose = -self.length / 2, self.length / 2
        dark = _scaled(self.paint, 0.45)
        outline = [(rear + 0.06, self.sill), (rear, 0.28 * self.height), *self.profile, (nose, 0.42 * self.height),
                   (nose - 0.03, 0.26 * self.height), (nose - 0.10, self.sill)]  # fmt: skip
        for index, (low, high) in enumerate(pairwise(outline)):
            steep = abs(high[1] - low[1])
            window = min(low[1], high[1]) >= self.belt - 0.02 and steep > 0.15 * self.height
            color = dark if index == 0 or index == len(outline) - 2 else self.paint
            self._strip(low, high, color)
            if window:
                inner_low = _between(low, high, 0.06)
                inner_high = _between(low, high, 0.92)
                self._raised(inner_low, inner_high, _GLASS, 0.09)
        self.add([(-self.width / 2, rear, self.sill), (self.width / 2, rear, self.sill),
                  (self.width / 2, nose, self.sill), (-self.width / 2, nose, self.sill)], (12, 12, 12),
                 (0, 0, self.height))  # fmt: skip

    def _raised(self, low: tuple[float, float], high: tuple[float, float], color: Color, inset: float) -> None:
        """A strip one centimetre over the shell, as glass lies on the body; its upper half mirrors the sky."""
        tangent = np.array([high[0] - low[0], high[1] - low[1]])
        out = np.array([-tangent[1], tangent[0]]) / max(float(np.linalg.norm(tangent)), 1e-6)
        middle = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2 - 0.5 * self.height])
        out = out if out @ middle > 0 else -out
        first = (low[0] + 0.012 * out[0], low[1] + 0.012 * out[1])
        last = (high[0] + 0.012 * out[0], high[1] + 0.012 * out[1])
        half_way = _between(first, last, 0.5)
        bright = _scaled(color, self.mirrored)
        upper_first = first[1] > last[1]
        if not self.detailed:
            self._strip(first, last, _scaled(color, 1.3), inset)
            return
        self._strip(first, half_way, bright if upper_first else color, inset)
        self._strip(half_way, last, color if upper_first else bright, inset)

    def _sides(self) -> None:
        for sign in (-1.0, 1.0):

            def at(y: float, z: float, out: float = 0.0, sign: float = sign) -> Point:
                return sign * (self.half_width(z, y) + out), y, z

            self._panels(at)
            greenhouse = [point for point in self.profile if point[1] >= self.belt - 0.02]
            if len(greenhouse) >= 3:
                low = self.belt - 0.03
                frame = [(greenhouse[0][0], low), *greenhouse, (greenhouse[-1][0], low)]
                self.add([at(*point) for point in frame], self.paint, self.middle)
                self._side_windows(greenhouse, at)
            if self.detailed:
                self._trim(at, sign)

    def _panels(self, at: Callable[..., Point]) -> None:
        """Doors and wings in bands that grow lighter upwards, as a curved side mirrors ground and sky."""
        length, height = self.length, self.height
        top_y = [-length / 2, *(point[0] for point in self.profile), length / 2]
        top_z = [min(z, self.belt) for z in (self.profile[0][1], *(point[1] for point in self.profile), 0.42 * height)]
        if not self.detailed:
            bands: tuple[tuple[float, float, float], ...] = ((0.115, 0.36, 0.58), (0.36, 1.0, 0.95))
            ends: tuple[float, ...] = (-0.5, 0.5)
        else:
            bands = ((0.115, 0.24, 0.46), (0.24, 0.40, 0.74), (0.40, 0.50, 0.92), (0.50, 1.0, 1.08))
            ends = (-0.5, -0.47, -0.40, 0.38, 0.45, 0.5)
        breaks = sorted({share * length for share in ends} | {y for y in top_y if y > 0.1 * length})
        for y0, y1 in pairwise(breaks):
            if y1 - y0 < 0.01:
                continue
            roof = np.interp([y0, y1], top_y, top_z)
            lift = [0.10 * height * max(abs(y) / length - 0.44, 0.0) / 0.06 for y in (y0, y1)]
            for low, high, tone in bands:
                low0, low1 = max(low * height, 0.115 * height + lift[0]), max(low * height, 0.115 * height + lift[1])
                high0, high1 = min(high * height, roof[0]), min(high * height, roof[1])
                if high0 - low0 < 0.005 and high1 - low1 < 0.005:
                    continue
                corners = [at(y0, min(low0, high0)), at(y1, min(low1, high1)), at(y1, high1), at(y0, high0)]
                self.add(corners, _scaled(self.paint, tone), self.middle)

    def _trim(self, at: Callable[..., Point], sign: float) -> None:
        """Door gaps, handles and mirrors."""
        belt, low = self.belt, 0.18 * self.height
        for share in (0.36, 0.58):
            y = (share - 0.5) * self.length
            self.add([at(y, low, 0.005), at(y + 0.018, low, 0.005), at(y + 0.018, belt, 0.005), at(y, belt, 0.005)],
                     _scaled(self.paint, 0.4), self.middle)  # fmt: skip
            self.add([at(y + 0.06, belt - 0.12, 0.02), at(y + 0.24, belt - 0.12, 0.02),
                      at(y + 0.24, belt - 0.16, 0.02), at(y + 0.06, belt - 0.16, 0.02)],
                     _scaled(self.paint, 0.6), self.middle)  # fmt: skip
        mirror = self.profile[-2][0] - 0.30
        outer = sign * (self.width / 2 + 0.16)
        for tall, tone in ((0.0, 0.7), (0.05, 0.9)):
            self.add([at(mirror, belt + 0.03 + tall), (outer, mirror, belt + 0.03 + tall),
                      (outer, mirror, belt + 0.10 + tall), at(mirror, belt + 0.10 + tall)],
                     _scaled(self.paint, tone), self.middle)  # fmt: skip
            self.faces[-1].two_sided = True

    def _side_windows(self, greenhouse: list[tuple[float, float]], at: Callable[..., Point]) -> None:
        """Glass between the pillars, darker below than above."""
        top = max(point[1] for point in greenhouse) - 0.09
        bottom = self.belt + 0.04
        if self.kind == "van":
            spans = [(0.58, 0.80)] if self.panel_van else [(0.08, 0.34), (0.37, 0.56), (0.59, 0.80)]
        else:
            spans = [(0.16, 0.44), (0.47, 0.82)]
        profile_y = np.array([p[0] for p in greenhouse])
        profile_z = np.array([p[1] for p in greenhouse])
        for first, last in spans:
            y0, y1 = -self.length / 2 + first * self.length, -self.length / 2 + last * self.length
            ceiling = np.minimum(np.interp([y0, y1], profile_y, profile_z) - 0.07, top)
            ceiling = np.maximum(ceiling, bottom + 0.02)
            middle = (bottom + ceiling) / 2
            tint = _scaled(_GLASS, self.tint)
            if not self.detailed:
                corners = [at(y0, bottom, 0.012), at(y1, bottom, 0.012), at(y1, ceiling[1], 0.012)]
                self.add([*corners, at(y0, ceiling[0], 0.012)], _scaled(tint, 1.3), self.middle)
                continue
            self.add([at(y0, bottom, 0.012), at(y1, bottom, 0.012), at(y1, middle[1], 0.012), at(y0, middle[0], 0.012)],
                     tint, self.middle)  # fmt: skip
            self.add([at(y0, middle[0], 0.012), at(y1, middle[1], 0.012), at(y1, ceiling[1], 0.012),
                      at(y0, ceiling[0], 0.012)], _scaled(tint, 1.7), self.middle)  # fmt: skip

    def _wheels(self) -> None:
        radius = 0.31 if self.kind != "van" else 0.34
        count = 16 if self.detailed else 8
        angles = np.arange(count) * (2 * math.pi / count)
        rim: Color = (self.rim, self.rim, self.rim)
        discs: list[tuple[float, Color, float]] = [(radius, (26.0, 26.0, 27.0), 0.012), (radius * 0.66, rim, 0.02)]
        if self.detailed:
            discs = [(radius * 1.16, (10.0, 10.0, 11.0), 0.0), discs[0], (radius * 0.66, (34.0, 34.0, 35.0), 0.018)]
        for share in (0.19, 0.80):
            y = -self.length / 2 + share * self.length
            for sign in (-1.0, 1.0):
                outer = sign * (self.width / 2 * (0.965 if abs(share - 0.5) > 0.28 else 1.0) + 0.012)
                for size, color, out in discs:
                    lift = radius if size <= radius else radius + 0.02
                    ring = [
                        (outer + sign * out, y + size * math.cos(a), max(lift + size * math.sin(a), 0.0))
                        for a in angles
                    ]
                    self.add(ring, color, (0, y, radius))
                if self.detailed:
                    self._spokes(outer + sign * 0.024, y, radius, rim)
                inner = sign * (self.width / 2 - 0.22)
                # The tread, seen from ahead and behind below the bumper.
                for ahead in (-1.0, 1.0):
                    edge = y + ahead * radius * 0.9
                    self.add([(inner, edge, 0.0), (outer, edge, 0.0), (outer, edge, radius), (inner, edge, radius)],
                             (18, 18, 19), (0.5 * (inner + outer), y, radius))  # fmt: skip

    def _spokes(self, x: float, y: float, radius: float, color: Color) -> None:
        """Five spokes on the dark of a wheel."""
        for index in range(5):
            angle = 2 * math.pi * index / 5 + 0.3
            along = np.array([math.cos(angle), math.sin(angle)])
            aside = np.array([-along[1], along[0]])
            corners = [
                0.0 * along - 0.10 * aside,
                0.64 * along - 0.17 * aside,
                0.64 * along + 0.17 * aside,
                0.10 * aside,
            ]
            self.add([(x, y + radius * c[0], radius * (1 + c[1])) for c in corners], color, (0, y, radius))

    def _ends(self) -> None:
        """Lamps, plates, grille."""
        rear, nose = -self.length / 2 - 0.012, self.length / 2 + 0.012
        half = self.half_width(0.45 * self.height, self.length / 2)
        high = 0.60 * self.height if self.kind != "saloon" else 0.58 * self.height
        lit = self.lit
        red: Color = (215.0, 40.0, 36.0) if lit else (128.0, 16.0, 18.0)
        lamp_low = 0.44 * self.height
        tall = self.tall_lamps
        lamp_width = 0.12 if tall else 0.27
        for sign in (-1.0, 1.0):
            outer = sign * (half - 0.02)
            self._end(rear, outer, outer - sign * lamp_width, lamp_low, high, red, lit)
            self._end(
                rear - 0.004, outer, outer - sign * lamp_width, lamp_low, lamp_low + 0.045, (168, 120, 100), False
            )
            self._end(nose, outer, outer - sign * 0.36, 0.355 * self.height, 0.43 * self.height, (66, 70, 74), False)
            self._end(nose + 0.006, outer - sign * 0.05, outer - sign * 0.27, 0.37 * self.height, 0.42 * self.height,
                      (242, 242, 232) if lit else (150, 158, 164), lit)  # fmt: skip
            self._wrap(sign, red, lit, lamp_low, high)
        self._end(rear, -0.26, 0.26, 0.36 * self.height, 0.36 * self.height + 0.11, (205, 205, 200), False)
        self._end(rear, -half * 0.9, half * 0.9, 0.19 * self.height, 0.24 * self.height, (22, 22, 24), False)
        self._end(nose, -0.26, 0.26, 0.26 * self.height, 0.26 * self.height + 0.11, (205, 205, 200), False)
        self._end(nose, -0.40, 0.40, 0.35 * self.height, 0.42 * self.height, (20, 20, 22), False)

    def _wrap(self, sign: float, red: Color, lit: bool, low: float, high: float) -> None:
        """The part of the lamps that shows from the side."""
        for y, z0, z1, color in (
            (-0.5 * self.length, low, min(high, self.profile[0][1] if self.kind != "van" else high), red),
            (0.5 * self.length, 0.36 * self.height, 0.42 * self.height, (180.0, 186.0, 190.0)),
        ):
            inner = y * 0.93
            corners = [(sign * (self.half_width(z, where) + 0.012), where, z)
                       for where, z in ((y, z0), (inner, z0), (inner, z1), (y, z1))]  # fmt: skip
            self.add(corners, color, self.middle, lit and y < 0)

    def _end(self, y: float, x0: float, x1: float, z0: float, z1: float, color: Color, glow: bool) -> None:
        self.add([(x0, y, z0), (x1, y, z0), (x1, y, z1), (x0, y, z1)], color, (0, 0, 0.5 * self.height), glow)


def lorry(rng: np.random.Generator) -> list[Mesh]:
    """Makes a box lorry about the origin that faces along the road."""
    color = _PAINTS[int(rng.integers(len(_PAINTS)))]
    load: Color = tuple(float(v) for v in np.clip(rng.uniform(150, 220, 3), 0, 255))  # type: ignore[assignment]
    body = _Body("van", (7.0, 2.3, 2.6), color, rng)
    vertices, faces = body.parts()
    points = list(map(tuple, vertices))
    box = _Body("van", (5.0, 2.4, 3.3), load, rng)
    corners = [(x, y, z) for z in (0.9, 3.3) for x, y in ((-1.2, -3.6), (1.2, -3.6), (1.2, 1.4), (-1.2, 1.4))]
    for polygon, tone in (
        ((4, 5, 1, 0), 1.0),
        ((5, 6, 2, 1), 0.95),
        ((6, 7, 3, 2), 1.0),
        ((7, 4, 0, 3), 0.95),
        ((7, 6, 5, 4), 1.0),
    ):
        box.add([corners[i] for i in polygon], _scaled(load, tone), (0, -1.1, 2.1))
    base = len(points)
    points += box.points
    faces += [Face(tuple(i + base for i in face.corners), face.color) for face in box.faces]
    return [Mesh(np.array(points), faces, TRUCK, grain=grain(5, 0.06))]


def _scaled(color: Color, factor: float) -> Color:
    red, green, blue = (min(value * factor, 255.0) for value in color)
    return red, green, blue


def _between(first: tuple[float, float], last: tuple[float, float], share: float) -> tuple[float, float]:
    return first[0] + share * (last[0] - first[0]), first[1] + share * (last[1] - first[1])
