"""Mixed-content images, equation (18): negatives pasted into inlier crops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from densehybrid_ros.datasets.taxonomy import VOID
from densehybrid_ros.training.crops import Batch, CropConfig, distort, gaussian_blur
from densehybrid_ros.training.losses import INLIER, NEITHER, OUTLIER

_OPAQUE, _CLEAR = (
    0.5,
    0.05,
)  # alpha above: the object; below: the scene; between: a mixed border that teaches nothing


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
    """How negatives are pasted.

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


def without_negatives(batch: Batch) -> MixedBatch:
    """Returns the batch with its origin mask: labelled pixels are inliers, void ones neither."""
    origin = torch.where(batch.labels == VOID, NEITHER, INLIER).to(torch.uint8)
    return MixedBatch(batch.images, batch.labels, origin)


def paste_negatives(batch: Batch, cutouts: list[Tensor], config: PasteConfig, rng: np.random.Generator) -> MixedBatch:
    """Pastes random cut-outs into a batch, in place: x' = (1 - m) x+ + m x-.

    Args:
        batch: Inlier crops.
        cutouts: uint8 [4, h, w] with alpha, on the batch's device.
        config: How many, how large.
        rng: Source of every random number.
    """
    mixed = without_negatives(batch)
    for index in range(len(mixed.images)):
        if not cutouts or rng.random() >= config.probability:
            continue
        for _ in range(int(rng.integers(config.count[0], config.count[1] + 1))):
            cutout = cutouts[int(rng.integers(len(cutouts)))]
            _paste(mixed, index, _vary(cutout, config, rng), config, rng)
    return mixed


def _vary(cutout: Tensor, config: PasteConfig, rng: np.random.Generator) -> Tensor:
    """Resizes, mirrors and recolours a cut-out; returns float32 [4, h, w] in 0..1."""
    side = float(np.exp(rng.uniform(*np.log(config.size))))
    factor = side / max(cutout.shape[1:])
    size = (max(1, round(cutout.shape[1] * factor)), max(1, round(cutout.shape[2] * factor)))
    varied = functional.interpolate(
        cutout.unsqueeze(0).float() / 255, size, mode="bilinear", antialias=True, align_corners=False
    )[0].clamp(0, 1)
    if rng.random() < 0.5:
        varied = varied.flip(-1)
    colors = distort(varied[:3], CropConfig(color_jitter=0.25, blur_probability=0.0, noise=0.0), rng)
    varied = torch.cat([colors, varied[3:]])
    if rng.random() < config.blur_probability:
        varied = gaussian_blur(varied, float(rng.uniform(0.4, 1.5)))
    return varied


def _paste(mixed: MixedBatch, index: int, cutout: Tensor, config: PasteConfig, rng: np.random.Generator) -> None:
    height, width = mixed.labels.shape[1:]
    rows, columns = min(cutout.shape[1], height), min(cutout.shape[2], width)
    cutout = cutout[:, :rows, :columns]
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    window = (index, slice(top, top + rows), slice(left, left + columns))
    scene = mixed.images[index, :, window[1], window[2]]
    color, alpha = cutout[:3], cutout[3]
    if rng.random() < config.match_probability:
        color = _match(color, scene, float(rng.uniform(0.3, 0.9)))
    mixed.images[index, :, window[1], window[2]] = (1 - alpha) * scene + alpha * color
    pasted, touched = alpha > _OPAQUE, alpha > _CLEAR
    mixed.labels[window] = torch.where(touched, VOID, mixed.labels[window])
    border = torch.where(touched, NEITHER, mixed.origin[window])
    mixed.origin[window] = torch.where(pasted, OUTLIER, border)


def _match(color: Tensor, scene: Tensor, strength: float) -> Tensor:
    """Draws mean and contrast of a cut-out towards those of the scene that it covers."""
    means = [part.mean((1, 2), keepdim=True) for part in (color, scene)]
    deviations = [part.std((1, 2), correction=0, keepdim=True) + 0.02 for part in (color, scene)]
    matched = (color - means[0]) * (deviations[1] / deviations[0]).clamp(0.5, 2) + means[1]
    return (color + strength * (matched - color)).clamp(0, 1)
