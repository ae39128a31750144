"""Mixed-content images, equation (18): negatives pasted into inlier crops.

The negatives of a crop are drawn and put together beforehand, on the CPU, as one layer with alpha; a batch of layers
is then laid over a batch of crops on the device, in a handful of kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.datasets.taxonomy import VOID
from densehybrid_ros.training.crops import Batch, CropConfig, draw_photometry, recolor
from densehybrid_ros.training.losses import INLIER, NEITHER, OUTLIER

# Alpha above: the object; below: the scene; between: a mixed border that teaches nothing.
_OPAQUE, _CLEAR = 0.5, 0.05
_COLORS = CropConfig(color_jitter=0.25, blur_probability=0.0, noise=0.0)


class MixedBatch(NamedTuple):
    """A batch of mixed-content images.

    Attributes:
        images: float32 [B, 3, h, w], RGB in 0..1.
        labels: uint8 [B, h, w], train ids; 255 = void, and on everything pasted.
        origin: uint8 [B, h, w]: 0 inlier, 1 outlier, 255 neither (void of the scene, mixed borders).
    """

    images: Tensor
    labels: Tensor
    origin: Tensor


@dataclass
class PasteConfig:
    """How cut-outs are pasted.

    Attributes:
        probability: Share of the crops that get any.
        count: Smallest and largest number in a crop.
        size: Smallest and largest longest side in pixels, log-uniform; geometry is preserved.
        match_probability: Share of the negatives whose colours are drawn towards the scene's.
        blur_probability: Share of the negatives that are blurred a little.
    """

    probability: float = 0.7
    count: tuple[int, int] = (1, 4)
    size: tuple[float, float] = (16.0, 320.0)
    match_probability: float = 0.3
    blur_probability: float = 0.3


class Match(NamedTuple):
    """A part of a layer whose colours are to be drawn towards the scene's, by ``strength`` in 0..1."""

    rows: slice
    columns: slice
    strength: float


class Layer(NamedTuple):
    """The negatives of one crop.

    Attributes:
        pixels: uint8 [4, h, w], RGB and alpha (255 = covers the scene), of the size of the crop.
        matches: What is adapted to the scene.
    """

    pixels: Tensor
    matches: tuple[Match, ...] = ()


DrawLayer = Callable[[tuple[int, int], np.random.Generator], "Layer | None"]
"""((height, width) of a crop, random numbers) -> its negatives, or None for a crop without any."""


DrawCutout = Callable[[tuple[int, int], np.random.Generator], "Tensor | None"]
"""The same for one cut-out, uint8 [4, h, w]: RGB and alpha."""


def cutout_layers(draw_cutout: DrawCutout, config: PasteConfig) -> DrawLayer:
    """Returns a source of layers that hold cut-outs which are resized, mirrored, recoloured and blurred at random."""

    def draw(size: tuple[int, int], rng: np.random.Generator) -> Layer | None:
        if rng.random() >= config.probability:
            return None
        canvas = np.zeros((*size, 4), np.float32)
        matches = []
        for _ in range(int(rng.integers(config.count[0], config.count[1] + 1))):
            cutout = draw_cutout(size, rng)
            if cutout is None:
                continue
            rows, columns = _put(canvas, _vary(cutout, config, rng), rng)
            if rng.random() < config.match_probability:
                matches.append(Match(rows, columns, float(rng.uniform(0.3, 0.9))))
        return Layer(_as_bytes(canvas), tuple(matches))

    return draw


def recipe_layers(draw_cutout: DrawCutout) -> DrawLayer:
    """Returns a source of layers with one cut-out each, pasted as it is drawn, at a random position."""

    def draw(size: tuple[int, int], rng: np.random.Generator) -> Layer | None:
        cutout = draw_cutout(size, rng)
        if cutout is None:
            return None
        canvas = np.zeros((*size, 4), np.float32)
        _put(canvas, cutout.numpy().transpose(1, 2, 0).astype(np.float32) / 255, rng)
        return Layer(_as_bytes(canvas))

    return draw


def without_negatives(batch: Batch) -> MixedBatch:
    """Returns the batch with its origin mask: labelled pixels are inliers, void ones neither."""
    origin = torch.where(batch.labels == VOID, NEITHER, INLIER).to(torch.uint8)
    return MixedBatch(batch.images, batch.labels, origin)


