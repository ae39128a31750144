"""A z-buffer for planar polygons: colour, inverse depth and label of every sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.datasets.rendered_road.mesh import Face, Mesh
from densehybrid_ros.datasets.rendered_road.textures import Texture

NEAR = 0.4
"""Distance in metres before which nothing is drawn."""
_FRACTION_BITS = 4  # of the polygon corners handed to OpenCV
_DETAILED = 12  # faces from which a mesh has details that can be left out
_SMALL = 90  # samples across below which the simple form of a mesh is drawn
_FIXED = 1 << _FRACTION_BITS


@dataclass(frozen=True)
class View:
    """A camera standing somewhere on the road.

    Attributes:
        camera: Intrinsics at the sampling resolution, pitch and mount height.
        x: Position across the road in metres (right positive).
        y: Position along the road in metres.
        yaw: Heading in radians, counter-clockwise from above.
    """

    camera: Camera
    x: float
    y: float
    yaw: float

    @cached_property
    def position(self) -> np.ndarray:
        """The camera's centre [3]."""
        return np.array([self.x, self.y, self.camera.mount_height])

    @cached_property
    def rotation(self) -> np.ndarray:
        """Rotation [3, 3] from road to camera axes (right, down, forward)."""
        sine, cosine = math.sin(self.yaw), math.cos(self.yaw)
        tilt_sine, tilt_cosine = math.sin(self.camera.pitch), math.cos(self.camera.pitch)
        right = np.array([cosine, sine, 0.0])
        forward = np.array([-sine * tilt_cosine, cosine * tilt_cosine, -tilt_sine])
        return np.stack([right, np.cross(forward, right), forward])

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """Turns road points [N, 3] into camera points [N, 3] (right, down, forward)."""
        return (points - self.position) @ self.rotation.T

    def project(self, points: np.ndarray) -> np.ndarray:
        """Projects camera points [N, 3] in front of the camera to pixels [N, 2]."""
        camera = self.camera
        scaled = points[:, :2] / points[:, 2:]
        return scaled * (camera.fx, camera.fy) + (camera.cx, camera.cy)


def clip_near(points: np.ndarray) -> np.ndarray:
    """Cuts off the part of a polygon [N, 3] in camera axes that lies before the near plane."""
    kept = []
    for index in range(len(points)):
        current, following = points[index], points[(index + 1) % len(points)]
        if current[2] >= NEAR:
            kept.append(current)
        if (current[2] >= NEAR) != (following[2] >= NEAR):
            share = (NEAR - current[2]) / (following[2] - current[2])
            kept.append(current + share * (following - current))
    return np.array(kept) if kept else np.empty((0, 3))


