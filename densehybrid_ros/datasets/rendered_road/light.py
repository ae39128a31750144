# SPDX-License-Identifier: Apache-2.0
"""Sun and sky light with their shadows, the sky itself, and the air, optics and sensor before it."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from densehybrid_ros.datasets.rendered_road.mesh import Mesh, crossed
from densehybrid_ros.datasets.rendered_road.raster import Raster
from densehybrid_ros.datasets.rendered_road.textures import fractal_noise, picture

SKY = 10
"""Train id of the sky."""
_CONTACT = 0.55  # share of the light that is lost right under an object
_NEAR_GROUND = 0.45  # metres; what is lower than this above an object's foot darkens the ground
_COLUMNS_PER_RADIAN = 380.0
_HALF_WIDTH, _HEIGHT = math.radians(75), math.radians(50)
_STEP = 4  # samples between the places at which the picture of the sky is read
_BRIGHTEST, _TONE_STEPS, _KNEE = 620.0, 4.0, 165.0
_LUMA = np.array([0.299, 0.587, 0.114])


class Shadow(NamedTuple):
    """Darkened ground: float32 outline [N, 2] (x, y) in metres, and the share of the light lost."""

    outline: np.ndarray
    share: float

    def moved(self, way: float) -> Shadow:
        """Returns the shadow shifted along the road."""
        return Shadow(self.outline + np.array([0, way], np.float32), self.share)


class Light(NamedTuple):
    """Illumination of a scene: the unit vector to the sun in road axes, and the strengths of sun and sky."""

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
        mesh.light = self.on(outward)
        mesh.colors = np.minimum(mesh.colors * mesh.light[:, None], 255.0)

    def shadows(self, mesh: Mesh) -> list[Shadow]:
        """Returns the shadows of a mesh on the ground: what the sun casts, and the darkness at its foot."""
        fallen: list[Shadow] = []
        direct = self.sun * self.towards_sun[2]
        share = direct / (direct + self.ambient)
        if share > 0.12:
            slope = np.divide(self.towards_sun[:2], self.towards_sun[2])
            reached = mesh.vertices[:, :2] - mesh.vertices[:, 2:] * slope
            fallen.append(Shadow(_outline(reached), 0.85 * share))
        base = mesh.vertices[mesh.vertices[:, 2] < mesh.low[2] + _NEAR_GROUND][:, :2]
        if mesh.low[2] < 0.3 and len(base) >= 3:
            outline = _outline(base)
            centre = outline.mean(axis=0)
            for scale, lost in ((1.22, 0.5 * _CONTACT), (1.02, _CONTACT)):
                fallen.append(Shadow(centre + (outline - centre) * np.float32(scale), lost))
        return fallen


def _outline(points: np.ndarray) -> np.ndarray:
    return cv2.convexHull(points.astype(np.float32))[:, 0]


class Sky:
    """A picture of the sky over azimuth and elevation; ``haze`` is the colour [3] of the air before it."""

    def __init__(self, rng: np.random.Generator, sunny: float) -> None:
        width, height = int(2 * _HALF_WIDTH * _COLUMNS_PER_RADIAN), int(_HEIGHT * _COLUMNS_PER_RADIAN)
        elevation = (np.arange(height)[::-1, None] + 0.5) / _COLUMNS_PER_RADIAN
        azimuth = (np.arange(width)[None] + 0.5) / _COLUMNS_PER_RADIAN - _HALF_WIDTH
        zenith = np.array([96, 140, 200]) * rng.uniform(0.9, 1.1, 3) * sunny + np.array([165, 172, 180]) * (1 - sunny)
        horizon = np.array([216, 224, 232]) * rng.uniform(0.93, 1.05)
        blend = np.clip(elevation / math.radians(38), 0, 1)[..., None] ** 0.6
        noise = fractal_noise(rng, 512, 512, cells=3, octaves=7, gain=0.58)
        # Clouds lie on a level ceiling, so they crowd together and flatten towards the horizon.
        reach = 70.0 / np.tan(elevation + 0.10)
        u, v = (np.sin(azimuth) * reach + rng.uniform(0, 512)), (np.cos(azimuth) * reach + rng.uniform(0, 512))
        cloud, below = (
            cv2.remap(noise, ((u + x) % 511).astype(np.float32), ((v + y) % 511).astype(np.float32), cv2.INTER_LINEAR)
            for x, y in ((0, 0), (9, 14))
        )
        alpha = np.clip((cloud + 0.75 - 1.1 * sunny + rng.uniform(-0.2, 0.25)) * 0.9 + 0.3, 0, 0.96)[..., None]
        brightness = np.clip(228 - 20 * (1 - sunny) + 13 * (cloud - below) - 14 * np.clip(cloud, 0, 2), 120, 252)
        clouds = brightness[..., None] * np.array([0.99, 1.0, 1.02])
        self._picture = picture((horizon * (1 - blend) + zenith * blend) * (1 - alpha) + clouds * alpha).pixels
        self.haze = horizon * 0.6 + np.array([205, 210, 214]) * 0.4

    def draw(self, raster: Raster) -> None:
        """Fills all sample buffers with sky at infinity; it stays where it is while the camera turns."""
        view, camera = raster.view, raster.view.camera
        horizon = camera.cy - camera.fy * math.tan(camera.pitch)
        last = min(max(int(horizon) + 24, 1), camera.height)
        rows = (np.arange(0, last + _STEP, _STEP, dtype=np.float32) - camera.cy) / camera.fy
        columns = (np.arange(0, camera.width + _STEP, _STEP, dtype=np.float32) - camera.cx) / camera.fx
        sine, cosine = math.sin(camera.pitch), math.cos(camera.pitch)
        ahead = cosine - rows * sine
        azimuth = np.arctan2(columns[None], ahead[:, None]) - np.float32(view.yaw)
        elevation = np.arctan2((-rows * cosine - sine)[:, None], np.hypot(columns[None], ahead[:, None]))
        u = ((azimuth + _HALF_WIDTH) * _COLUMNS_PER_RADIAN - 0.5).astype(np.float32)
        v = (self._picture.shape[0] - elevation * _COLUMNS_PER_RADIAN - 0.5).astype(np.float32)
        colors = cv2.remap(self._picture, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        large = cv2.resize(colors, (len(columns) * _STEP, len(rows) * _STEP), interpolation=cv2.INTER_LINEAR)
        raster.color[:last] = large[:last, : camera.width]
        raster.label[:] = SKY


class Lens:
    """A camera's way to see, drawn at random: air, exposure, tint, tones, blur, vignette and noise."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.haze = rng.choice([0.0008, 0.0016, 0.003, 0.006]) * rng.uniform(0.7, 1.3)  # extinction in 1/m
        self.exposure, self.noise = rng.uniform(78, 128), rng.uniform(0.8, 3.2)
        self.blur, self.vignette = rng.uniform(0.35, 0.75), rng.uniform(0.08, 0.30)
        warmth, green, saturation = rng.normal(0, 0.035), rng.uniform(0.0, 0.07), rng.uniform(0.7, 1.0)
        tint = np.array([1.0 + warmth - 0.4 * green, 1.0 + 0.6 * green, 1.0 - warmth - 0.4 * green])
        self.matrix = np.diag(tint) * saturation + (1 - saturation) * np.outer(tint, _LUMA)
        # Bright parts are rolled off softly; the tones are listed over the light in steps of 1 / _TONE_STEPS.
        light = np.arange(int(_BRIGHTEST * _TONE_STEPS) + 1) / _TONE_STEPS
        over = np.maximum(light - _KNEE, 0.0)
        rolled = np.minimum(light, _KNEE) + (250 - _KNEE) * (1 - np.exp(-over / (250 - _KNEE)))
        self.tones = (255 * (rolled / 255) ** rng.uniform(1.0, 1.3) + 0.5).astype(np.uint8)

    def gain_for(self, color: np.ndarray) -> float:
        """Returns the gain that brings a picture to this lens's exposure, as a camera's own metering does."""
        return float(np.clip(self.exposure / max(float(color.mean()), 1.0), 0.5, 2.2))

    def expose(
        self, color: np.ndarray, depth: np.ndarray, air: np.ndarray, gain: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Turns drawn colours, uint8 [H, W, 3] RGB, into a camera frame of the same layout.

        ``depth`` is float32 [H, W] in metres, inf in the sky; ``air`` the colour [3] of the haze; ``gain`` is that of
        ``gain_for``; ``rng`` draws the sensor noise.
        """
        height, width = depth.shape
        clear = np.exp(np.minimum(depth, 2000.0) * np.float32(-self.haze))
        clear[np.isinf(depth)] = 0.94
        # One linear map turns the drawn colour and the haze into tinted, less saturated light.
        matrix = (self.matrix * gain).astype(np.float32)
        tinted_air = matrix @ air.astype(np.float32)
        light: np.ndarray = cv2.transform(color.astype(np.float32), matrix)
        light = (light - tinted_air) * clear[..., None] + tinted_air
        if self.blur * width / 1024 > 0.2:
            light = cv2.GaussianBlur(light, (0, 0), self.blur * width / 1024)
        x = (np.arange(width, dtype=np.float32) / width - 0.5) * 2
        y = (np.arange(height, dtype=np.float32) / height - 0.5) * (2 * height / width)
        light *= (1 - np.float32(self.vignette) * (x[None] ** 2 + y[:, None] ** 2))[..., None]
        # Shot noise grows with the root of the light; the read-out adds the same everywhere.
        strength = np.float32(self.noise) * (np.float32(0.045) * cv2.sqrt(np.maximum(light, 0)) + np.float32(0.5))
        light += strength * rng.standard_normal(light.shape, dtype=np.float32)
        return self.tones[(np.clip(light, 0, _BRIGHTEST) * _TONE_STEPS).astype(np.uint16)]