def void_as_negatives(batch: Batch) -> MixedBatch:
    """Returns the batch with its void pixels as the outliers, as the void classifier wants them."""
    origin = torch.where(batch.labels == VOID, OUTLIER, INLIER).to(torch.uint8)
    return MixedBatch(batch.images, batch.labels, origin)


def lay_over(batch: Batch, layers: Sequence[Layer | None]) -> MixedBatch:
    """Lays each crop's negatives over it: x' = (1 - m) x+ + m x-.

    Args:
        batch: Inlier crops.
        layers: One a crop.
    """
    mixed = without_negatives(batch)
    chosen = [(index, layer) for index, layer in enumerate(layers) if layer is not None]
    if not chosen:
        return mixed
    device = batch.images.device
    pixels = torch.stack([layer.pixels.to(device, non_blocking=True) for _, layer in chosen]).float() / 255
    where = torch.tensor([index for index, _ in chosen], device=device)
    scenes = mixed.images[where]
    for index, (_, layer) in enumerate(chosen):
        for match in layer.matches:
            part = (index, slice(None), match.rows, match.columns)
            pixels[part][:3] = _match(pixels[part], scenes[part], match.strength)
    color, alpha = pixels[:, :3], pixels[:, 3:]
    pasted, touched = alpha[:, 0] > _OPAQUE, alpha[:, 0] > _CLEAR
    mixed.images[where] = (1 - alpha) * scenes + alpha * color
    mixed.labels[where] = torch.where(touched, VOID, mixed.labels[where])
    border = torch.where(touched, NEITHER, mixed.origin[where])
    mixed.origin[where] = torch.where(pasted, OUTLIER, border)
    return mixed


def _vary(cutout: Tensor, config: PasteConfig, rng: np.random.Generator) -> np.ndarray:
    """Resizes, mirrors, recolours and blurs a cut-out; returns float32 [h, w, 4] in 0..1."""
    side = float(np.exp(rng.uniform(*np.log(config.size))))
    factor = side / max(cutout.shape[1:])
    size = (max(1, round(cutout.shape[2] * factor)), max(1, round(cutout.shape[1] * factor)))
    pixels = np.ascontiguousarray(cutout.numpy().transpose(1, 2, 0))
    varied = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    if rng.random() < 0.5:
        varied = varied[:, ::-1]
    varied = varied.astype(np.float32) / 255
    image = torch.from_numpy(varied[..., :3].transpose(2, 0, 1).copy())
    varied[..., :3] = recolor(image.unsqueeze(0), [draw_photometry(_COLORS, rng)])[0].numpy().transpose(1, 2, 0)
    if rng.random() < config.blur_probability:
        sigma = float(rng.uniform(0.4, 1.5))
        varied = cv2.GaussianBlur(varied, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return varied


def _put(canvas: np.ndarray, cutout: np.ndarray, rng: np.random.Generator) -> tuple[slice, slice]:
    """Lays a cut-out over a canvas with alpha, in place, at a random position; returns its rows and columns."""
    height, width = canvas.shape[:2]
    cutout = cutout[:height, :width]
    top = int(rng.integers(height - cutout.shape[0] + 1))
    left = int(rng.integers(width - cutout.shape[1] + 1))
    rows, columns = slice(top, top + cutout.shape[0]), slice(left, left + cutout.shape[1])
    below, alpha = canvas[rows, columns], cutout[..., 3:]
    together = alpha + (1 - alpha) * below[..., 3:]
    color = alpha * cutout[..., :3] + (1 - alpha) * below[..., 3:] * below[..., :3]
    below[..., :3] = color / np.maximum(together, 1e-6)
    below[..., 3:] = together
    return rows, columns


def _as_bytes(canvas: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray((canvas * 255).round().astype(np.uint8).transpose(2, 0, 1)))


def _match(pixels: Tensor, scene: Tensor, strength: float) -> Tensor:
    """Draws mean and contrast of what is opaque in [4, h, w] towards the scene [3, h, w] that it covers."""
    color, weight = pixels[:3], pixels[3:]
    total = weight.sum().clamp(min=1e-6)
    means = [(part * weight).sum((1, 2), keepdim=True) / total for part in (color, scene)]
    deviations = [
        ((part - mean).square() * weight).sum((1, 2), keepdim=True).div(total).sqrt() + 0.02
        for part, mean in zip((color, scene), means, strict=True)
    ]
    matched = (color - means[0]) * (deviations[1] / deviations[0]).clamp(0.5, 2) + means[1]
    return (color + strength * (matched - color)).clamp(0, 1)
