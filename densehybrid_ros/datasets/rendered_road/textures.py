"""Textures with filtered levels, and the noise that they are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np


@dataclass(eq=False)
class Texture:
    """A picture with optional coverage and lazily halved copies of it, each axis on its own.

    Attributes:
        pixels: uint8 [H, W, 3] RGB, or [H, W, 4] with coverage (0 leaves the background visible).
        levels: Copies by the number of halvings across and down.
    """

    pixels: np.ndarray
    levels: dict[tuple[int, int], np.ndarray] = field(default_factory=dict, repr=False)

    def level(self, across: int, down: int) -> np.ndarray:
        """Returns the picture with its width halved ``across`` times and its height ``down`` times."""
        height, width = self.pixels.shape[:2]
        across = min(max(across, 0), max(width.bit_length() - 2, 0))
        down = min(max(down, 0), max(height.bit_length() - 2, 0))
        key = (across, down)
        if key not in self.levels:
            size = (max(width >> across, 1), max(height >> down, 1))
            self.levels[key] = (
                self.pixels if key == (0, 0) else cv2.resize(self.pixels, size, interpolation=cv2.INTER_AREA)
            )
        return self.levels[key]


def fractal_noise(
    rng: np.random.Generator, height: int, width: int, cells: int = 4, octaves: int = 5, gain: float = 0.6
) -> np.ndarray:
    """Returns tileable float32 [height, width] noise with mean 0 and standard deviation 1.

    Args:
        rng: Source of randomness.
        height: Rows.
        width: Columns.
        cells: Grid cells of the coarsest octave along the shorter axis.
        octaves: How many octaves are added, each of half the cell size.
        gain: Weight of an octave in terms of the one before.
    """
    total = np.zeros((height, width), np.float32)
    weight = 1.0
    shorter = min(height, width)
    for octave in range(octaves):
        count = cells << octave
        if count > shorter:
            break
        rows, columns = count * height // shorter, count * width // shorter
        grid = rng.standard_normal((rows, columns)).astype(np.float32)
        padded = cv2.copyMakeBorder(grid, 2, 2, 2, 2, cv2.BORDER_WRAP)
        size = (width * (columns + 4) // columns, height * (rows + 4) // rows)
        large = cv2.resize(padded, size, interpolation=cv2.INTER_CUBIC)
        top, left = height * 2 // rows, width * 2 // columns
        total += weight * large[top : top + height, left : left + width]
        weight *= gain
    total -= total.mean()
    return total / max(float(total.std()), 1e-6)


def tinted(luminance: np.ndarray, color: tuple[float, float, float], contrast: float) -> np.ndarray:
    """Colours noise (mean 0): returns uint8 [H, W, 3] of ``color`` * (1 + contrast * luminance)."""
    factor = 1.0 + contrast * luminance[..., None]
    return np.clip(factor * np.asarray(color, np.float32), 0, 255).astype(np.uint8)


@lru_cache(maxsize=32)
def grain(variant: int, strength: float = 0.10, cells: int = 4) -> Texture:
    """Returns grey noise around 128 that is multiplied onto surfaces so that none is clean."""
    rng = np.random.default_rng(7_000 + variant)
    noise = fractal_noise(rng, 128, 128, cells=cells, octaves=6, gain=0.75)
    grey = np.clip(128 * (1 + strength * noise), 0, 255).astype(np.uint8)
    return Texture(np.repeat(grey[..., None], 3, axis=2))
