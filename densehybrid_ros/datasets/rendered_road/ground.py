"""Road, kerbs, pavement and grass: two level planes with world-fixed texture, paint and shadows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np

from densehybrid_ros.datasets.rendered_road.covers import ROAD, SIDEWALK, Material
from densehybrid_ros.datasets.rendered_road.ground_samples import DECAL_RANGE, GroundSamples, on_screen
from densehybrid_ros.datasets.rendered_road.light import Shadow
from densehybrid_ros.datasets.rendered_road.raster import Raster, View

_FAR = 900.0  # metres; beyond it the ground is left to the backdrop


@dataclass(frozen=True)
class Decal:
    """Something flat on the road.

    Attributes:
        outline: float32 [N, 2] (x, y) in metres.
        paint: Grey value of road paint, or 0 for a darker or brighter patch.
        strength: Coverage of the paint (0..1), or the factor by which a patch changes the brightness.
    """

    outline: np.ndarray
    paint: float
    strength: float


@dataclass
class Street:
    """The ground of a scene.

    Attributes:
        left: Position of the left kerb (x) in metres.
        right: Position of the right kerb in metres.
        kerb: Height of everything beside the road over the road in metres.
        asphalt: Cover of the road.
        kerb_color: Colour of the kerb's face.
        strips: (outer position measured from the kerb in metres, cover) from the kerb outwards, for the left and the
            right side; the last cover of a side goes on for ever.
        decals: Markings and patches.
    """

    left: float
    right: float
    kerb: float
    asphalt: Material
    kerb_color: tuple[float, float, float]
    strips: tuple[list[tuple[float, Material]], list[tuple[float, Material]]]
    decals: list[Decal] = field(default_factory=list)


class GroundPainter:
    """Draws a street into empty sample buffers, before anything that stands on it."""

    def __init__(self, street: Street) -> None:
        self.street = street
        self._reach = np.array([(d.outline[:, 1].min(), d.outline[:, 1].max()) for d in street.decals]).reshape(-1, 2)
        left, right = street.strips
        self._covers = [cover for _, cover in (*left, *right)]
        # From left to right: strips, kerb face, road, kerb face, strips; numbers of covers, then road and face.
        road, face = len(self._covers), len(self._covers) + 1
        self._order = np.array(
            [*range(len(left) - 1, -1, -1), face, road, face, *range(len(left), len(self._covers))], np.uint8
        )
        self._outer = [street.left - outer for outer, _ in reversed(left[:-1])]
        self._inner = [street.right + outer for outer, _ in right[:-1]]
        self._classes = np.array([*(cover.class_id for cover in self._covers), ROAD, SIDEWALK], np.int32)

    def draw(self, raster: Raster, shadows: list[Shadow]) -> None:
        """Draws the ground.

        Args:
            raster: Sample buffers; rows below the horizon are overwritten.
            shadows: What darkens it.
        """
        view, street, camera = raster.view, self.street, raster.view.camera
        rows = ((np.arange(camera.height) - camera.cy) / camera.fy).astype(np.float32)
        descent = rows * math.cos(camera.pitch) + math.sin(camera.pitch)
        first = int(np.searchsorted(descent, camera.mount_height / _FAR))
        if first >= camera.height:
            return
        rows, descent = rows[first:], descent[first:]
        columns = ((np.arange(camera.width) - camera.cx) / camera.fx).astype(np.float32)
        depth_road = (camera.mount_height / descent).astype(np.float32)
        depth_side = ((camera.mount_height - street.kerb) / descent).astype(np.float32)
        region = self._regions(view, rows, depth_road, depth_side)
        road, face = len(self._covers), len(self._covers) + 1
        on_road = region == road

        np.take(self._classes, region, out=raster.label[first:], mode="clip")
        inverse = raster.inverse_depth[first:]
        inverse[:] = (1.0 / depth_side)[:, None]
        np.copyto(inverse, (1.0 / depth_road)[:, None], where=on_road)
        color = raster.color[first:]
        self._kerb_faces(view, rows, columns, region == face, inverse, color)

        samples = GroundSamples(raster, first, rows, columns)
        asphalt = samples.plane(depth_road).cover(street.asphalt)
        seen = (self._reach[:, 1] > view.y) & (self._reach[:, 0] < view.y + DECAL_RANGE)
        decals = [street.decals[index] for index in np.flatnonzero(seen)]
        _patch(asphalt, [decal for decal in decals if decal.paint == 0], samples, raster)
        cv2.copyTo(samples.enlarged(asphalt), on_road.view(np.uint8), color)
        beside = samples.plane(depth_side)
        for cover in dict.fromkeys(self._covers):
            numbers = [index for index, other in enumerate(self._covers) if other is cover]
            mask = np.isin(region, numbers) if len(numbers) > 1 else region == numbers[0]
            cv2.copyTo(samples.enlarged(beside.cover(cover)), mask.view(np.uint8), color)
        _paint(color, [decal for decal in decals if decal.paint > 0], on_road, first, raster)
        _shade(color, shadows, samples, raster)

    def _regions(self, view: View, rows: np.ndarray, depth_road: np.ndarray, depth_side: np.ndarray) -> np.ndarray:
        """Returns which part of the street every sample [h, W] shows, as a number of ``self._order``.

        Every line along the street crosses a row of samples at one column, so a row is a few runs of equal value.
        """
        camera, rotation = view.camera, view.rotation
        lines = [(x, depth_side) for x in (*self._outer, self.street.left)]
        lines += [(self.street.left, depth_road), (self.street.right, depth_road)]
        lines += [(x, depth_side) for x in (self.street.right, *self._inner)]
        tilt = rotation[1, 0] * rows + rotation[2, 0]
        crossings = [((x - view.x) / depth - tilt) / rotation[0, 0] * camera.fx + camera.cx for x, depth in lines]
        borders = np.clip(np.ceil(np.stack(crossings, axis=1)), 0, camera.width).astype(np.int64)
        borders = np.maximum.accumulate(borders, axis=1)
        lengths = np.diff(borders, axis=1, prepend=0, append=camera.width)
        return np.repeat(np.tile(self._order, len(rows)), lengths.ravel()).reshape(len(rows), camera.width)

    def _kerb_faces(
        self,
        view: View,
        rows: np.ndarray,
        columns: np.ndarray,
        face: np.ndarray,
        inverse: np.ndarray,
        color: np.ndarray,
    ) -> None:
        """Writes depth and colour of the upright sides of the kerbs."""
        rotation = view.rotation
        at_rows, at_columns = np.nonzero(face)
        if len(at_rows) == 0:
            return
        slope = rotation[0, 0] * columns[at_columns] + rotation[1, 0] * rows[at_rows] + rotation[2, 0]
        edge = np.where(slope < 0, self.street.left, self.street.right)
        inverse[at_rows, at_columns] = slope / (edge - view.x)
        color[at_rows, at_columns] = self.street.kerb_color


def _patch(asphalt: np.ndarray, decals: list[Decal], samples: GroundSamples, raster: Raster) -> None:
    """Changes the brightness of repaired, worn and stained places."""
    factor: np.ndarray = np.full(asphalt.shape[:2], 128, np.uint8)
    for decal in decals:
        samples.fill(factor, decal.outline, raster, round(128 * decal.strength))
    factor = cv2.GaussianBlur(factor, (3, 3), 0)
    cv2.multiply(asphalt, cv2.merge([factor] * 3), dst=asphalt, scale=1 / 128)


def _paint(color: np.ndarray, decals: list[Decal], on_road: np.ndarray, first: int, raster: Raster) -> None:
    """Blends worn road paint onto the asphalt."""
    mask = np.zeros(raster.label.shape, np.uint8)
    for decal in decals:
        outline = on_screen(decal.outline, raster)
        if outline is not None:
            cv2.fillPoly(mask, [outline], round(255 * decal.strength), shift=4)
    painted = (mask[first:] > 0) & on_road
    if not painted.any():
        return
    below = color[painted].astype(np.float32)
    coverage = mask[first:][painted].astype(np.float32)[:, None] / 255
    # Paint wears off where the asphalt's stones stand out, so the asphalt's own texture thins it.
    coverage *= np.clip(1.25 - 0.0045 * below[:, :1], 0.4, 1.0)
    paint = np.array([212, 212, 206], np.float32) + 0.25 * (below - below.mean())
    color[painted] = np.clip(below + coverage * (paint - below), 0, 255).astype(np.uint8)


def _shade(color: np.ndarray, shadows: list[Shadow], samples: GroundSamples, raster: Raster) -> None:
    """Darkens the ground where shadows fall; overlapping shadows do not add up."""
    if not shadows:
        return
    light = np.full((len(samples.rows), len(samples.columns)), 255, np.uint8)
    for shadow in sorted(shadows, key=lambda item: item.share):
        samples.fill(light, shadow.outline, raster, round(255 * (1 - shadow.share)), shadow.height)
    light = samples.enlarged(cv2.GaussianBlur(light, (0, 0), 1.6))
    cv2.multiply(color, cv2.merge([light] * 3), dst=color, scale=1 / 255)
