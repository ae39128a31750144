"""What is laid over a crop: negatives, and known objects pasted in the same way so that pasting itself tells nothing.

Negatives come as cut-outs. A share of them stands on the road in the size that perspective asks for, the rest lies
anywhere in any size; colours, sharpness and a shadow make them part of the scene, in degrees that vary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.datasets.known_objects import KnownObject
from densehybrid_ros.datasets.taxonomy import VOID
from densehybrid_ros.training.mixed_content import WEIGHT_STEP, DrawLayer, Layer
from densehybrid_ros.training.scene import Scene

DrawCutout = Callable[[tuple[int, int], np.random.Generator], "Tensor | None"]
"""((height, width) of a crop, random numbers) -> a cut-out, uint8 [4, h, w]: RGB and alpha; or None for none."""

_ROAD_CLASSES = (0, 1)  # road and sidewalk, on which things lie
_SMALLEST_SIDE = 4  # pixels of what stands on the road
_JITTER = 0.25  # of a cut-out's colours
_ATTEMPTS = 4
_EDGE_ALPHA = 128


@dataclass
class PasteConfig:
    """How cut-outs are pasted.

    Attributes:
        probability: Share of the crops that get negatives.
        count: Smallest and largest number of negatives in a crop.
        size: Smallest and largest longest side in pixels, log-uniform; geometry is preserved.
        road_share: Share of the negatives that stand on the road in the size that perspective asks for.
        metres: Smallest and largest size of those: square root of their area, log-uniform.
        shape_share: Share of the negatives that are random shapes of one colour or of a cut-out's texture.
        match_probability: Share of the negatives whose colours are drawn towards the scene's.
        blur_probability: Share of the negatives that are blurred a little.
        resample_share: Share of the negatives that get the sharpness of the scene, which may be enlarged.
        shadow_share: Share of the negatives on the road that throw a soft shadow at their feet.
        known_count: Largest number of known objects from other frames in a crop; 0 = none.
        balance: Exponent by which small negatives weigh more: a pixel counts (1024 / area)^balance; 0 = all alike.
    """

    probability: float = 0.7
    count: tuple[int, int] = (1, 4)
    size: tuple[float, float] = (16.0, 320.0)
    road_share: float = 0.0
    metres: tuple[float, float] = (0.1, 1.5)
    shape_share: float = 0.0
    match_probability: float = 0.3
    blur_probability: float = 0.3
    resample_share: float = 0.0
    shadow_share: float = 0.0
    known_count: int = 0
    balance: float = 0.0


class _Canvas(NamedTuple):
    """A layer in the making: uint8 RGB, alpha, label and weight, [h, w, 6]."""

    pixels: np.ndarray

    def put(self, cutout: np.ndarray, top: int, left: int, labels: np.ndarray | int, balance: float) -> None:
        """Lays a cut-out, float32 [h, w, 4], over what there is; what reaches beyond the canvas is cut off."""
        height, width = self.pixels.shape[:2]
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
        area = int(solid.sum())
        if area:
            names = labels if isinstance(labels, int) else labels[first:last, start:end][solid]
            below[..., 4][solid] = names
            below[..., 5][solid] = min(255, max(1, round(WEIGHT_STEP * (1024 / area) ** balance)))


def _canvas(size: tuple[int, int]) -> _Canvas:
    pixels = np.zeros((*size, 6), np.uint8)
    pixels[..., 4], pixels[..., 5] = VOID, WEIGHT_STEP
    return _Canvas(pixels)


def _layer(canvas: _Canvas) -> Layer:
    return Layer(torch.from_numpy(np.ascontiguousarray(canvas.pixels.transpose(2, 0, 1))))


def cutout_layers(draw_cutout: DrawCutout, config: PasteConfig, known: Sequence[KnownObject] = ()) -> DrawLayer:
    """Returns a source of layers of varied negatives, behind and before known objects.

    Args:
        draw_cutout: Gives the negatives.
        config: How they are pasted.
        known: Objects of known classes to paste as well.
    """

    def draw(scene: Scene, rng: np.random.Generator) -> Layer | None:
        familiar = int(rng.integers(config.known_count + 1)) if known and config.known_count else 0
        unknown = 0
        if rng.random() < config.probability:
            unknown = int(rng.integers(config.count[0], config.count[1] + 1))
        if not familiar and not unknown:
            return None
        canvas = _canvas(scene.size)
        for kind in rng.permutation([True] * familiar + [False] * unknown):
            if kind:
                _put_known(canvas, known, scene, rng)
            else:
                _put_negative(canvas, draw_cutout, config, scene, rng)
        return _layer(canvas)

    return draw


def recipe_layers(draw_cutout: DrawCutout) -> DrawLayer:
    """Returns a source of layers with one cut-out each, pasted as it is drawn, at a random position."""

    def draw(scene: Scene, rng: np.random.Generator) -> Layer | None:
        cutout = draw_cutout(scene.size, rng)
        if cutout is None:
            return None
        canvas = _canvas(scene.size)
        pixels = cutout.numpy().transpose(1, 2, 0).astype(np.float32) / 255
        canvas.put(pixels, *_anywhere(pixels, scene.size, rng), VOID, 0.0)
        return _layer(canvas)

    return draw


def _put_negative(
    canvas: _Canvas, draw_cutout: DrawCutout, config: PasteConfig, scene: Scene, rng: np.random.Generator
) -> None:
    cutout = draw_cutout(scene.size, rng)
    if cutout is None:
        return
    pixels = np.ascontiguousarray(cutout.numpy().transpose(1, 2, 0))
    if rng.random() < config.shape_share:
        pixels = _random_shape(pixels, rng)
    ground = scene.draw_ground(_ROAD_CLASSES, rng) if rng.random() < config.road_share else None
    if ground is None:
        factor = float(np.exp(rng.uniform(*np.log(config.size)))) / max(pixels.shape[:2])
    else:
        metres = float(np.exp(rng.uniform(*np.log(config.metres))))
        area = max(1, int((pixels[..., 3] >= _EDGE_ALPHA).sum()))
        side = max(_SMALLEST_SIDE, min(metres * ground.pixels_per_metre, 0.7 * min(scene.size)))
        factor = side / math.sqrt(area)
    detail = scene.detail if rng.random() < config.resample_share else (1.0, 1.0)
    varied = _vary(pixels, factor, detail, config.blur_probability, rng)
    if ground is None:
        top, left = _anywhere(varied, scene.size, rng)
    else:
        top, left = round(ground.row) - varied.shape[0], round(ground.column) - varied.shape[1] // 2
    if rng.random() < config.match_probability:
        centre = (top + varied.shape[0] / 2, left + varied.shape[1] / 2)
        around = scene.colors(*centre, max(varied.shape[:2]))
        varied[..., :3] = _matched(varied, around, float(rng.uniform(0.3, 0.9)))
    if ground is not None and rng.random() < config.shadow_share:
        shadow, down, along = _shadow(varied.shape[:2], rng)
        canvas.put(shadow, top + down, left + along, VOID, 0.0)
    canvas.put(varied, top, left, VOID, config.balance)


def _put_known(canvas: _Canvas, known: Sequence[KnownObject], scene: Scene, rng: np.random.Generator) -> None:
    """Pastes an object of a known class in the rows that it has in its own frame, where the camera would see it."""
    if scene.crop is None:
        return
    down, across = scene.crop.scale
    for _ in range(_ATTEMPTS):
        item = known[int(rng.integers(len(known)))]
        zoom = float(np.exp(rng.uniform(-0.2, 0.2)))
        height, width = round(item.pixels.shape[0] * down * zoom), round(item.pixels.shape[1] * across * zoom)
        foot, _ = scene.to_crop(float(item.top + item.pixels.shape[0]), 0.0)
        top = round(foot) - height
        if min(height, width) < _SMALLEST_SIDE or top + height // 2 < 0 or top + height // 2 >= scene.size[0]:
            continue
        pixels = cv2.resize(
            item.pixels, (width, height), interpolation=cv2.INTER_AREA if down * zoom < 1 else cv2.INTER_LINEAR
        )
        labels = cv2.resize(item.labels, (width, height), interpolation=cv2.INTER_NEAREST)
        if rng.random() < 0.5:
            pixels, labels = pixels[:, ::-1], labels[:, ::-1]
        varied = pixels.astype(np.float32) / 255
        varied[..., :3] = _recolored(varied[..., :3], 0.5 * _JITTER, rng)
        left = int(rng.integers(-width // 2, scene.size[1] - width // 2))
        canvas.put(varied, top, left, labels, 0.0)
        return


def _anywhere(pixels: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
    """Draws top and left such that the cut-out lies within the crop, where it fits."""
    return tuple(int(rng.integers(max(0, size[axis] - pixels.shape[axis]) + 1)) for axis in (0, 1))  # type: ignore[return-value]


def _vary(
    pixels: np.ndarray, factor: float, detail: tuple[float, float], blur: float, rng: np.random.Generator
) -> np.ndarray:
    """Resizes a cut-out, uint8 [h, w, 4], mirrors, recolours and blurs it; returns float32 [h, w, 4] in 0..1.

    Args:
        pixels: The cut-out.
        factor: Of its size.
        detail: Pixels for a true detail of the scene, down and across: above 1 the cut-out is made as coarse.
        blur: Probability of a blur.
        rng: Random numbers.
    """
    height, width = (max(1, round(length * factor)) for length in pixels.shape[:2])
    coarse = [max(1, round(length / max(1.0, scale))) for length, scale in zip((height, width), detail, strict=True)]
    shrinks = coarse[0] * coarse[1] < pixels.shape[0] * pixels.shape[1]
    varied = cv2.resize(pixels, (coarse[1], coarse[0]), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    if (height, width) != (coarse[0], coarse[1]):
        varied = cv2.resize(varied, (width, height), interpolation=cv2.INTER_LINEAR)
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


def _matched(pixels: np.ndarray, around: np.ndarray | None, strength: float) -> np.ndarray:
    """Draws mean and contrast of what is opaque in [h, w, 4] towards the colours [n, 3] around it."""
    colors, solid = pixels[..., :3], pixels[..., 3] > 0.5
    if around is None or not solid.any():
        return colors
    own = colors[solid]
    gain = np.clip((around.std(0) + 0.02) / (own.std(0) + 0.02), 0.5, 2)
    matched = (colors - own.mean(0)) * gain + around.mean(0)
    return np.clip(colors + strength * (matched - colors), 0, 1)


def _random_shape(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns a random polygon, box or ellipse with the texture of a cut-out, or of one colour; uint8 [h, w, 4]."""
    side = 128
    height, width = side, max(8, round(side * float(np.exp(rng.uniform(-0.9, 0.9)))))
    mask = np.zeros((height, width), np.uint8)
    kind = int(rng.integers(3))
    if kind == 0:
        corners = int(rng.integers(4, 10))
        angles = (np.arange(corners) + rng.uniform(-0.4, 0.4, corners)) * 2 * np.pi / corners
        radii = rng.uniform(0.5, 1.0, corners)
        points = np.stack([(1 + radii * np.cos(angles)) * width / 2, (1 + radii * np.sin(angles)) * height / 2], 1)
        cv2.fillPoly(mask, [points.astype(np.int32)], 255)
    elif kind == 1:
        mask[:] = 255
    else:
        cv2.ellipse(mask, (width // 2, height // 2), (width // 2, height // 2), 0, 0, 360, 255, -1)
    if rng.random() < 0.5:
        color = cv2.resize(np.ascontiguousarray(pixels[..., :3]), (width, height), interpolation=cv2.INTER_LINEAR)
    else:
        slope = np.linspace(0, 1, height, dtype=np.float32)[:, None, None] - 0.5
        base = rng.uniform(0, 255, 3).astype(np.float32) + slope * float(rng.uniform(-120, 120))
        speckle = rng.normal(0, float(rng.uniform(0, 25)), (height, width, 1)).astype(np.float32)
        color = np.clip(base + speckle, 0, 255).astype(np.uint8)
    return np.dstack([np.broadcast_to(color, (height, width, 3)), mask])


def _shadow(size: tuple[int, ...], rng: np.random.Generator) -> tuple[np.ndarray, int, int]:
    """Returns a soft dark ellipse for the feet of a cut-out of (height, width), and its place relative to it."""
    height, width = size[0], size[1]
    wide = max(3, round(width * float(rng.uniform(1.0, 1.8))))
    high = max(2, round(height * float(rng.uniform(0.1, 0.5))))
    margin = max(2, high // 2)
    alpha = np.zeros((high + 2 * margin, wide + 2 * margin), np.float32)
    cv2.ellipse(alpha, (alpha.shape[1] // 2, alpha.shape[0] // 2), (wide // 2, max(1, high // 2)), 0, 0, 360, 1.0, -1)
    alpha = cv2.GaussianBlur(alpha, (0, 0), max(0.5, margin / 2)) * float(rng.uniform(0.15, 0.45))
    color = np.zeros((*alpha.shape, 3), np.float32)
    slide = round(float(rng.uniform(-0.3, 0.3)) * width)
    return np.dstack([color, alpha]), height - alpha.shape[0] // 2, (width - alpha.shape[1]) // 2 + slide
