"""Appearances that a scene might have had: other paint, other light, another camera.

A network that has seen two thousand frames knows how their things are painted and what light falls on them, and takes
what looks otherwise for unknown. These changes spread what known things may look like. They are drawn as numbers and a
seed, like all of a crop, and computed on the device that holds the pixels, before anything is pasted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_CELLS = (4, 8)  # a crop's cells, down and across, in each of which a class has a paint of its own
_VALUES = 256  # of a label
_SHARED, _OWN = 0.6, 0.6  # of a class's paint is the same in all cells; is the cell's
_BRIGHTNESS = 0.6  # largest logarithm of a paint's brightness, at strength 1, for half a turn of its hue
_SHADOWS, _DARKEST, _BRIGHTEST = 0.7, 0.8, 1.5  # share of shadows among lights; how much light they take; spots add


@dataclass(frozen=True)
class Appearance:
    """What becomes of one crop; the default changes nothing.

    Attributes:
        seed: Of what is drawn on the device.
        paint: How far hue and brightness of each class's regions are changed, each in its own way: 1 turns hues by up
            to half a circle and more.
        lit: Whether a shadow or a spot of light is laid over the scene, soft or with hard edges.
        tint: Largest logarithm of gain and gamma of each channel.
        filter: Share of the crop, 0 to 1, that a random filter of 3 x 3 pixels over all channels takes.
    """

    seed: int = 0
    paint: float = 0.0
    lit: bool = False
    tint: float = 0.0
    filter: float = 0.0


def change_appearance(images: Tensor, labels: Tensor, changes: Sequence[Appearance]) -> Tensor:
    """Makes images look as their scenes might have looked.

    Args:
        images: float32 [B, 3, h, w], RGB in 0..1; changed in place.
        labels: uint8 [B, h, w], whose regions are painted.
        changes: One an image.

    Returns:
        ``images``; values may lie outside 0..1.
    """
    for index, change in enumerate(changes):
        rng = np.random.default_rng(change.seed)
        image = images[index]
        if change.paint > 0:
            image = _painted(image, labels[index], change.paint, rng)
        if change.filter > 0:
            image = _filtered(image, change.filter, rng)
        if change.lit:
            image = _lit(image, rng)
        if change.tint > 0:
            gamma, gain = (_on(np.exp(change.tint * rng.uniform(-1, 1, (3, 1, 1))), image) for _ in range(2))
            image = image.clamp(0, 1) ** gamma * gain
        images[index] = image
    return images


def _on(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).to(like.device, non_blocking=True)


def _painted(image: Tensor, labels: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Turns hue and changes brightness, in every cell of the crop for every class alone."""
    rows, columns = _CELLS
    shared, own = rng.uniform(-1, 1, (2, _VALUES, 1)), rng.uniform(-1, 1, (2, _VALUES, rows * columns))
    table = _on((_SHARED * shared + _OWN * own).reshape(2, -1), image)
    height, width = labels.shape
    down, across = (float(part) for part in rng.random(2))  # the cells lie elsewhere in each crop
    row = ((torch.arange(height, device=image.device) / height + down) % 1 * rows).long()
    column = ((torch.arange(width, device=image.device) / width + across) % 1 * columns).long()
    paint = labels.long() * (rows * columns) + row[:, None] * columns + column
    turn, brightness = table[:, paint]
    angle = turn * (math.pi * strength)
    grey = image.mean(0, keepdim=True)
    red, green, blue = image
    sideways = torch.stack([blue - green, red - blue, green - red]) / math.sqrt(3)
    turned = grey + (image - grey) * torch.cos(angle) + sideways * torch.sin(angle)
    return turned * torch.exp(brightness * (_BRIGHTNESS * strength))


def _lit(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Lays a shadow or a spot of light over the image, where a smooth random field is high."""
    shape = (1, 1, int(rng.integers(3, 9)), int(rng.integers(3, 13)))
    field = functional.interpolate(
        _on(rng.normal(size=shape), image), (image.shape[1], image.shape[2]), mode="bicubic", align_corners=True
    )[0]
    sharpness = float(np.exp(rng.uniform(0.0, np.log(100.0))))
    inside = torch.sigmoid(sharpness * (field - float(rng.uniform(-0.5, 1.0))))
    if rng.random() < _SHADOWS:
        return image * (1 - float(rng.uniform(0.2, _DARKEST)) * inside)
    return image * (1 + float(rng.uniform(0.2, _BRIGHTEST)) * inside)


def _filtered(image: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Mixes the image with a random filter's result of its own mean and contrast (RandConv: Xu et al., ICLR 2021)."""
    kernel = _on(rng.normal(size=(3, 3, 3, 3)), image)
    filtered = functional.conv2d(functional.pad(image.unsqueeze(0), (1,) * 4, mode="replicate"), kernel)[0]
    mean, contrast = filtered.mean((1, 2), keepdim=True), filtered.std((1, 2), keepdim=True)
    own_mean, own_contrast = image.mean((1, 2), keepdim=True), image.std((1, 2), keepdim=True)
    filtered = (filtered - mean) / (contrast + 1e-6) * own_contrast + own_mean
    return image + share * (filtered - image)
