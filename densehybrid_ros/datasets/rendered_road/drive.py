"""Renders drives and single scenes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.datasets.rendered_road.builder import WorldBuilder
from densehybrid_ros.datasets.rendered_road.frame import RenderedFrame, RoadObject
from densehybrid_ros.datasets.rendered_road.ground import GroundPainter
from densehybrid_ros.datasets.rendered_road.raster import Raster, View
from densehybrid_ros.datasets.rendered_road.world import VIEW_RANGE, Placed, World
from densehybrid_ros.datasets.taxonomy import VOID
from densehybrid_ros.errors import InputError

_SMALLEST, _LARGEST = 32, 8192
_SAMPLES = 2  # samples a pixel along each axis; one of them lies at the pixel's centre
_SURGE = 0.04  # seconds by which the vehicle runs ahead of, or behind, an even speed
_WIDTH, _FOCAL, _BASELINE, _PITCH, _HEIGHT = 2048, 2262.0, 0.21, 0.04, 1.22


def standard_camera(width: int, height: int) -> Camera:
    """Returns a camera as those of Cityscapes, with a focal length in proportion to ``width``."""
    focal = _FOCAL * width / _WIDTH
    return Camera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2, _BASELINE, _PITCH, _HEIGHT)


@dataclass(frozen=True)
class _Pose:
    """The ego camera at one moment."""

    x: float
    y: float
    yaw: float
    pitch: float
    height: float


def render_drive(
    seed: int, frames: int, width: int = 1024, height: int = 512, fps: float = 10.0, unknown_objects: bool = True
) -> Iterator[RenderedFrame]:
    """Renders a drive along one street, at 8 to 14 m/s, past unknown objects.

    Args:
        seed: The same seed and arguments give the same frames, bit for bit (same NumPy and OpenCV).
        frames: Number of frames.
        width: Image width in pixels.
        height: Image height in pixels.
        fps: Frames a second.
        unknown_objects: Whether anything unknown lies on the road.

    Yields:
        The frames in order of time.

    Raises:
        InputError: An argument is out of range.
    """
    _check(seed, width, height)
    if frames < 1:
        raise InputError(f"frames is {frames}: a drive has at least one frame")
    if not 0.1 <= fps <= 1000:
        raise InputError(f"fps is {fps}: give 0.1 to 1000 frames a second")
    motion = np.random.default_rng([seed, 2])
    speed = float(motion.uniform(8.5, 13.0))
    length = speed * max(frames - 1, 0) / fps
    world = WorldBuilder(seed, length, unknown_objects).build()
    renderer = _Renderer(world, width, height)
    phases = motion.uniform(0, 2 * math.pi, 5)
    for index in range(frames):
        stamp = index / fps
        pose = _pose_at(stamp, speed, world, phases)
        frame = renderer.render(pose, stamp, np.random.default_rng([seed, 3, index]))
        yield replace(frame, speed=_speed_at(stamp, speed, phases))


def render_scene(seed: int, width: int = 1024, height: int = 512, unknown_objects: bool = True) -> RenderedFrame:
    """Renders one scene on its own: another street, light, camera and pose for every seed.

    Args:
        seed: The same seed and arguments give the same frame, bit for bit (same NumPy and OpenCV).
        width: Image width in pixels.
        height: Image height in pixels.
        unknown_objects: Whether anything unknown lies on the road.

    Raises:
        InputError: An argument is out of range.
    """
    _check(seed, width, height)
    rng = np.random.default_rng([seed, 4])
    builder = WorldBuilder(seed, 0.0, unknown_objects, float(rng.uniform(7, 22)), float(rng.uniform(6, 18)))
    world = builder.build()
    pose = _Pose(
        x=world.lane + float(rng.normal(0, 0.35)),
        y=0.0,
        yaw=float(rng.normal(0, 0.05)),
        pitch=float(rng.normal(_PITCH, 0.012)),
        height=float(rng.uniform(1.15, 1.5)),
    )
    return _Renderer(world, width, height).render(pose, 0.0, np.random.default_rng([seed, 5]))


def _check(seed: int, width: int, height: int) -> None:
    if seed < 0:
        raise InputError(f"seed is {seed}: give a whole number from 0")
    for name, size in (("width", width), ("height", height)):
        if not _SMALLEST <= size <= _LARGEST:
            raise InputError(f"{name} is {size}: give {_SMALLEST} to {_LARGEST} pixels")


def _pose_at(stamp: float, speed: float, world: World, phases: np.ndarray) -> _Pose:
    """Where the ego camera is: it drifts within its lane and nods on its springs."""
    slow = 0.55 * stamp + phases[0]
    drift = 0.22 * math.sin(slow)
    # The heading follows from the path, so the wheels do not slip sideways.
    yaw = -math.atan2(0.22 * 0.55 * math.cos(slow), speed) + 0.003 * math.sin(1.7 * stamp + phases[1])
    nod = world.shake * (math.sin(7.1 * stamp + phases[2]) + 0.7 * math.sin(11.3 * stamp + phases[3]))
    bounce = 0.008 * math.sin(7.1 * stamp + phases[4])
    along = speed * (stamp + _SURGE * math.sin(0.8 * stamp + phases[0]) - _SURGE * math.sin(phases[0]))
    return _Pose(world.lane + drift, along, yaw, _PITCH + nod, _HEIGHT + bounce)


def _speed_at(stamp: float, speed: float, phases: np.ndarray) -> float:
    """Speed along the path, the derivative of ``_pose_at``'s y and x."""
    along = speed * (1.0 + _SURGE * 0.8 * math.cos(0.8 * stamp + phases[0]))
    sideways = 0.22 * 0.55 * math.cos(0.55 * stamp + phases[0])
    return math.hypot(along, sideways)


