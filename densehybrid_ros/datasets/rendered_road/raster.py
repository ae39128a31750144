# SPDX-License-Identifier: Apache-2.0
"""A z-buffer for planar polygons: colour, inverse depth and label of every sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.datasets.rendered_road.mesh import Mesh, crossed
from densehybrid_ros.datasets.rendered_road.textures import Texture

NEAR = 0.4
"""Distance in metres before which nothing is drawn."""
FRACTION_BITS = 4
"""Of the polygon corners handed to OpenCV."""
_DETAILED = 12  # faces from which a mesh has details that can be left out
_DETAIL = 5.0, 0.004  # square samples, and share of the whole mesh, below which they are
_Vectors = tuple[np.ndarray, np.ndarray, np.ndarray]
_Window = tuple[int, int, int, int]


@dataclass(frozen=True)
class View:
    """A camera (at the sampling resolution) on the road: x across and y along in metres, yaw counter-clockwise."""

    camera: Camera
    x: float
    y: float
    yaw: float

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
        return (points - (self.x, self.y, self.camera.mount_height)) @ self.rotation.T

    def project(self, points: np.ndarray) -> np.ndarray:
        """Projects camera points [N, 3] in front of the camera to pixels [N, 2]."""
        camera = self.camera
        return points[:, :2] / points[:, 2:] * (camera.fx, camera.fy) + (camera.cx, camera.cy)


def clip_near(points: np.ndarray) -> np.ndarray:
    """Cuts off the part of a polygon [N, 3] in camera axes that lies before the near plane."""
    kept = []
    for current, following in zip(points, np.roll(points, -1, axis=0), strict=True):
        if current[2] >= NEAR:
            kept.append(current)
        if (current[2] >= NEAR) != (following[2] >= NEAR):
            kept.append(current + (NEAR - current[2]) / (following[2] - current[2]) * (following - current))
    return np.array(kept) if kept else np.empty((0, 3))


class Raster:
    """Sample buffers of one view: ``color`` uint8 [H, W, 3] RGB, ``inverse_depth`` float32 [H, W] in 1/m.

    ``label`` int32 [H, W] is class id + 256 * instance; ``columns`` [W] and ``rows`` [H] are the rays' slopes.
    """

    def __init__(self, view: View) -> None:
        self.view = view
        height, width = shape = (view.camera.height, view.camera.width)
        self.color = np.zeros((*shape, 3), np.uint8)
        self.inverse_depth = np.zeros(shape, np.float32)
        self.label = np.zeros(shape, np.int32)
        self.columns = (np.arange(width, dtype=np.float32) - view.camera.cx) / view.camera.fx
        self.rows = (np.arange(height, dtype=np.float32) - view.camera.cy) / view.camera.fy

    def draw(self, mesh: Mesh) -> None:
        """Draws a mesh; whatever lies nearer already stays."""
        points = self.view.to_camera(mesh.vertices)
        depth = points[:, 2]
        nearest = float(depth.min())
        if depth.max() < NEAR:
            return
        whole = nearest >= NEAR
        pixels = self.view.project(points if whole else points[depth >= NEAR])
        left, top, right, bottom = window = self._window(pixels)
        outside = left >= right or top >= bottom
        if whole and (outside or self.inverse_depth[top:bottom, left:right].min() > 1.0 / nearest):
            return
        origin = points[mesh.corners[:, 0]]
        across, down = points[mesh.corners[:, 1]] - origin, points[mesh.corners[:, -1]] - origin
        inward = crossed(across, down)
        offset = (inward * origin).sum(axis=1)
        seen = (offset > 1e-9) | (mesh.two_sided & (offset < -1e-9))
        # 1 / depth of a face is a linear form over (x, y, 1) of the viewing ray.
        planes = (inward / np.where(seen, offset, 1.0)[:, None]).astype(np.float32)
        if whole and len(mesh.faces) > 1:
            outlines = pixels[mesh.corners]
            low, high = outlines.min(axis=1), outlines.max(axis=1)
            seen &= ((high >= 0) & (low < self.label.shape[::-1])).all(axis=1)
            if len(mesh.faces) > _DETAILED:
                seen &= (high - low).prod(axis=1) > min(_DETAIL[0], _DETAIL[1] * np.ptp(pixels, axis=0).prod())
        for index in np.flatnonzero(seen).tolist():
            corners = list(mesh.faces[index].corners)
            polygon = points[corners] if whole else clip_near(points[corners])
            if len(polygon) >= 3:
                outline = pixels[corners] if whole else self.view.project(polygon)
                edges = (origin[index], across[index], down[index])
                self._fill(mesh, index, planes[index], edges, outline, 1.0 / polygon[:, 2])
        if (mesh.grain is not None or mesh.smooth) and len(pixels) > 2:
            self._finish(mesh, pixels, window)

    def _window(self, pixels: np.ndarray) -> _Window:
        """Returns left, top, right, bottom (exclusive) of a polygon within the image."""
        height, width = self.label.shape
        (left, top), (right, bottom) = pixels.min(axis=0).tolist(), pixels.max(axis=0).tolist()
        right, bottom = min(math.ceil(right) + 1, width), min(math.ceil(bottom) + 1, height)
        return max(math.floor(left), 0), max(math.floor(top), 0), right, bottom

    def _fill(
        self, mesh: Mesh, index: int, plane: np.ndarray, edges: _Vectors, outline: np.ndarray, corners: np.ndarray
    ) -> None:
        """Fills a face whose corners lie at the pixels ``outline`` [N, 2] and have 1 / depth ``corners`` [N]."""
        left, top, right, bottom = window = self._window(outline)
        if left >= right or top >= bottom:
            return
        mask = np.zeros((bottom - top, right - left), np.uint8)
        fixed = ((outline - (left, top)) * (1 << FRACTION_BITS)).astype(np.int32)
        cv2.fillConvexPoly(mask, fixed, 1, shift=FRACTION_BITS)
        nearness = (self.rows[top:bottom, None] * plane[1] + plane[2]) + self.columns[left:right] * plane[0]
        # A sample on the rim may lie just outside the polygon, where a steep plane would run away.
        np.clip(nearness, np.float32(corners.min()), np.float32(corners.max()), out=nearness)
        stored = self.inverse_depth[top:bottom, left:right]
        visible = nearness > stored
        visible &= mask.view(bool)
        if not visible.any():
            return
        color, texture = self.color[top:bottom, left:right], mesh.faces[index].texture
        if texture is None:
            color[visible] = mesh.colors[index]
        else:
            patch = self._sample(texture, edges, outline, window)
            if patch.shape[2] == 4:
                visible &= patch[..., 3] > 127
                patch = cv2.cvtColor(patch, cv2.COLOR_RGBA2RGB)
            cv2.copyTo(cv2.convertScaleAbs(patch, alpha=mesh.light[index]), visible.view(np.uint8), color)
        np.copyto(stored, nearness, where=visible)
        np.copyto(self.label[top:bottom, left:right], mesh.label, where=visible)

    def _sample(self, texture: Texture, edges: _Vectors, outline: np.ndarray, window: _Window) -> np.ndarray:
        """Warps a texture into a window, given its first corner and its edges across and down in camera axes."""
        camera = self.view.camera
        left, top, right, bottom = window
        intrinsic = np.array([[camera.fx, 0, camera.cx - left], [0, camera.fy, camera.cy - top], [0, 0, 1.0]])
        origin, across, down = edges
        to_screen = intrinsic @ np.stack([across, down, origin], axis=1)
        height, width = texture.pixels.shape[:2]
        extents = size = (right - left, bottom - top)
        if len(outline) == 4:
            sides = np.hypot(*(np.roll(outline, -1, axis=0) - outline).T)
            extents = (0.5 * (sides[0] + sides[2]), 0.5 * (sides[1] + sides[3]))
        shrinking = np.maximum(np.divide((width, height), np.maximum(extents, 0.5)), 1.0)
        picture = texture.level(*(np.log2(shrinking) + 0.3).astype(int).tolist())
        to_texture = np.array([[picture.shape[1], 0, -0.5], [0, picture.shape[0], -0.5], [0, 0, 1.0]])
        matrix, flags = to_texture @ np.linalg.inv(to_screen), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpPerspective(picture, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)

    def _finish(self, mesh: Mesh, pixels: np.ndarray, window: _Window) -> None:
        """Blends the faces of a round mesh and multiplies its grain onto it."""
        left, top, right, bottom = window
        own = self.label[top:bottom, left:right] == mesh.label
        if right - left < 12 or bottom - top < 12 or not own.any():
            return
        color = self.color[top:bottom, left:right]
        patch: np.ndarray = color
        if mesh.smooth:  # by a blur of its own pixels alone
            size = (2 * round(max(right - left, bottom - top) / 14.0) + 1,) * 2
            layers = cv2.merge([*cv2.split(patch.astype(np.float32) * own[..., None]), own.astype(np.float32)])
            blurred = cv2.blur(cv2.blur(layers, size), size)
            patch = np.clip(blurred[..., :3] / np.maximum(blurred[..., 3:], 1e-4), 0, 255).astype(np.uint8)
        if mesh.grain is not None:
            # One upright card through the middle of the mesh carries the grain, so that it stays on the surface.
            reach = float((mesh.high - mesh.low).max())
            start = 0.5 * (mesh.low + mesh.high) + np.array([-reach / 2, 0.0, reach / 2])
            corner, aside, below = self.view.to_camera(start + reach * np.array([[0, 0, 0], [1, 0, 0], [0, 0, -1]]))
            if min(corner[2], aside[2], below[2]) > NEAR:
                noise = self._sample(mesh.grain, (corner, aside - corner, below - corner), pixels[:3], window)
                patch = cv2.multiply(patch, noise, scale=1 / 128)
        cv2.copyTo(np.ascontiguousarray(patch), own.view(np.uint8), color)
