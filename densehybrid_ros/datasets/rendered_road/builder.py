"""Lays out a street: ground, houses, plants, furniture, traffic, and what does not belong there."""

from __future__ import annotations

import math

import numpy as np

from densehybrid_ros.datasets.rendered_road import buildings, furniture, plants, vehicles
from densehybrid_ros.datasets.rendered_road.covers import asphalt, grass, kerb_stones, paving
from densehybrid_ros.datasets.rendered_road.ground import Street
from densehybrid_ros.datasets.rendered_road.lens import Lens
from densehybrid_ros.datasets.rendered_road.light import Light, Shadow
from densehybrid_ros.datasets.rendered_road.mesh import Face, Mesh
from densehybrid_ros.datasets.rendered_road.sky import Sky
from densehybrid_ros.datasets.rendered_road.street_plan import Plan, draw_plan, mark, wear
from densehybrid_ros.datasets.rendered_road.unknown_objects import unknown_object
from densehybrid_ros.datasets.rendered_road.world import VIEW_RANGE, Placed, World


class WorldBuilder:
    """Builds a world from a seed.

    Args:
        seed: The same seed gives the same world.
        length: Metres along the road that the camera will travel.
        unknown_objects: Whether anything unknown lies on the road.
        spacing: Mean distance in metres between unknown objects.
        first: Position along the road of the first unknown object in metres.
    """

    def __init__(
        self, seed: int, length: float, unknown_objects: bool = True, spacing: float = 11.0, first: float = 14.0
    ) -> None:
        self.rng = np.random.default_rng([seed, 1])
        self.length = length
        self.light = Light.random(self.rng)
        self.unknown_objects = unknown_objects
        self.spacing = spacing
        self.first = first
        self.things: list[Placed] = []

    def build(self) -> World:
        """Returns the world."""
        rng = self.rng
        plan = draw_plan(rng)
        parking_width = 2.15
        left = -plan.lanes_left * plan.lane_width - parking_width * plan.parking[0]
        right = plan.lanes_right * plan.lane_width + parking_width * plan.parking[1]
        street = self.street = self._street(plan, left, right)
        end = self.length + VIEW_RANGE + 20
        for index, side in enumerate((-1, 1)):
            edge = left if side < 0 else right
            self._roadside(plan, index, side, edge, -25.0, end)
            if plan.parking[index]:
                self._parked(side, edge, parking_width, -18.0, end)
        lane = (plan.lanes_right - 0.5) * plan.lane_width
        self._traffic(plan, lane)
        self._backdrop(end)
        if self.unknown_objects:
            self._scatter(plan, lane)
        sky = Sky(rng, min(self.light.sun / 0.9, 1.0) * rng.uniform(0.4, 1.0))
        return World(street, self.things, self.light, sky, Lens.random(rng), lane, float(rng.uniform(0.0006, 0.0022)))

    def _street(self, plan: Plan, left: float, right: float) -> Street:
        rng = self.rng
        pavement, lawn = paving(int(rng.integers(8))), grass(int(rng.integers(4)))
        stones = kerb_stones(int(rng.integers(8)))
        strips = []
        for index in range(2):
            verge, walk = plan.verge[index], plan.walk[index]
            side = [(0.16, stones)]
            if verge > 0.5:
                side.append((0.16 + verge, lawn))
            side.append((verge + walk, pavement))
            side.append((100.0, pavement if plan.style[index] == "city" else lawn))
            strips.append(side)
        tone = float(rng.uniform(96, 134))
        street = Street(
            left, right, float(rng.choice([0.06, 0.10, 0.13])), asphalt(int(rng.integers(8))),
            (tone * 0.8, tone * 0.79, tone * 0.76), (strips[0], strips[1]),
        )  # fmt: skip
        mark(rng, plan, street, self.length)
        wear(rng, street, self.length)
        return street

    def _add(self, meshes: list[Mesh], speed: float = 0.0, kind: str = "", contact: bool = True) -> None:
        """Stands meshes on the ground where they are, lights them and works out their shadows."""
        middle = 0.5 * float(meshes[0].low[0] + meshes[0].high[0])
        ground = 0.0 if self.street.left < middle < self.street.right else self.street.kerb
        shadows: list[Shadow] = []
        for mesh in meshes:
            self.light.bake(mesh.raised(ground))
            if mesh.shadow:
                shadows += self.light.shadows(mesh, ground, contact)
        self.things.append(Placed(meshes, shadows, speed, kind))

    def _roadside(self, plan: Plan, index: int, side: int, edge: float, start: float, end: float) -> None:
        rng = self.rng
        verge, walk = plan.verge[index], plan.walk[index]
        style = plan.style[index]
        walk_edge = edge + side * (0.2 + verge + walk)
        self._frontage(style, side, walk_edge, start, end)
        post = edge + side * 0.55
        y = start + rng.uniform(0, 20)
        trees = rng.random() < (0.85 if verge > 0.5 or style == "park" else 0.4)
        pace = float(rng.uniform(9, 22))
        while y < end:
            if trees and rng.random() < 0.8:
                self._add(plants.tree(rng, edge + side * (0.9 + 0.4 * verge), y + rng.uniform(-1, 1)))
            y += pace
        for y in np.arange(start + rng.uniform(0, 25), end, rng.uniform(24, 36)):
            self._add(furniture.street_lamp(rng, post + side * 0.1, float(y), side))
        for y in np.arange(rng.uniform(8, 30), end, 17.0):
            if rng.random() < 0.55:
                self._add(furniture.traffic_sign(rng, post + side * rng.uniform(0, 0.5), float(y + rng.uniform(-6, 6))))
        for y in np.arange(rng.uniform(25, 60), end, rng.uniform(55, 90)):
            if rng.random() < 0.6:
                self._add(furniture.traffic_light(rng, post, float(y)))
        for y in np.arange(start, end, 9.0):
            chance = rng.random()
            x = edge + side * (0.9 + verge + rng.uniform(0.2, max(walk - 1.2, 0.4)))
            if chance < 0.22:
                self._add(furniture.person(rng, x, float(y + rng.uniform(0, 8))))
            elif chance < 0.32:
                self._add(furniture.bicycle(rng, x + side * 0.6, float(y + rng.uniform(0, 8))))

    def _frontage(self, style: str, side: int, front: float, start: float, end: float) -> None:
        """Fills the line behind the pavement with houses, gardens or greenery."""
        rng = self.rng
        y = start
        while y < end:
            setback = 0.0 if style == "city" else float(rng.uniform(3, 9))
            if style == "city" or (style == "suburb" and rng.random() < 0.75):
                meshes, stop = buildings.house(rng, side, front + side * setback, y)
                self._add(meshes, contact=setback == 0.0)
                gap = (0.0 if rng.random() < 0.75 else rng.uniform(2, 9)) if style == "city" else rng.uniform(3, 9)
                if setback > 2:
                    self._garden(side, front, setback, y, stop + gap)
                y = stop + float(gap)
            else:
                stop = y + float(rng.uniform(8, 20))
                for _ in range(int(rng.integers(2, 5))):
                    x = front + side * float(rng.uniform(2, 16))
                    self._add(plants.tree(rng, x, float(rng.uniform(y, stop))))
                for _ in range(int(rng.integers(1, 5))):
                    self._add(plants.bush(rng, front + side * float(rng.uniform(0.8, 6)), float(rng.uniform(y, stop))))
                if rng.random() < 0.35:
                    self._add(buildings.barrier(rng, side, front, y, stop), contact=False)
                y = stop

    def _garden(self, side: int, front: float, setback: float, start: float, stop: float) -> None:
        rng = self.rng
        kind = rng.random()
        if kind < 0.4:
            self._add(plants.hedge(rng, front + side * 0.5, start, stop - 1.5))
        elif kind < 0.8:
            self._add(buildings.barrier(rng, side, front, start, stop - 1.5), contact=False)
        for _ in range(int(rng.integers(0, 3))):
            x = front + side * float(rng.uniform(1.2, max(setback - 0.5, 1.4)))
            make = plants.tree if rng.random() < 0.3 else plants.bush
            self._add(make(rng, x, float(rng.uniform(start, stop))))

    def _parked(self, side: int, edge: float, width: float, start: float, end: float) -> None:
        rng = self.rng
        y = start
        density = float(rng.uniform(0.45, 0.95))
        while y < end:
            if rng.random() < density:
                meshes = vehicles.car(rng)
                backwards = math.pi if (side < 0) != (rng.random() < 0.08) else 0.0
                for mesh in meshes:
                    mesh.placed(edge - side * (width / 2 + rng.uniform(-0.1, 0.1)), y, 0.0,
                                backwards + rng.normal(0, 0.02))  # fmt: skip
                self._add(meshes)
            y += float(rng.uniform(5.4, 6.6))

    def _traffic(self, plan: Plan, lane: float) -> None:
        """Oncoming cars, and one that drives ahead."""
        rng = self.rng
        for index in range(plan.lanes_left):
            x = -(index + 0.5) * plan.lane_width
            y = float(rng.uniform(25, 70))
            while y < self.length * 2.2 + VIEW_RANGE:
                if rng.random() < 0.6:
                    meshes = vehicles.lorry(rng) if rng.random() < 0.12 else vehicles.car(rng)
                    for mesh in meshes:
                        mesh.placed(x + rng.uniform(-0.2, 0.2), y, 0.0, math.pi)
                    self._add(meshes, speed=-float(rng.uniform(8.5, 10.5)))
                y += float(rng.uniform(22, 75))
        if rng.random() < 0.6:
            meshes = vehicles.lorry(rng) if rng.random() < 0.12 else vehicles.car(rng)
            for mesh in meshes:
                mesh.placed(lane + rng.uniform(-0.2, 0.2), float(rng.uniform(48, 95)))
            self._add(meshes, speed=float(rng.uniform(10.5, 13.0)))

    def _backdrop(self, end: float) -> None:
        """Closes the view at the far end of the street."""
        rng = self.rng
        for y, height, half in ((end + 60.0, 26.0, 420.0), (end + 24.0, 15.0, 160.0)):
            vertices = np.array([(-half, y, height), (half, y, height), (half, y, -2.0), (-half, y, -2.0)])
            face = Face((0, 1, 2, 3), (70, 84, 56), plants.skyline(int(rng.integers(6))))
            self._add([Mesh(vertices, [face], plants.VEGETATION, shadow=False)])

    def _scatter(self, plan: Plan, lane: float) -> None:
        """Lays unknown objects on the lanes, beside the corridor that the ego vehicle takes."""
        rng = self.rng
        low = -plan.lanes_left * plan.lane_width + 0.4
        high = plan.lanes_right * plan.lane_width - 0.35
        y, instance = self.first, 1
        while y < self.length + 60:
            kind, mesh = unknown_object(rng, instance)
            half = 0.5 * float(mesh.high[0] - mesh.low[0])
            free = 1.15 + half
            sides = [(low + half, lane - free), (lane + free, high - half)]
            sides = [span for span in sides if span[1] > span[0]]
            if y > self.length + 6:
                sides.append((lane - 0.8, lane + 0.8))  # ahead of where the drive ends
            span = sides[int(rng.integers(len(sides)))]
            nearest = lane - free if span[1] < lane else lane + free
            # Mostly close to the ego lane, where an object matters.
            x = float(np.clip(rng.normal(nearest, 1.2), *span)) if span[0] < lane - 1 else float(rng.uniform(*span))
            mesh.placed(x, y)
            self._add([mesh], kind=kind)
            instance += 1
            y += self.spacing * float(rng.uniform(0.5, 1.5))
