# SPDX-License-Identifier: Apache-2.0
"""Textures with filtered levels, and the noise that they are made of."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt


class Texture:
    """A uint8 picture, RGB or RGB with coverage (0 shows what lies behind), and halved copies by (across, down)."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels, self.levels = pixels, dict[tuple[int, int], np.ndarray]()

    def level(self, across: int, down: int) -> np.ndarray:
        """Returns the picture with its width halved ``across`` times and its height ``down`` times."""
        height, width = self.pixels.shape[:2]
        across = min(max(across, 0), max(width.bit_length() - 2, 0))
        down = min(max(down, 0), max(height.bit_length() - 2, 0))
        if (across, down) == (0, 0):
            return self.pixels
        if (across, down) not in self.levels:
            size = (max(width >> across, 1), max(height >> down, 1))
            self.levels[across, down] = cv2.resize(self.pixels, size, interpolation=cv2.INTER_AREA)
        return self.levels[across, down]


def picture(values: npt.ArrayLike) -> Texture:
    """Returns the texture of values that are cut to 0..255."""
    return Texture(np.clip(values, 0, 255).astype(np.uint8))


def fractal_noise(
    rng: np.random.Generator, height: int, width: int, cells: int = 4, octaves: int = 5, gain: float = 0.6
) -> np.ndarray:
    """Returns tileable float32 [height, width] noise with mean 0 and standard deviation 1.

    The coarsest octave has ``cells`` grid cells along the shorter axis, each further one twice as many and ``gain`` of
    the weight.
    """
    total = np.zeros((height, width), np.float32)
    shorter = min(height, width)
    for octave in range(octaves):
        count = cells << octave
        if count > shorter:
            break
        rows, columns = count * height // shorter, count * width // shorter
        grid = rng.standard_normal((rows, columns)).astype(np.float32)
        padded = cv2.copyMakeBorder(grid, 2, 2, 2, 2, cv2.BORDER_WRAP)
        size = (width * (columns + 4) // columns, height * (rows + 4) // rows)
        top, left = height * 2 // rows, width * 2 // columns
        large = cv2.resize(padded, size, interpolation=cv2.INTER_CUBIC)
        total += gain**octave * large[top : top + height, left : left + width]
    total -= total.mean()
    return total / max(float(total.std()), 1e-6)


@lru_cache(maxsize=32)
def grain(variant: int, strength: float = 0.10) -> Texture:
    """Returns grey noise around 128 that is multiplied onto surfaces so that none is clean."""
    noise = fractal_noise(np.random.default_rng(7_000 + variant), 128, 128, cells=6, octaves=6, gain=0.75)
    return picture(128 * (1 + strength * noise[..., None].repeat(3, axis=2)))