class _Planes:
    """The planes of a mesh's faces in camera axes.

    Attributes:
        facing: bool [F], whether the outside of the face is seen (or both sides count) and not edge-on.
        nearness: float32 [F, 3], 1 / depth as a linear form over (x, y, 1) of the viewing ray.
    """

    def __init__(self, mesh: Mesh, points: np.ndarray) -> None:
        self._origin = points[mesh.corners[:, 0]]
        self._across = points[mesh.corners[:, 1]] - self._origin
        self._down = points[mesh.corners[:, -1]] - self._origin
        inward = _crossed(self._across, self._down)
        offset = (inward * self._origin).sum(axis=1)
        self.facing = (offset > 1e-9) | (mesh.two_sided & (offset < -1e-9))
        self.nearness = (inward / np.where(self.facing, offset, 1.0)[:, None]).astype(np.float32)

    def frame(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns a face's first corner and its edges across and down."""
        return self._origin[index], self._across[index], self._down[index]


class Raster:
    """Sample buffers of one view.

    Attributes:
        view: From where the samples are taken.
        color: uint8 [H, W, 3] RGB.
        inverse_depth: float32 [H, W] in 1/m, 0 at infinity.
        label: int32 [H, W], class id + 256 * instance.
    """

    def __init__(self, view: View) -> None:
        self.view = view
        self._rotation, self._position = view.rotation, view.position
        shape = (view.camera.height, view.camera.width)
        self.color = np.zeros((*shape, 3), np.uint8)
        self.inverse_depth = np.zeros(shape, np.float32)
        self.label = np.zeros(shape, np.int32)
        self._columns = (np.arange(shape[1], dtype=np.float32) - view.camera.cx) / view.camera.fx
        self._rows = (np.arange(shape[0], dtype=np.float32) - view.camera.cy) / view.camera.fy

    def draw(self, mesh: Mesh) -> None:
        """Draws a mesh; whatever lies nearer already stays."""
        points = (mesh.vertices - self._position) @ self._rotation.T
        depth = points[:, 2]
        nearest = float(depth.min())
        if depth.max() < NEAR:
            return
        label = mesh.class_id + 256 * mesh.instance
        whole = nearest >= NEAR
        pixels = self.view.project(points if whole else points[depth >= NEAR])
        if whole and self._hidden(pixels, nearest):
            return
        if mesh.far is not None and whole and np.ptp(pixels[:, 0]) < _SMALL:
            self.draw(mesh.far)
            return
        planes = _Planes(mesh, points)
        if whole:
            self._draw_whole(mesh, planes, pixels, depth, label)
        else:
            self._draw_clipped(mesh, planes, points, label)
        if (mesh.grain is not None or mesh.smooth) and len(pixels) > 2:
            self._finish(mesh, pixels, label)

    def _draw_whole(self, mesh: Mesh, planes: _Planes, pixels: np.ndarray, depth: np.ndarray, label: int) -> None:
        """Draws the faces of a mesh that lies wholly before the camera."""
        height, width = self.label.shape
        outlines = pixels[mesh.corners]
        low, high = outlines.min(axis=1), outlines.max(axis=1)
        seen = planes.facing & ((high >= 0) & (low < (width, height))).all(axis=1)
        if len(mesh.faces) > _DETAILED:
            # Details of a far thing that would cover less than a sample or two are left out.
            seen &= (high - low).prod(axis=1) > 2.0
        starts = np.maximum(np.floor(low), 0).astype(int).tolist()
        stops = np.minimum(np.ceil(high) + 1, (width, height)).astype(int).tolist()
        nearness = 1.0 / depth[mesh.corners]
        least, greatest = nearness.min(axis=1), nearness.max(axis=1)
        for index in np.flatnonzero(seen).tolist():
            outline = outlines[index, : len(mesh.faces[index].corners)]
            bounds = (*starts[index], *stops[index])
            self._fill(mesh.faces[index], planes, index, outline, bounds, (least[index], greatest[index]), label)

    def _draw_clipped(self, mesh: Mesh, planes: _Planes, points: np.ndarray, label: int) -> None:
        """Draws the faces of a mesh of which a part lies before the near plane."""
        for index in np.flatnonzero(planes.facing).tolist():
            clipped = clip_near(points[list(mesh.faces[index].corners)])
            if len(clipped) < 3:
                continue
            nearness = 1.0 / clipped[:, 2]
            outline = self.view.project(clipped)
            limits = (nearness.min(), nearness.max())
            self._fill(mesh.faces[index], planes, index, outline, self._bounds(outline), limits, label)

    def _hidden(self, pixels: np.ndarray, nearest: float) -> bool:
        """Tells whether something before ``nearest`` metres covers the pixels' bounding box, or it is off screen."""
        left, top, right, bottom = self._bounds(pixels)
        if left >= right or top >= bottom:
            return True
        return bool(self.inverse_depth[top:bottom, left:right].min() > 1.0 / nearest)

    def _bounds(self, pixels: np.ndarray) -> tuple[int, int, int, int]:
        """Returns left, top, right, bottom (exclusive) of a polygon within the image."""
        height, width = self.label.shape
        left, top = pixels.min(axis=0)
        right, bottom = pixels.max(axis=0)
        return (
            max(math.floor(left), 0),
            max(math.floor(top), 0),
            min(math.ceil(right) + 1, width),
            min(math.ceil(bottom) + 1, height),
        )

    def _fill(
        self,
        face: Face,
        planes: _Planes,
        index: int,
        outline: np.ndarray,
        bounds: tuple[int, int, int, int],
        limits: tuple[float, float],
        label: int,
    ) -> None:
        """Fills a polygon.

        Args:
            face: Its colour or texture.
            planes: The planes of its mesh.
            index: The face's number in its mesh.
            outline: Its corners [N, 2] in pixels.
            bounds: Left, top, right and bottom (exclusive) of the pixels that it may cover.
            limits: Least and greatest 1 / depth of its corners.
            label: What is written to the label buffer.
        """
        left, top, right, bottom = bounds
        if left >= right or top >= bottom:
            return
        plane = planes.nearness[index]
        mask = np.zeros((bottom - top, right - left), np.uint8)
        cv2.fillConvexPoly(mask, ((outline - (left, top)) * _FIXED).astype(np.int32), 1, shift=_FRACTION_BITS)
        nearness = (self._rows[top:bottom, None] * np.float32(plane[1]) + np.float32(plane[2])) + self._columns[
            left:right
        ] * np.float32(plane[0])
        # A sample on the rim may lie just outside the polygon, where a steep plane would run away.
        np.minimum(nearness, np.float32(limits[1]), out=nearness)
        np.maximum(nearness, np.float32(limits[0]), out=nearness)
        stored = self.inverse_depth[top:bottom, left:right]
        visible = nearness > stored
        visible &= mask.view(bool)
        if not visible.any():
            return
        if face.texture is None:
            self.color[top:bottom, left:right][visible] = face.color
        else:
            rows = np.flatnonzero(visible.any(axis=1))
            columns = np.flatnonzero(visible.any(axis=0))
            # Only what shows is read from the texture.
            shown = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
            bottom, top = top + int(rows[-1]) + 1, top + int(rows[0])
            right, left = left + int(columns[-1]) + 1, left + int(columns[0])
            visible, nearness, stored = visible[shown], nearness[shown], stored[shown]
            patch = self._sample(face.texture, *planes.frame(index), outline, (left, top, right, bottom))
            if patch.shape[2] == 4:
                visible = visible & (patch[..., 3] > 127)
                patch = cv2.cvtColor(patch, cv2.COLOR_RGBA2RGB)
            if face.light != 1.0:
                patch = cv2.convertScaleAbs(patch, alpha=face.light)
            cv2.copyTo(patch, np.ascontiguousarray(visible).view(np.uint8), self.color[top:bottom, left:right])
        np.copyto(stored, nearness, where=visible)
        np.copyto(self.label[top:bottom, left:right], label, where=visible)

    def _sample(
        self,
        texture: Texture,
        origin: np.ndarray,
        across: np.ndarray,
        down: np.ndarray,
        outline: np.ndarray,
        bounds: tuple[int, int, int, int],
    ) -> np.ndarray:
        """Warps a texture spanned by two edges in camera axes into the window ``bounds``."""
        camera = self.view.camera
        left, top, right, bottom = bounds
        intrinsic = np.array([[camera.fx, 0, camera.cx - left], [0, camera.fy, camera.cy - top], [0, 0, 1.0]])
        to_screen = intrinsic @ np.stack([across, down, origin], axis=1)
        height, width = texture.pixels.shape[:2]
        if len(outline) == 4:
            extent_across = 0.5 * (_length(outline[1] - outline[0]) + _length(outline[2] - outline[3]))
            extent_down = 0.5 * (_length(outline[3] - outline[0]) + _length(outline[2] - outline[1]))
        else:
            extent_across, extent_down = float(right - left), float(bottom - top)
        picture = texture.level(
            int(math.log2(max(width / max(extent_across, 0.5), 1.0)) + 0.3),
            int(math.log2(max(height / max(extent_down, 0.5), 1.0)) + 0.3),
        )
        to_texture = np.diag([picture.shape[1], picture.shape[0], 1.0])
        to_texture[:2, 2] = -0.5
        matrix = to_texture @ np.linalg.inv(to_screen)
        return cv2.warpPerspective(
            picture,
            matrix,
            (right - left, bottom - top),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )

    def _finish(self, mesh: Mesh, pixels: np.ndarray, label: int) -> None:
        """Blends the faces of a round mesh and multiplies its grain onto it."""
        left, top, right, bottom = self._bounds(pixels)
        if right - left < 12 or bottom - top < 12:
            return
        window = (slice(top, bottom), slice(left, right))
        own = self.label[window] == label
        if not own.any():
            return
        patch: np.ndarray = self.color[window]
        if mesh.smooth:
            patch = _blend_within(patch, own, max(right - left, bottom - top) / 14.0)
        if mesh.grain is not None:
            # One upright card through the middle of the mesh carries the grain, so that it stays on the surface.
            low, high = mesh.low, mesh.high
            reach = float(max(high - low))
            centre = 0.5 * (low + high)
            start = centre + np.array([-reach / 2, 0.0, reach / 2])
            card = self.view.to_camera(start + reach * np.array([[0, 0, 0], [1, 0, 0], [0, 0, -1]]))
            if card[:, 2].min() > NEAR:
                noise = self._sample(
                    mesh.grain, card[0], card[1] - card[0], card[2] - card[0], pixels[:3], (left, top, right, bottom)
                )
                patch = cv2.multiply(patch, noise, scale=1 / 128)
        cv2.copyTo(np.ascontiguousarray(patch), own.view(np.uint8), self.color[window])


def _crossed(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cross products of rows [N, 3], without numpy.cross's costly generality."""
    x, y, z = first.T
    u, v, w = second.T
    return np.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=1)


def _length(vector: np.ndarray) -> float:
    return math.hypot(float(vector[0]), float(vector[1]))


def _blend_within(patch: np.ndarray, own: np.ndarray, sigma: float) -> np.ndarray:
    """Blurs the pixels of ``own`` without mixing in their surroundings."""
    size = 2 * round(max(sigma, 0.5)) + 1
    weight = own.astype(np.float32)
    colors = patch.astype(np.float32) * weight[..., None]
    blurred = cv2.blur(cv2.blur(colors, (size, size)), (size, size))
    total = cv2.blur(cv2.blur(weight, (size, size)), (size, size))
    return np.clip(blurred / np.maximum(total, 1e-4)[..., None], 0, 255).astype(np.uint8)
