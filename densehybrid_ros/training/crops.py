# SPDX-License-Identifier: Apache-2.0
"""Random crops for training: scale, position, flip and colour.

Everything random about a crop is drawn first (``draw_crop``), as numbers, so that processes can prepare crops and any
number of them draws the same ones. What is computed then runs on the device that holds the pixels, and for a whole
batch at once where that saves kernel launches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from densehybrid_ros.datasets.taxonomy import VOID
from densehybrid_ros.datasets.training_frames import OVERVIEW_STEP, Overview

_LUMINANCE = (0.299, 0.587, 0.114)
_PADDING = 0.4  # a plain grey where a shrunken frame does not fill the crop
_SHARPEST, _SHARPENING_BLUR = 2.0, 1.2
_SMALLEST_AREA = 8  # pixels of the overview, below which a class is hardly in a frame
_FLATTENING = 0.5  # 0: all classes alike; 1: each by the inverse of its pixels


@dataclass
class CropConfig:
    """How crops are drawn.

    Attributes:
        height: Rows of a crop.
        width: Columns of a crop.
        scale: Range of the log-uniform scale of the frame.
        rare_share: Share of the crops that are laid around a pixel of a class, rare classes more often; 0 = none.
        color_jitter: Strength of brightness, contrast, saturation and gamma changes; 0 = none.
        hue_jitter: Largest turn of the colours around the grey axis, in degrees; 0 = none, 180 = any.
        blur_probability: Share of the crops that are blurred a little, as a cheap lens or motion would.
        sharpen_probability: Share of the crops that are sharpened, as many cameras do.
        noise: Largest standard deviation of the pixel noise that is added, in 0..1.
    """

    height: int = 512
    width: int = 512
    scale: tuple[float, float] = (0.5, 2.0)
    rare_share: float = 0.0
    color_jitter: float = 0.3
    hue_jitter: float = 0.0
    blur_probability: float = 0.15
    sharpen_probability: float = 0.0
    noise: float = 0.02


@dataclass(frozen=True)
class Photometry:
    """Colour changes of an image."""

    # Brightness, contrast, saturation and gamma; ones change nothing
    factors: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    blur: float = 0.0  # Deviation of a Gaussian blur in pixels; 0 = none
    sharpen: float = 0.0  # How much of what a blur of 1.2 pixels takes away is added on top; 0 = none
    noise: float = 0.0  # Deviation of pixel noise; 0 = none
    noise_seed: int = 0  # Its seed
    hue: float = 0.0  # Turn of the colours around the grey axis, in degrees


@dataclass(frozen=True)
class Crop:
    """A crop in numbers: a window of the frame, resized to ``size`` (height, width) and put at ``corner``."""

    rows: slice
    columns: slice
    size: tuple[int, int]
    corner: tuple[int, int]
    flip: bool
    photometry: Photometry

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the crop for a pixel of the frame: down, across."""
        rows, columns = self.rows.stop - self.rows.start, self.columns.stop - self.columns.start
        return self.size[0] / rows, self.size[1] / columns


