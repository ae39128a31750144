"""Sun, sky light and the shadows that they leave on the ground."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from densehybrid_ros.datasets.rendered_road.mesh import Mesh

_CONTACT = 0.55  # share of the light that is lost right under an object
_NEAR_GROUND = 0.45  # metres; what is lower than this above an object's foot darkens the ground


@dataclass(frozen=True)
class Shadow:
    """Darkened ground.

    Attributes:
        outline: float32 [N, 2] (x, y) in metres.
        share: Share of the light that is taken away, 0..1.
        height: Height of the ground in metres.
    """

    outline: np.ndarray
    share: float
    height: float

    def moved(self, dy: float) -> Shadow:
        """Returns the shadow shifted along the road."""
        return Shadow(self.outline + np.array([0, dy], np.float32), self.share, self.height)


@dataclass(frozen=True)
class Light:
    """Illumination of a scene.

    Attributes:
        towards_sun: Unit vector to the sun in road axes.
        sun: Strength of the direct light.
        ambient: Strength of the light from all over the sky.
    """

    towards_sun: tuple[float, float, float]
    sun: float
    ambient: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> Light:
        """Draws an overcast to sunny sky."""
        elevation = rng.uniform(math.radians(28), math.radians(60))
        azimuth = rng.uniform(0, 2 * math.pi)
        sun = float(rng.choice([0.06, 0.25, 0.6, 0.9]))
        towards = (
            math.cos(elevation) * math.sin(azimuth),
            math.cos(elevation) * math.cos(azimuth),
            math.sin(elevation),
        )
        return cls(towards, sun, 1.0 - 0.45 * sun)

    @property
    def shadow(self) -> float:
        """Share of the light on level ground that a shadow takes away."""
        direct = self.sun * self.towards_sun[2]
        return direct / (direct + self.ambient)

    def on(self, outward: np.ndarray) -> np.ndarray:
        """Returns the light [N] on surfaces of these unit normals [N, 3] in terms of that on level ground."""
        direct = np.maximum(outward @ np.asarray(self.towards_sun), 0.0)
        level = self.sun * self.towards_sun[2] + self.ambient
        sky = self.ambient * (0.72 + 0.28 * outward[:, 2])
        return (self.sun * direct + sky) / level

    def bake(self, mesh: Mesh) -> Mesh:
        """Writes the light into the mesh's faces (once) and returns the mesh."""
        origin = mesh.vertices[mesh.corners[:, 0]]
        down, across = mesh.vertices[mesh.corners[:, -1]] - origin, mesh.vertices[mesh.corners[:, 1]] - origin
        outward = np.cross(down, across)
        outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-12)
        for face, light in zip(mesh.faces, self.on(outward).tolist(), strict=True):
            if face.glow:
                continue
            face.light = light
            red, green, blue = face.color
            face.color = (min(red * light, 255.0), min(green * light, 255.0), min(blue * light, 255.0))
        if mesh.far is not None:
            self.bake(mesh.far)
        return mesh

    def shadows(self, mesh: Mesh, height: float, contact: bool = True) -> list[Shadow]:
        """Returns the shadows of a mesh on level ground.

        Args:
            mesh: What casts them.
            height: Height of the ground that it stands on, in metres.
            contact: Whether it also darkens the ground that it touches.
        """
        fallen: list[Shadow] = []
        if self.shadow > 0.12:
            sun = np.asarray(self.towards_sun)
            reached = mesh.vertices[:, :2] - (mesh.vertices[:, 2:] - height) * (sun[:2] / sun[2])
            fallen.append(Shadow(_outline(reached), 0.85 * self.shadow, height))
        base = mesh.vertices[mesh.vertices[:, 2] < mesh.low[2] + _NEAR_GROUND][:, :2]
        if contact and mesh.low[2] < height + 0.3 and len(base) >= 3:
            outline = _outline(base)
            centre = outline.mean(axis=0)
            for scale, share in ((1.22, 0.5 * _CONTACT), (1.02, _CONTACT)):
                fallen.append(Shadow(centre + (outline - centre) * np.float32(scale), share, height))
        return fallen


def _outline(points: np.ndarray) -> np.ndarray:
    return cv2.convexHull(points.astype(np.float32))[:, 0]
