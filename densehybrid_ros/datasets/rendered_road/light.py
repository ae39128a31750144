# SPDX-License-Identifier: Apache-2.0
"""Sun, sky light and the shadows that they leave on the ground."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from densehybrid_ros.datasets.rendered_road.mesh import Mesh, crossed

_CONTACT = 0.55  # share of the light that is lost right under an object
_NEAR_GROUND = 0.45  # metres; what is lower than this above an object's foot darkens the ground


@dataclass(frozen=True)
class Shadow:
    """Darkened ground: float32 outline [N, 2] (x, y), share of the light lost, and the ground's height; in metres."""

    outline: np.ndarray
    share: float
    height: float

    def moved(self, way: float) -> Shadow:
        """Returns the shadow shifted along the road."""
        return replace(self, outline=self.outline + np.array([0, way], np.float32))


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
        elevation, azimuth = math.radians(rng.uniform(28, 60)), rng.uniform(0, 2 * math.pi)
        level, sun = math.cos(elevation), float(rng.choice([0.06, 0.25, 0.6, 0.9]))
        towards = (level * math.sin(azimuth), level * math.cos(azimuth), math.sin(elevation))
        return cls(towards, sun, 1.0 - 0.45 * sun)

    def on(self, outward: np.ndarray) -> np.ndarray:
        """Returns the light [N] on surfaces of these unit normals [N, 3] in terms of that on level ground."""
        direct = np.maximum(outward @ np.asarray(self.towards_sun), 0.0)
        sky = self.ambient * (0.72 + 0.28 * outward[:, 2])
        return (self.sun * direct + sky) / (self.sun * self.towards_sun[2] + self.ambient)

    def bake(self, mesh: Mesh) -> None:
        """Writes the light into the mesh's colours (once)."""
        first, second, last = (mesh.vertices[mesh.corners[:, index]] for index in (0, 1, -1))
        outward = crossed(last - first, second - first)
        outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-12)
        mesh.light = np.where([face.glow for face in mesh.faces], 1.0, self.on(outward))
        mesh.colors = np.minimum(mesh.colors * mesh.light[:, None], 255.0)
        if mesh.far is not None:
            self.bake(mesh.far)

    def shadows(self, mesh: Mesh, height: float, contact: bool = True) -> list[Shadow]:
        """Returns the shadows of a mesh on the ground at ``height``; with ``contact`` it darkens its foot too."""
        fallen: list[Shadow] = []
        direct = self.sun * self.towards_sun[2]
        share = direct / (direct + self.ambient)
        if share > 0.12:
            slope = np.divide(self.towards_sun[:2], self.towards_sun[2])
            reached = mesh.vertices[:, :2] - (mesh.vertices[:, 2:] - height) * slope
            fallen.append(Shadow(_outline(reached), 0.85 * share, height))
        base = mesh.vertices[mesh.vertices[:, 2] < mesh.low[2] + _NEAR_GROUND][:, :2]
        if contact and mesh.low[2] < height + 0.3 and len(base) >= 3:
            outline = _outline(base)
            centre = outline.mean(axis=0)
            for scale, lost in ((1.22, 0.5 * _CONTACT), (1.02, _CONTACT)):
                fallen.append(Shadow(centre + (outline - centre) * np.float32(scale), lost, height))
        return fallen


def _outline(points: np.ndarray) -> np.ndarray:
    return cv2.convexHull(points.astype(np.float32))[:, 0]