class CropContext(NamedTuple):
    """What a crop shows, known on the CPU before its pixels are computed: what is pasted may be made to fit it."""

    size: tuple[int, int]  # (height, width) of the crop in pixels
    crop: Crop  # Where it lies in its frame
    overview: Overview  # The frame in a fourth of its size

    def row(self, row: float) -> float:
        """Turns a row of the frame into one of the crop."""
        return (row - self.crop.rows.start) * self.crop.scale[0] + self.crop.corner[0]

    def column(self, column: float) -> float:
        """Turns a column of the frame into one of the crop."""
        along = (column - self.crop.columns.start) * self.crop.scale[1]
        return self.crop.corner[1] + (self.crop.size[1] - 1 - along if self.crop.flip else along)

    def overview_index(self, row: int, column: int) -> tuple[int, int]:
        """Turns row and column of the frame into those of the overview."""
        height, width = self.overview.labels.shape
        return min(row // OVERVIEW_STEP, height - 1), min(column // OVERVIEW_STEP, width - 1)

    def colors(self, row: float, column: float, reach: float) -> np.ndarray:
        """Returns the colours of the frame around a point of the crop, float32 [n, 3] in 0..1; [0, 3] beside it."""
        down, across = self.crop.scale
        along = column - self.crop.corner[1]
        if self.crop.flip:
            along = self.crop.size[1] - 1 - along
        at = ((row - self.crop.corner[0]) / down + self.crop.rows.start, along / across + self.crop.columns.start)
        parts = []
        for place, scale, length in zip(at, (down, across), self.overview.labels.shape, strict=True):
            around = max(1.0, reach / scale / OVERVIEW_STEP)
            centre = place / OVERVIEW_STEP
            parts.append(slice(max(0, int(centre - around)), min(length, int(centre + around) + 1)))
        return self.overview.colors[tuple(parts)].reshape(-1, 3).astype(np.float32) / 255


def draw_crop(
    frame_size: tuple[int, int], config: CropConfig, rng: np.random.Generator, focus: tuple[int, int] | None = None
) -> Crop:
    """Draws a crop from a frame of (height, width); with ``focus`` it shows that row and column of the frame."""
    scale = float(np.exp(rng.uniform(*np.log(config.scale))))
    around = focus or (None, None)
    rows, height, top = _window(frame_size[0], config.height, scale, rng, around[0])
    columns, width, left = _window(frame_size[1], config.width, scale, rng, around[1])
    flip = bool(rng.random() < 0.5)
    return Crop(rows, columns, (height, width), (top, left), flip, draw_photometry(config, rng))


def draw_photometry(config: CropConfig, rng: np.random.Generator) -> Photometry:
    """Draws the colour changes of one image."""
    brightness, contrast, saturation, gamma = np.exp(config.color_jitter * rng.uniform(-1, 1, 4)).tolist()
    blur = float(rng.uniform(0.4, 1.2)) if rng.random() < config.blur_probability else 0.0
    sharpen = 0.0
    if not blur and config.sharpen_probability > 0 and rng.random() < config.sharpen_probability:
        sharpen = float(rng.uniform(0.3, _SHARPEST))
    noise = float(rng.uniform(0, config.noise)) if config.noise > 0 and rng.random() < 0.5 else 0.0
    noise_seed = int(rng.integers(2**62))
    hue = float(rng.uniform(-1, 1)) * config.hue_jitter if config.hue_jitter > 0 else 0.0
    factors = (brightness, contrast, saturation, gamma)
    return Photometry(factors, blur, sharpen, noise, noise_seed, hue)


def cut_batch(
    windows: Sequence[tuple[Tensor, Tensor]], crops: Sequence[Crop], config: CropConfig
) -> tuple[Tensor, Tensor]:
    """Resizes, pads, flips and recolours windows of frames, uint8 [3, r, c] and uint8 [r, c], one a crop.

    Returns:
        Images, float32 [B, 3, h, w] in 0..1, and labels, uint8 [B, h, w], void where a shrunken frame does not fill
        them.
    """
    shape = (len(crops), config.height, config.width)
    device = windows[0][0].device
    images = torch.full((shape[0], 3, *shape[1:]), _PADDING, device=device)
    labels = torch.full(shape, VOID, dtype=torch.uint8, device=device)
    for index, ((image, label), crop) in enumerate(zip(windows, crops, strict=True)):
        rows, columns = (slice(start, start + size) for start, size in zip(crop.corner, crop.size, strict=True))
        patch, patch_label = image[None].float(), label[None, None]
        if patch.shape[2:] != crop.size:
            patch = functional.interpolate(patch, crop.size, mode="bilinear", antialias=True, align_corners=False)
            patch_label = functional.interpolate(patch_label, crop.size, mode="nearest-exact")
        images[index, :, rows, columns] = (patch[0].flip(-1) if crop.flip else patch[0]) / 255
        labels[index, rows, columns] = patch_label[0, 0].flip(-1) if crop.flip else patch_label[0, 0]
    return recolor(images, [crop.photometry for crop in crops]), labels


def _window(
    length: int, crop: int, scale: float, rng: np.random.Generator, focus: int | None
) -> tuple[slice, int, int]:
    """Chooses, along one axis, the source range, and length and start in the crop."""
    source = min(length, max(1, round(crop / scale)))
    target = crop if source < length else min(crop, max(1, round(length * scale)))
    first, last = 0, length - source
    if focus is not None:
        first, last = max(first, focus - source + 1), min(last, focus)
    start, corner = int(rng.integers(first, last + 1)), int(rng.integers(crop - target + 1))
    return slice(start, start + source), target, corner


def recolor(images: Tensor, changes: Sequence[Photometry]) -> Tensor:
    """Changes colours, blurs, sharpens and adds noise; float32 [B, 3, h, w] in 0..1."""
    factors = np.array([change.factors for change in changes], np.float32)
    if (factors != 1).any():
        parts = torch.from_numpy(factors).to(images.device, non_blocking=True).view(-1, 4, 1, 1, 1).unbind(1)
        brightness, contrast, saturation, gamma = parts
        images = images.clamp(0, 1) ** gamma * brightness
        mean = images.mean((1, 2, 3), keepdim=True)
        images = (images - mean) * contrast + mean
        grey = (images * images.new_tensor(_LUMINANCE).view(3, 1, 1)).sum(1, keepdim=True)
        images = grey + (images - grey) * saturation
    if any(change.hue for change in changes):
        turns = np.stack([_hue_turn(change.hue) for change in changes])
        images = torch.einsum("bij,bjhw->bihw", torch.from_numpy(turns).to(images.device, non_blocking=True), images)
    for index, change in enumerate(changes):
        if change.blur > 0:
            images[index] = gaussian_blur(images[index], change.blur)
        if change.sharpen > 0:
            removed = images[index] - gaussian_blur(images[index], _SHARPENING_BLUR)
            images[index].add_(removed, alpha=change.sharpen)
        if change.noise > 0:
            generator = torch.Generator(images.device).manual_seed(change.noise_seed)
            noise = torch.randn(images[index].shape, generator=generator, device=images.device)
            images[index].add_(noise, alpha=change.noise)
    return images.clamp_(0, 1)


def _hue_turn(degrees: float) -> np.ndarray:
    """The matrix that turns RGB around the grey axis, float32 [3, 3]; greys stay, and so does the mean of a colour."""
    angle = math.radians(degrees)
    along, across = (1 - math.cos(angle)) / 3, math.sin(angle) / math.sqrt(3)
    turn = np.array([[0, -across, across], [across, 0, -across], [-across, across, 0]])
    return (math.cos(angle) * np.eye(3) + along + turn).astype(np.float32)


def gaussian_blur(maps: Tensor, sigma: float) -> Tensor:
    """Blurs [C, h, w] with a separable Gaussian of ``sigma`` pixels, repeating the border."""
    radius = max(1, round(3 * sigma))
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = torch.from_numpy((weights / weights.sum()).astype(np.float32)).to(maps.device, non_blocking=True)
    channels = maps.shape[0]
    padded = functional.pad(maps.unsqueeze(0), (radius,) * 4, mode="replicate")
    rows = functional.conv2d(padded, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return functional.conv2d(rows, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)[0]


class RareClasses:
    """Frames and pixels by class, so that crops can be laid around rare ones more often.

    Args:
        labels: uint8 [N, h, w], train ids of the frames' overviews.
    """

    def __init__(self, labels: np.ndarray) -> None:
        self.labels = labels
        counts = np.stack([np.bincount(frame.ravel(), minlength=256)[:VOID] for frame in labels])
        self._frames = {
            name: np.flatnonzero(counts[:, name] >= _SMALLEST_AREA) for name in np.flatnonzero(counts.sum(0)).tolist()
        }
        self._frames = {name: frames for name, frames in self._frames.items() if len(frames)}
        if self._frames:
            pixels = np.array([counts[:, name].sum() for name in self._frames], float)
            weights = (pixels / pixels.sum()) ** -_FLATTENING
            self._cumulative = np.cumsum(weights / weights.sum())

    def draw(self, rng: np.random.Generator) -> tuple[int, int, int]:
        """Draws a class, a frame that has it and a pixel of it: (frame, row, column) of the overview."""
        if not self._frames:
            return int(rng.integers(len(self.labels))), 0, 0
        names = list(self._frames)
        name = names[min(int(np.searchsorted(self._cumulative, rng.random(), side="right")), len(names) - 1)]
        frames = self._frames[name]
        index = int(frames[int(rng.integers(len(frames)))])
        rows, columns = np.nonzero(self.labels[index] == name)
        chosen = int(rng.integers(len(rows)))
        return index, int(rows[chosen]), int(columns[chosen])
