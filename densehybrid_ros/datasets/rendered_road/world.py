"""What a scene consists of."""

from __future__ import annotations

from dataclasses import dataclass, field

from densehybrid_ros.datasets.rendered_road.ground import Street
from densehybrid_ros.datasets.rendered_road.lens import Lens
from densehybrid_ros.datasets.rendered_road.light import Light, Shadow
from densehybrid_ros.datasets.rendered_road.mesh import Mesh
from densehybrid_ros.datasets.rendered_road.sky import Sky

VIEW_RANGE = 190.0
"""Metres ahead up to which things are drawn; the backdrop stands behind."""


@dataclass
class Placed:
    """Something standing or driving in the world, where it is at the start.

    Attributes:
        meshes: What is drawn.
        shadows: What they darken.
        speed: Metres a second along the road.
        kind: Name of an unknown object, empty otherwise.
    """

    meshes: list[Mesh]
    shadows: list[Shadow]
    speed: float = 0.0
    kind: str = ""
    low: float = field(init=False)
    high: float = field(init=False)

    def __post_init__(self) -> None:
        self.low = min(float(mesh.low[1]) for mesh in self.meshes)
        self.high = max(float(mesh.high[1]) for mesh in self.meshes)

    def at(self, stamp: float) -> Placed:
        """Returns the thing where it is ``stamp`` seconds after the start."""
        way = self.speed * stamp
        if way == 0.0:
            return self
        shadows = [shadow.moved(way) for shadow in self.shadows]
        return Placed([mesh.moved(0.0, way) for mesh in self.meshes], shadows, self.speed, self.kind)


@dataclass
class World:
    """A scene, fixed but for its moving cars.

    Attributes:
        street: The ground.
        things: Everything that stands on it.
        light: Sun and sky.
        sky: Picture of the sky.
        lens: Air, optics and sensor.
        lane: Middle of the ego lane (x) in metres.
        shake: Standard deviation of the ego vehicle's pitch in radians.
    """

    street: Street
    things: list[Placed]
    light: Light
    sky: Sky
    lens: Lens
    lane: float
    shake: float
