# SPDX-License-Identifier: Apache-2.0
"""Renders drives and single scenes: pictures with the exact truth of every pixel."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.datasets.rendered_road.ground import GroundPainter
from densehybrid_ros.datasets.rendered_road.raster import Raster, View
from densehybrid_ros.datasets.rendered_road.world import VIEW_RANGE, World
from densehybrid_ros.errors import InputError

_SMALLEST, _LARGEST = 32, 8192
_SAMPLES = 2  # samples a pixel along each axis; one of them lies at the pixel's centre
_SURGE = 0.04  # seconds by which the vehicle runs ahead of, or behind, an even speed
_WIDTH, _FOCAL, _BASELINE, _PITCH, _HEIGHT = 2048, 2262.0, 0.21, 0.04, 1.22


@dataclass(frozen=True)
class RenderedFrame:
    """One picture of the rendered road; all maps agree pixel for pixel (sampled at pixel centres)."""

    image: np.ndarray  # uint8 [H, W, 3] RGB
    semantic: np.ndarray  # uint8 [H, W] train ids of Cityscapes, 255 on unknown objects
    anomaly: np.ndarray  # uint8 [H, W], 0 inlier, 1 unknown object
    instances: np.ndarray  # uint16 [H, W], 0 or the number of the unknown object, which it keeps through a drive
    disparity: np.ndarray  # float32 [H, W] in pixels, 0 where infinite (sky)
    depth: np.ndarray  # float32 [H, W] in metres along the optical axis, inf in the sky
    camera: Camera  # The camera at this moment, with its momentary pitch and height
    stamp: float  # Seconds since the drive began
    speed: float  # Of the vehicle along its own axis, in m/s


def standard_camera(width: int, height: int) -> Camera:
    """Returns a camera as those of Cityscapes, with a focal length in proportion to ``width``."""
    focal = _FOCAL * width / _WIDTH
    return Camera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2, _BASELINE, _PITCH, _HEIGHT)


def render_drive(
    seed: int, frames: int, width: int = 1024, height: int = 512, fps: float = 10.0
) -> Iterator[RenderedFrame]:
    """Renders a drive along one street, at 8 to 14 m/s, past unknown objects.

    The same arguments give the same frames, bit for bit (same NumPy and OpenCV).

    Raises:
        InputError: An argument is out of range.
    """
    for name, value, low, high, wanted in (
        ("seed", seed, 0, math.inf, "a whole number from 0"),
        ("width", width, _SMALLEST, _LARGEST, f"{_SMALLEST} to {_LARGEST} pixels"),
        ("height", height, _SMALLEST, _LARGEST, f"{_SMALLEST} to {_LARGEST} pixels"),
        ("frames", frames, 1, math.inf, "at least one"),
        ("fps", fps, 0.1, 1000, "0.1 to 1000 frames a second"),
    ):
        if not low <= value <= high:
            raise InputError(f"{name} is {value}: give {wanted}")
    motion = np.random.default_rng([seed, 2])
    speed = float(motion.uniform(8.5, 13.0))
    a, b, c, d, e = motion.uniform(0, 2 * math.pi, 5).tolist()
    world, gain = World(seed, speed * (frames - 1) / fps), 0.0
    painter = GroundPainter(world.street)
    for index in range(frames):
        t = index / fps
        # The vehicle drifts within its lane and nods on its springs; its heading follows from its path.
        x, x_speed = world.lane + 0.22 * math.sin(0.55 * t + a), 0.22 * 0.55 * math.cos(0.55 * t + a)
        y = speed * (t + _SURGE * (math.sin(0.8 * t + a) - math.sin(a)))
        y_speed = speed * (1.0 + _SURGE * 0.8 * math.cos(0.8 * t + a))
        yaw = -math.atan2(x_speed, speed) + 0.003 * math.sin(1.7 * t + b)
        pitch = _PITCH + world.shake * (math.sin(7.1 * t + c) + 0.7 * math.sin(11.3 * t + d))
        noise, mount = np.random.default_rng([seed, 3, index]), _HEIGHT + 0.008 * math.sin(7.1 * t + e)
        camera = replace(standard_camera(width, height), pitch=pitch, mount_height=mount)
        raster = _draw(world, painter, camera, x, y, yaw, t)
        # Every second row and column of samples lies at the pixels: colours are averaged about a pixel's centre, labels
        # are taken at it.
        kernel, shrunk = np.array([0.25, 0.5, 0.25], np.float32), (slice(None, None, _SAMPLES),) * 2
        color = np.ascontiguousarray(cv2.sepFilter2D(raster.color, -1, kernel, kernel)[shrunk])
        label, inverse = raster.label[shrunk], np.ascontiguousarray(raster.inverse_depth[shrunk])
        with np.errstate(divide="ignore"):
            depth = np.float32(1.0) / inverse
        semantic, instances = (label & 255).astype(np.uint8), (label >> 8).astype(np.uint16)
        gain = gain or world.lens.gain_for(color)  # metered on the first frame, then held
        image = world.lens.expose(color, depth, world.sky.haze, gain, noise)
        disparity, anomaly = inverse * np.float32(camera.fx * camera.baseline), (instances > 0).astype(np.uint8)
        own_speed = math.hypot(x_speed, y_speed)
        yield RenderedFrame(image, semantic, anomaly, instances, disparity, depth, camera, t, own_speed)


def _draw(world: World, painter: GroundPainter, camera: Camera, x: float, y: float, yaw: float, stamp: float) -> Raster:
    """Draws what a camera sees that stands there at ``stamp`` seconds."""
    names = ("width", "height", "fx", "fy", "cx", "cy")
    samples = replace(camera, **{name: _SAMPLES * getattr(camera, name) for name in names})
    raster = Raster(View(samples, x, y, yaw))
    things = [thing.at(stamp) for thing in world.things]
    near = [thing for thing in things if thing.high > y - 6 and thing.low < y + VIEW_RANGE]
    backdrop = [thing for thing in things if thing.low >= y + VIEW_RANGE and not thing.shadows]
    world.sky.draw(raster)
    painter.draw(raster, [shadow for thing in near for shadow in thing.shadows])
    # Near things first: what they hide is not drawn a second time.
    for thing in sorted(near, key=lambda item: item.low) + backdrop:
        for mesh in thing.meshes:
            raster.draw(mesh)
    return raster
