# SPDX-License-Identifier: Apache-2.0
"""What is laid over a crop: negatives, and known objects pasted in the same way so that pasting itself tells nothing.

Negatives come as cut-outs and lie anywhere in any size; colours and sharpness make them part of the scene, in degrees
that vary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.datasets.taxonomy import VOID, SemanticClass
from densehybrid_ros.datasets.training_frames import OVERVIEW_STEP, KnownObject
from densehybrid_ros.training.crops import CropContext
from densehybrid_ros.training.mixed_content import WEIGHT_STEP, DrawOverlay

DrawCutout = Callable[[tuple[int, int], np.random.Generator], "Tensor | None"]
"""((height, width) of a crop, random numbers) -> a cut-out, uint8 [4, h, w]: RGB and alpha; or None for none."""

_SMALLEST_SIDE = 4  # pixels of a known object
_JITTER = 0.25  # of a cut-out's colours
_ATTEMPTS = 4
_PLACES_TRIED = 50
_CAMERA_HEIGHT = 1.25  # metres above the ground
_LEAST_DEPTH = 12  # rows of the frame below the horizon; above, an object would be a dot
_SHADOW_SHARE, _SHADOW_ALPHA = 0.5, (0.15, 0.45)  # of what stands on the ground; how dark
_MOST_PATCHES = 2  # of another texture on the road of a crop
_PATCH_WIDTH, _PATCH_ASPECT, _PATCH_CORNERS = (0.3, 4.0), (0.1, 0.4), (5, 12)  # metres; height to width as it is seen
_GROUND = ("road", "sidewalk")  # beside what is drivable


@dataclass
class PasteConfig:
    """How cut-outs are pasted.

    Attributes:
        probability: Share of the crops that get negatives.
        count: Smallest and largest number of negatives in a crop.
        size: Smallest and largest longest side in pixels, log-uniform; geometry is preserved.
        match_probability: Share of the negatives whose colours are drawn towards the scene's.
        blur_probability: Share of the negatives that are blurred a little.
        known_count: Largest number of known objects from other frames in a crop; 0 = none.
        balance: Exponent by which small negatives weigh more: a pixel counts (1024 / area)^balance; 0 = all alike.
        ground_share: Share of the negatives that stand on the ground, road and sidewalk, in the size that they have
            there, half of them with a shadow; the others lie anywhere in any size.
        ground_size: Smallest and largest longest side in metres of those, log-uniform, for a camera 1.25 m high; where
            it is higher by a factor, divide them by it.
        horizon: Row of the horizon as a share of a frame's height.
    """

    probability: float = 0.7
    count: tuple[int, int] = (1, 4)
    size: tuple[float, float] = (16.0, 320.0)
    match_probability: float = 0.3
    blur_probability: float = 0.3
    known_count: int = 0
    balance: float = 0.0
    ground_share: float = 0.0
    ground_size: tuple[float, float] = (0.12, 1.5)
    horizon: float = 0.41


def ground_ids(classes: Sequence[SemanticClass]) -> list[int]:
    """Returns the train ids of the classes that something may stand on."""
    return [number for number, item in enumerate(classes) if item.drivable or item.name in _GROUND]


class Place(NamedTuple):
    """Where something stands: its lowest row and its middle column in the crop, and the scale there."""

    row: float
    column: float
    pixels_per_metre: float


class Canvas:
    """An overlay in the making, over what a crop shows.

    Attributes:
        pixels: uint8 [h, w, 6]: RGB, alpha, label and weight.
    """

    def __init__(self, context: CropContext, config: PasteConfig, rng: np.random.Generator) -> None:
        self.context, self.config, self.rng = context, config, rng
        self.pixels = np.zeros((*context.size, 6), np.uint8)
        self.pixels[..., 4], self.pixels[..., 5] = VOID, WEIGHT_STEP

    def overlay(self) -> Tensor:
        """Returns what was put together as an overlay, uint8 [6, h, w]."""
        return torch.from_numpy(np.ascontiguousarray(self.pixels.transpose(2, 0, 1)))

    def find_place(self, ground: Sequence[int]) -> Place | None:
        """Draws a place on ground of these train ids below the horizon; None where a few attempts find none."""
        labels, crop = self.context.overview.labels, self.context.crop
        horizon = self.config.horizon * labels.shape[0] * OVERVIEW_STEP
        for _ in range(_PLACES_TRIED):
            row = int(self.rng.integers(crop.rows.start, crop.rows.stop))
            column = int(self.rng.integers(crop.columns.start, crop.columns.stop))
            if labels[self.context.overview_index(row, column)] in ground and row > horizon + _LEAST_DEPTH:
                # On flat ground the camera's height spans as many pixels as the row lies below the horizon.
                scale = crop.scale[0] * (row - horizon) / _CAMERA_HEIGHT
                return Place(self.context.row(row), self.context.column(column), scale)
        return None

    def put_negative(
        self,
        cutout: Tensor,
        place: Place | None,
        shadow_share: float = _SHADOW_SHARE,
        finish: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        """Pastes a cut-out, uint8 [4, h, w] (RGB and alpha), in a size that fits the place; None: it lies anywhere.

        ``shadow_share`` of what stands on the ground has a soft shadow. ``finish`` changes the pasted pixels, float32
        [h, w, 4] in 0..1, at the end.
        """
        rng, config = self.rng, self.config
        pixels = np.ascontiguousarray(cutout.numpy().transpose(1, 2, 0))
        if place is None:
            longest = float(np.exp(rng.uniform(*np.log(config.size))))
        else:
            longest = float(np.exp(rng.uniform(*np.log(config.ground_size)))) * place.pixels_per_metre
        factor = max(longest, _SMALLEST_SIDE) / max(pixels.shape[:2])
        varied = _vary(pixels, factor, config.blur_probability, rng)
        if place is None:
            top, left = self._anywhere(varied)
        else:
            top, left = round(place.row) - varied.shape[0], round(place.column) - varied.shape[1] // 2
            if rng.random() < shadow_share:
                self._put_shadow(place, varied.shape[1])
        if rng.random() < config.match_probability:
            centre = (top + varied.shape[0] / 2, left + varied.shape[1] / 2)
            around = self.context.colors(*centre, max(varied.shape[:2]))
            varied[..., :3] = _matched(varied, around, float(rng.uniform(0.3, 0.9)))
        self._put(varied if finish is None else finish(varied), top, left, VOID, config.balance)

    def put_as_it_is(self, cutout: Tensor) -> None:
        """Pastes a cut-out, uint8 [4, h, w], at a random position."""
        pixels = cutout.numpy().transpose(1, 2, 0).astype(np.float32) / 255
        self._put(pixels, *self._anywhere(pixels), VOID)

    def put_known(self, known: Sequence[KnownObject]) -> None:
        """Pastes an object of a known class in the rows that it has in its own frame, where the camera would see it."""
        rng, (down, across) = self.rng, self.context.crop.scale
        for _ in range(_ATTEMPTS):
            item = known[int(rng.integers(len(known)))]
            zoom = float(np.exp(rng.uniform(-0.2, 0.2)))
            height, width = round(item.pixels.shape[0] * down * zoom), round(item.pixels.shape[1] * across * zoom)
            top = round(self.context.row(item.top + item.pixels.shape[0])) - height
            if min(height, width) < _SMALLEST_SIDE or not 0 <= top + height // 2 < self.context.size[0]:
                continue
            interpolation = cv2.INTER_AREA if down * zoom < 1 else cv2.INTER_LINEAR
            pixels = cv2.resize(item.pixels, (width, height), interpolation=interpolation)
            labels = cv2.resize(item.labels, (width, height), interpolation=cv2.INTER_NEAREST)
            if rng.random() < 0.5:
                pixels, labels = pixels[:, ::-1], labels[:, ::-1]
            varied = pixels.astype(np.float32) / 255
            varied[..., :3] = _recolored(varied[..., :3], 0.5 * _JITTER, rng)
            self._put(varied, top, int(rng.integers(-width // 2, self.context.size[1] - width // 2)), labels)
            return

    def put_patch(self, texture: np.ndarray, road: int) -> None:
        """Lays a patch of another surface on the road, as mended asphalt lies there: it is road as well."""
        rng, place = self.rng, self.find_place((road,))
        if place is None:
            return
        height, width = self.context.size
        wide = float(np.exp(rng.uniform(*np.log(_PATCH_WIDTH)))) * place.pixels_per_metre
        size = (min(round(wide), width), min(round(wide * rng.uniform(*_PATCH_ASPECT)), height))
        if min(size) < _SMALLEST_SIDE:
            return
        patch, outline = np.zeros((size[1], size[0], 4), np.float32), np.zeros((size[1], size[0]), np.float32)
        patch[..., :3] = cv2.resize(texture, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(*_PATCH_CORNERS))))
        corners = 0.5 * (1 + np.stack([np.cos(angles), np.sin(angles)], 1)) * (size[0] - 1, size[1] - 1)
        cv2.fillPoly(outline, [corners.round().astype(np.int32)], 1.0)
        patch[..., 3] = cv2.GaussianBlur(outline, (0, 0), 0.7)
        around = self.context.colors(place.row, place.column, max(size))
        patch[..., :3] = _recolored(_matched(patch, around, float(rng.uniform(0.8, 1.0))), _JITTER, rng)
        self._put(patch, round(place.row) - size[1] // 2, round(place.column) - size[0] // 2, road)

    def _put_shadow(self, place: Place, width: int) -> None:
        """Lays a soft dark ellipse below what will stand there. Never opaque, it is neither negative nor known."""
        height = max(3, width // 5)
        shadow = np.zeros((2 * height + 1, width + 6, 4), np.float32)
        alpha = np.zeros(shadow.shape[:2], np.float32)
        axes = (max(1, width // 2), max(1, height // 2))
        cv2.ellipse(alpha, (shadow.shape[1] // 2, height), axes, 0, 0, 360, 1.0, -1)
        alpha = cv2.GaussianBlur(alpha, (0, 0), max(0.8, height / 4), borderType=cv2.BORDER_CONSTANT)
        shadow[..., 3] = alpha * self.rng.uniform(*_SHADOW_ALPHA)
        self._put(shadow, round(place.row) - height, round(place.column) - shadow.shape[1] // 2, VOID)

    def _anywhere(self, pixels: np.ndarray) -> tuple[int, int]:
        """Draws top and left such that the cut-out lies within the crop, where it fits."""
        free = [max(0, length - own) for length, own in zip(self.context.size, pixels.shape, strict=False)]
        return int(self.rng.integers(free[0] + 1)), int(self.rng.integers(free[1] + 1))

    def _put(self, cutout: np.ndarray, top: int, left: int, labels: np.ndarray | int, balance: float = 0.0) -> None:
        """Lays a cut-out, float32 [h, w, 4], over what there is; what reaches beyond the canvas is cut off."""
        height, width = self.context.size
        first, last = max(0, -top), min(cutout.shape[0], height - top)
        start, end = max(0, -left), min(cutout.shape[1], width - left)
        if first >= last or start >= end:
            return
        cutout = cutout[first:last, start:end]
        below = self.pixels[top + first : top + last, left + start : left + end]
        alpha, lower = cutout[..., 3:], below[..., 3:4].astype(np.float32) / 255
        together = alpha + (1 - alpha) * lower
        color = alpha * cutout[..., :3] * 255 + (1 - alpha) * lower * below[..., :3]
        below[..., :3] = np.rint(np.clip(color / np.maximum(together, 1e-6), 0, 255))
        below[..., 3:4] = np.rint(together * 255)
        solid = cutout[..., 3] > 0.5
        if solid.any():
            below[..., 4][solid] = labels if isinstance(labels, int) else labels[first:last, start:end][solid]
            below[..., 5][solid] = min(255, max(1, round(WEIGHT_STEP * (1024 / int(solid.sum())) ** balance)))


def cutout_overlays(
    draw_cutout: DrawCutout,
    config: PasteConfig,
    known: Sequence[KnownObject] = (),
    ground: Sequence[int] = (),
    textures: Sequence[np.ndarray] = (),
    road: int = 0,
) -> DrawOverlay:
    """Returns a source of overlays of varied negatives, behind and before known objects.

    Args:
        draw_cutout: Gives the negatives.
        config: How they are pasted.
        known: Objects of known classes to paste as well.
        ground: Train ids of the classes that ``config.ground_share`` of the negatives stand on.
        textures: uint8 [h, w, 3], RGB pictures of the road's surface; patches of them are known road.
        road: Train id of the road.
    """

    def draw(context: CropContext, rng: np.random.Generator) -> Tensor | None:
        familiar = int(rng.integers(config.known_count + 1)) if known and config.known_count else 0
        unknown = 0
        if rng.random() < config.probability:
            unknown = int(rng.integers(config.count[0], config.count[1] + 1))
        patches = int(rng.integers(_MOST_PATCHES + 1)) if textures else 0
        if not familiar and not unknown and not patches:
            return None
        canvas = Canvas(context, config, rng)
        for _ in range(patches):
            canvas.put_patch(textures[int(rng.integers(len(textures)))], road)
        for is_known in rng.permutation([True] * familiar + [False] * unknown):
            if is_known:
                canvas.put_known(known)
            elif (cutout := draw_cutout(context.size, rng)) is not None:
                on_ground = rng.random() < config.ground_share
                canvas.put_negative(cutout, canvas.find_place(ground) if on_ground else None)
        return canvas.overlay()

    return draw


def recipe_overlays(draw_cutout: DrawCutout) -> DrawOverlay:
    """Returns a source of overlays with one cut-out each, pasted as it is drawn, at a random position."""

    def draw(context: CropContext, rng: np.random.Generator) -> Tensor | None:
        cutout = draw_cutout(context.size, rng)
        if cutout is None:
            return None
        canvas = Canvas(context, PasteConfig(), rng)
        canvas.put_as_it_is(cutout)
        return canvas.overlay()

    return draw


def _vary(pixels: np.ndarray, factor: float, blur: float, rng: np.random.Generator) -> np.ndarray:
    """Resizes a cut-out, uint8 [h, w, 4], mirrors, recolours and may blur it; returns float32 [h, w, 4] in 0..1."""
    height, width = (max(1, round(length * factor)) for length in pixels.shape[:2])
    varied = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    if rng.random() < 0.5:
        varied = varied[:, ::-1]
    varied = varied.astype(np.float32) / 255
    varied[..., :3] = _recolored(varied[..., :3], _JITTER, rng)
    if rng.random() < blur:
        sigma = float(rng.uniform(0.4, 1.5))
        varied = cv2.GaussianBlur(varied, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return varied


def _recolored(colors: np.ndarray, jitter: float, rng: np.random.Generator) -> np.ndarray:
    """Changes brightness, contrast, saturation and gamma of float32 [h, w, 3] in 0..1."""
    brightness, contrast, saturation, gamma = np.exp(jitter * rng.uniform(-1, 1, 4)).astype(np.float32)
    colors = np.clip(colors, 0, 1) ** gamma * brightness
    mean = colors.mean()
    colors = (colors - mean) * contrast + mean
    grey = colors @ np.array([[0.299], [0.587], [0.114]], np.float32)
    return np.clip(grey + (colors - grey) * saturation, 0, 1)


def _matched(pixels: np.ndarray, around: np.ndarray, strength: float) -> np.ndarray:
    """Draws mean and contrast of what is opaque in [h, w, 4] towards the colours [n, 3] around it."""
    colors, solid = pixels[..., :3], pixels[..., 3] > 0.5
    if not len(around) or not solid.any():
        return colors
    own = colors[solid]
    gain = np.clip((around.std(0) + 0.02) / (own.std(0) + 0.02), 0.5, 2)
    matched = (colors - own.mean(0)) * gain + around.mean(0)
    return np.clip(colors + strength * (matched - colors), 0, 1)
