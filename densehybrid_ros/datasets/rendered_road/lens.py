# SPDX-License-Identifier: Apache-2.0
"""Air, optics and sensor: what makes a rendering look like a camera frame."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

_NOISE_MARGIN = 64
_BRIGHTEST, _TONE_STEPS, _KNEE = 620.0, 4.0, 165.0
_LUMA = np.array([0.299, 0.587, 0.114])


class Lens:
    """A camera's way to see, drawn at random: air, exposure, tint, tones, blur, vignette and noise."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.haze = rng.choice([0.0008, 0.0016, 0.003, 0.006]) * rng.uniform(0.7, 1.3)  # extinction in 1/m
        self.exposure, self.noise = rng.uniform(78, 128), rng.uniform(0.8, 3.2)
        self.blur, self.vignette = rng.uniform(0.35, 0.75), rng.uniform(0.08, 0.30)
        warmth, green, saturation = rng.normal(0, 0.035), rng.uniform(0.0, 0.07), rng.uniform(0.7, 1.0)
        tint = np.array([1.0 + warmth - 0.4 * green, 1.0 + 0.6 * green, 1.0 - warmth - 0.4 * green])
        self.matrix = np.diag(tint) * saturation + (1 - saturation) * np.outer(tint, _LUMA)
        # Bright parts are rolled off softly; the tones are listed over the light in steps of 1 / _TONE_STEPS.
        light = np.arange(int(_BRIGHTEST * _TONE_STEPS) + 1) / _TONE_STEPS
        over = np.maximum(light - _KNEE, 0.0)
        rolled = np.minimum(light, _KNEE) + (250 - _KNEE) * (1 - np.exp(-over / (250 - _KNEE)))
        self.tones = (255 * (rolled / 255) ** rng.uniform(1.0, 1.3) + 0.5).astype(np.uint8)

    def gain_for(self, color: np.ndarray) -> float:
        """Returns the gain that brings a picture to this lens's exposure, as a camera's own metering does."""
        return float(np.clip(self.exposure / max(float(color.mean()), 1.0), 0.5, 2.2))

    def expose(
        self, color: np.ndarray, depth: np.ndarray, air: np.ndarray, gain: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Turns drawn colours into a camera frame.

        Args:
            color: uint8 [H, W, 3] RGB as drawn.
            depth: float32 [H, W] in metres, inf in the sky.
            air: Colour [3] of the haze.
            gain: Factor of the brightness, as ``gain_for`` gives it.
            rng: Source of the sensor noise.

        Returns:
            uint8 [H, W, 3] RGB.
        """
        height, width = depth.shape
        clear = np.exp(np.minimum(depth, 2000.0) * np.float32(-self.haze))
        clear[np.isinf(depth)] = 0.94
        # One linear map turns the drawn colour and the haze into tinted, less saturated light.
        matrix = (self.matrix * gain).astype(np.float32)
        light: np.ndarray = cv2.transform(color.astype(np.float32), matrix)
        tinted_air = matrix @ air.astype(np.float32)
        light -= tinted_air
        light *= clear[..., None]
        light += tinted_air
        if self.blur * width / 1024 > 0.2:
            light = cv2.GaussianBlur(light, (0, 0), self.blur * width / 1024)
        x = (np.arange(width, dtype=np.float32) / width - 0.5) * 2
        y = (np.arange(height, dtype=np.float32) / height - 0.5) * (2 * height / width)
        light *= (1 - np.float32(self.vignette) * (x[None] ** 2 + y[:, None] ** 2))[..., None]
        # Shot noise grows with the root of the light; the read-out adds the same everywhere.
        strength = cv2.sqrt(np.maximum(light, 0))
        strength *= np.float32(0.045 * self.noise)
        strength += np.float32(0.5 * self.noise)
        top, left = rng.integers(0, _NOISE_MARGIN, 2).tolist()  # a random cut of a larger field, turned at random
        flip_y, flip_x, sign = rng.choice([-1, 1], 3).tolist()
        cut = _noise_field(height, width)[top : top + height, left : left + width]
        strength *= cut[::flip_y, ::flip_x]
        light += strength * np.float32(sign)
        np.clip(light, 0, _BRIGHTEST, out=light)
        return self.tones[(light * _TONE_STEPS).astype(np.uint16)]


@lru_cache(maxsize=2)
def _noise_field(height: int, width: int) -> np.ndarray:
    shape = (height + _NOISE_MARGIN, width + _NOISE_MARGIN, 3)
    return np.random.default_rng(17).standard_normal(shape, dtype=np.float32)
