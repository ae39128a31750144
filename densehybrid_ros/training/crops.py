"""Random crops for training: scale, position, flip and colour, computed on the device that holds the frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from densehybrid_ros.datasets.taxonomy import VOID
from densehybrid_ros.datasets.training_frames import FrameStore

_LUMINANCE = (0.299, 0.587, 0.114)
_PADDING = 0.4  # a plain grey where a shrunken frame does not fill the crop


class Batch(NamedTuple):
    """A batch of crops.

    Attributes:
        images: float32 [B, 3, h, w], RGB in 0..1.
        labels: uint8 [B, h, w], train ids, 255 = void.
    """

    images: Tensor
    labels: Tensor


@dataclass
class CropConfig:
    """How crops are drawn.

    Attributes:
        height: Rows of a crop.
        width: Columns of a crop.
        scale: Range of the log-uniform scale of the frame.
        color_jitter: Strength of brightness, contrast, saturation and gamma changes; 0 = none.
        blur_probability: Share of the crops that are blurred a little, as a cheap lens or motion would.
        noise: Largest standard deviation of the pixel noise that is added, in 0..1.
    """

    height: int = 512
    width: int = 512
    scale: tuple[float, float] = (0.5, 2.0)
    color_jitter: float = 0.3
    blur_probability: float = 0.15
    noise: float = 0.02


def random_crops(store: FrameStore, indices: np.ndarray, config: CropConfig, rng: np.random.Generator) -> Batch:
    """Draws one crop from each frame that ``indices`` names."""
    pairs = [random_crop(store.images[i], store.labels[i], config, rng) for i in indices.tolist()]
    return Batch(torch.stack([image for image, _ in pairs]), torch.stack([label for _, label in pairs]))


def random_crop(image: Tensor, label: Tensor, config: CropConfig, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draws one crop from a frame.

    Args:
        image: uint8 [3, H, W].
        label: uint8 [H, W].
        config: How.
        rng: Source of every random number, so that a seed repeats a run.

    Returns:
        float32 [3, h, w] in 0..1 and uint8 [h, w]; void where the shrunken frame does not fill the crop.
    """
    scale = float(np.exp(rng.uniform(*np.log(config.scale))))
    rows, top, height, top_out = _window(image.shape[1], config.height, scale, rng)
    columns, left, width, left_out = _window(image.shape[2], config.width, scale, rng)
    window = (slice(top, top + rows), slice(left, left + columns))
    patch = image[:, window[0], window[1]].unsqueeze(0).float() / 255
    patch = functional.interpolate(patch, (height, width), mode="bilinear", antialias=True, align_corners=False)[0]
    patch_label = label[window].unsqueeze(0).unsqueeze(0)
    patch_label = functional.interpolate(patch_label, (height, width), mode="nearest-exact")[0, 0]
    if (height, width) != (config.height, config.width):
        canvas = patch.new_full((3, config.height, config.width), _PADDING)
        canvas[:, top_out : top_out + height, left_out : left_out + width] = patch
        canvas_label = patch_label.new_full((config.height, config.width), VOID)
        canvas_label[top_out : top_out + height, left_out : left_out + width] = patch_label
        patch, patch_label = canvas, canvas_label
    if rng.random() < 0.5:
        patch, patch_label = patch.flip(-1), patch_label.flip(-1)
    return distort(patch, config, rng), patch_label


def _window(length: int, crop: int, scale: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Chooses, along one axis, the source length and start and the length and start in the crop."""
    source = min(length, max(1, round(crop / scale)))
    target = crop if source < length else min(crop, max(1, round(length * scale)))
    return source, int(rng.integers(length - source + 1)), target, int(rng.integers(crop - target + 1))


def distort(image: Tensor, config: CropConfig, rng: np.random.Generator) -> Tensor:
    """Changes brightness, contrast, saturation and gamma, and now and then blurs and adds noise; stays in 0..1."""
    strength = config.color_jitter
    if strength > 0:
        brightness, contrast, saturation, gamma = np.exp(rng.uniform(-strength, strength, 4))
        weights = image.new_tensor(_LUMINANCE).view(3, 1, 1)
        image = image.clamp(0, 1) ** float(gamma) * float(brightness)
        mean = image.mean()
        image = (image - mean) * float(contrast) + mean
        grey = (image * weights).sum(0, keepdim=True)
        image = grey + (image - grey) * float(saturation)
    if rng.random() < config.blur_probability:
        image = gaussian_blur(image, float(rng.uniform(0.4, 1.2)))
    if config.noise > 0 and rng.random() < 0.5:
        generator = torch.Generator(image.device).manual_seed(int(rng.integers(2**62)))
        noise = torch.randn(image.shape, generator=generator, device=image.device, dtype=image.dtype)
        image = image + noise * float(rng.uniform(0, config.noise))
    return image.clamp(0, 1)


def gaussian_blur(maps: Tensor, sigma: float) -> Tensor:
    """Blurs [C, h, w] with a separable Gaussian of ``sigma`` pixels, repeating the border."""
    radius = max(1, round(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, device=maps.device, dtype=maps.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    channels = maps.shape[0]
    padded = functional.pad(maps.unsqueeze(0), (radius,) * 4, mode="replicate")
    rows = functional.conv2d(padded, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return functional.conv2d(rows, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)[0]