class _Renderer:
    """Draws a world at one picture size."""

    def __init__(self, world: World, width: int, height: int) -> None:
        self.world = world
        self.camera = standard_camera(width, height)
        self.painter = GroundPainter(world.street)
        self.gain: float | None = None  # metered on the first frame, then held

    def render(self, pose: _Pose, stamp: float, noise: np.random.Generator) -> RenderedFrame:
        """Returns the frame seen from ``pose`` at ``stamp`` seconds."""
        camera = replace(self.camera, pitch=pose.pitch, mount_height=pose.height)
        raster = Raster(View(_sampling(camera), pose.x, pose.y, pose.yaw))
        things = [thing.at(stamp) for thing in self.world.things]
        near = [thing for thing in things if thing.high > pose.y - 6 and thing.low < pose.y + VIEW_RANGE]
        backdrop = [thing for thing in things if thing.low >= pose.y + VIEW_RANGE and not thing.shadows]
        shadows = [shadow for thing in near for shadow in thing.shadows]
        self.world.sky.draw(raster)
        self.painter.draw(raster, shadows)
        # Near things first: what they hide is not drawn a second time.
        for thing in sorted(near, key=lambda item: item.low) + backdrop:
            for mesh in thing.meshes:
                raster.draw(mesh)
        return self._resolve(raster, camera, stamp, near, noise)

    def _resolve(
        self, raster: Raster, camera: Camera, stamp: float, things: list[Placed], noise: np.random.Generator
    ) -> RenderedFrame:
        """Turns samples into pixels: colours are averaged about a pixel's centre, labels are taken at it."""
        kernel = np.array([0.25, 0.5, 0.25], np.float32)
        color = np.ascontiguousarray(cv2.sepFilter2D(raster.color, -1, kernel, kernel)[::_SAMPLES, ::_SAMPLES])
        label = np.ascontiguousarray(raster.label[::_SAMPLES, ::_SAMPLES])
        inverse = np.ascontiguousarray(raster.inverse_depth[::_SAMPLES, ::_SAMPLES])
        with np.errstate(divide="ignore"):
            depth = np.float32(1.0) / inverse
        semantic = (label & 255).astype(np.uint8)
        instances = (label >> 8).astype(np.uint16)
        anomaly = np.where(instances > 0, 1, np.where(semantic == VOID, VOID, 0)).astype(np.uint8)
        if self.gain is None:
            self.gain = self.world.lens.gain_for(color)
        return RenderedFrame(
            image=self.world.lens.expose(color, depth, self.world.sky.haze, self.gain, noise),
            semantic=semantic,
            anomaly=anomaly,
            instances=instances,
            disparity=inverse * np.float32(camera.fx * camera.baseline),
            depth=depth,
            camera=camera,
            stamp=stamp,
            objects=_visible_objects(things, raster.view, instances),
        )


def _sampling(camera: Camera) -> Camera:
    """Returns the camera whose every second row and column of pixels lies at the pixels of ``camera``."""
    return replace(
        camera,
        width=_SAMPLES * camera.width,
        height=_SAMPLES * camera.height,
        fx=_SAMPLES * camera.fx,
        fy=_SAMPLES * camera.fy,
        cx=_SAMPLES * camera.cx,
        cy=_SAMPLES * camera.cy,
    )


def _visible_objects(things: list[Placed], view: View, instances: np.ndarray) -> tuple[RoadObject, ...]:
    """Lists the unknown objects of which a pixel shows, nearest first."""
    counts = np.bincount(instances.ravel())
    objects = []
    for thing in things:
        mesh = thing.meshes[0]
        if not thing.kind or mesh.instance >= len(counts) or counts[mesh.instance] == 0:
            continue
        centre = view.to_camera(0.5 * (mesh.low + mesh.high)[None])[0]
        width, length, height = (float(value) for value in mesh.high - mesh.low)
        objects.append(
            RoadObject(
                mesh.instance, thing.kind, float(centre[2]), float(centre[0]), (width, height, length),
                int(counts[mesh.instance]),
            )
        )  # fmt: skip
    return tuple(sorted(objects, key=lambda item: item.distance))
