# SPDX-License-Identifier: Apache-2.0
"""A scene: a street, what stands and drives on it, and what does not belong there."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from densehybrid_ros.datasets.rendered_road import roadside
from densehybrid_ros.datasets.rendered_road.ground import Street
from densehybrid_ros.datasets.rendered_road.light import Lens, Light, Shadow, Sky
from densehybrid_ros.datasets.rendered_road.mesh import Mesh
from densehybrid_ros.datasets.rendered_road.objects import unknown_object
from densehybrid_ros.datasets.rendered_road.vehicles import vehicle

VIEW_RANGE = 190.0
"""Metres ahead up to which things are drawn; the backdrop stands behind."""
_FIRST, _SPACING = 14.0, 11.0  # metres to the first unknown object, and between two on average
_BEHIND = -25.0  # metres along the road from which on things stand


class Placed:
    """Something in the world: its meshes and their shadows, and its speed along the road in m/s."""

    def __init__(self, meshes: list[Mesh], shadows: list[Shadow], speed: float = 0.0) -> None:
        self.meshes, self.shadows, self.speed = meshes, shadows, speed
        self.low = min(float(mesh.low[1]) for mesh in meshes)
        self.high = max(float(mesh.high[1]) for mesh in meshes)

    def at(self, stamp: float) -> Placed:
        """Returns the thing where it is ``stamp`` seconds after the start."""
        way = self.speed * stamp
        if way == 0.0:
            return self
        return Placed([mesh.moved(way) for mesh in self.meshes], [shadow.moved(way) for shadow in self.shadows])


class World:
    """A scene drawn from a seed, fixed but for its moving cars; the camera will travel ``length`` metres."""

    def __init__(self, seed: int, length: float) -> None:
        rng = self.rng = np.random.default_rng([seed, 1])
        self.length, self.end = length, length + VIEW_RANGE + 20
        self.light, self.lens = Light.random(rng), Lens(rng)
        self.sky = Sky(rng, min(self.light.sun / 0.9, 1.0) * rng.uniform(0.4, 1.0))
        self.shake = float(rng.uniform(0.0006, 0.0022))  # of the vehicle's pitch, in radians
        street = self.street = Street(rng, length)
        self.lane = (street.lanes[1] - 0.5) * street.lane_width  # middle of the ego lane
        self.things: list[Placed] = []
        for index, side in enumerate((-1, 1)):
            self._roadside(index, side)
            stop = _BEHIND
            while stop < self.end:
                meshes, stop = roadside.house(rng, side, street.edges[index] + side * street.front[index], stop)
                self._add(meshes)
                stop += float(rng.uniform(3, 9)) if rng.random() < 0.25 else 0.0
        self._traffic()
        for y, height, width in ((self.end + 60.0, 26.0, 840.0), (self.end + 24.0, 15.0, 320.0)):
            self._add(roadside.skyline(rng, y, width, height))
        self._scatter()

    def _add(self, meshes: list[Mesh], speed: float = 0.0) -> None:
        """Adds meshes where they are, lights them and works out their shadows."""
        for mesh in meshes:
            self.light.bake(mesh)
        shadows = [shadow for mesh in meshes if mesh.shadow for shadow in self.light.shadows(mesh)]
        self.things.append(Placed(meshes, shadows, speed))

    def _places(self, step: float, chance: float) -> Iterator[float]:
        """Yields positions along the road, about ``step`` metres apart, each with a chance."""
        for y in np.arange(_BEHIND + self.rng.uniform(0, step), self.end, step).tolist():
            if self.rng.random() < chance:
                yield y + float(self.rng.uniform(-0.15, 0.15)) * step

    def _roadside(self, index: int, side: int) -> None:
        """Trees and furniture on verge and pavement, and cars along the kerb."""
        rng, street = self.rng, self.street
        edge, verge, parking = street.edges[index], street.verge[index], street.parking[index]
        trees = 0.8 if rng.random() < (0.85 if verge > 0.5 else 0.5) else 0.0
        rows = (  # what stands how far from the kerb, how far apart, and with which chance
            (roadside.tree, 0.9 + 0.4 * verge, 0.0, float(rng.uniform(9, 22)), trees),
            (roadside.street_lamp, 0.65, 0.0, float(rng.uniform(24, 36)), 1.0),
            (roadside.traffic_sign, 0.55, 0.5, 17.0, 0.55),
        )
        for make, near, reach, step, chance in rows:
            for y in self._places(step, chance):
                self._add(make(rng, edge + side * (near + reach * float(rng.random())), y))
        for y in self._places(6.0, float(rng.uniform(0.45, 0.95)) if parking else 0.0):
            mesh = vehicle(rng)
            if mesh.high[1] - mesh.low[1] < 5.4:
                turn = math.pi if (side < 0) != (rng.random() < 0.08) else 0.0
                self._add([mesh.placed(edge - side * 0.5 * parking, y, 0.0, turn + rng.normal(0, 0.02))])

    def _traffic(self) -> None:
        """Oncoming traffic, and a vehicle that drives ahead."""
        rng, street = self.rng, self.street
        for lane in range(street.lanes[0]):
            y = float(rng.uniform(25, 70))
            while y < self.length * 2.2 + VIEW_RANGE:
                x = -(lane + 0.5) * street.lane_width + rng.uniform(-0.2, 0.2)
                self._add([vehicle(rng).placed(x, y, 0.0, math.pi)], -float(rng.uniform(8.5, 10.5)))
                y += float(rng.exponential(40)) + 22
        if rng.random() < 0.6:
            self._add([vehicle(rng).placed(self.lane, rng.uniform(48, 95))], float(rng.uniform(10.5, 13.0)))

    def _scatter(self) -> None:
        """Lays unknown objects on the lanes, beside the corridor that the ego vehicle takes."""
        rng, street, lane = self.rng, self.street, self.lane
        low, high = -street.lanes[0] * street.lane_width + 0.4, street.lanes[1] * street.lane_width - 0.35
        y, instance = _FIRST, 1
        while y < self.length + 60:
            mesh = unknown_object(rng, instance)
            half = 0.5 * float(mesh.high[0] - mesh.low[0])
            free = 1.15 + half
            spans = [(low + half, lane - free), (lane + free, high - half)]
            if y > self.length + 6:
                spans.append((lane - 0.8, lane + 0.8))  # ahead of where the drive ends
            spans = [span for span in spans if span[1] > span[0]]
            start, stop = spans[int(rng.integers(len(spans)))]
            # Mostly close to the ego lane, where an object matters.
            x = float(np.clip(rng.normal(stop, 1.2), start, stop) if start < lane - 1 else rng.uniform(start, stop))
            self._add([mesh.placed(x, y)])
            instance += 1
            y += _SPACING * float(rng.uniform(0.5, 1.5))
