"""Air, optics and sensor: what makes a rendering look like a camera frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np


@dataclass(frozen=True)
class Lens:
    """The camera's way to see.

    Attributes:
        haze: Extinction of the air in 1/m.
        exposure: Mean brightness to which a scene is exposed before the tone curve, 0..255.
        tint: Factors of red, green and blue.
        gamma: Exponent of the tone curve; above 1 darkens the middle tones.
        blur: Standard deviation of the optical blur in pixels of a picture 1024 wide.
        vignette: Loss of light in the corners, 0..1.
        noise: Standard deviation of the sensor noise at middle grey.
        saturation: 1 leaves the colours as they are.
    """

    haze: float
    exposure: float
    tint: tuple[float, float, float]
    gamma: float
    blur: float
    vignette: float
    noise: float
    saturation: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> Lens:
        """Draws a lens, an exposure and the air of a day."""
        warmth = rng.normal(0, 0.035)
        green = rng.uniform(0.0, 0.07)
        return cls(
            haze=float(rng.choice([0.0008, 0.0016, 0.003, 0.006])) * float(rng.uniform(0.7, 1.3)),
            exposure=float(rng.uniform(78, 128)),
            tint=(1.0 + warmth - 0.4 * green, 1.0 + 0.6 * green, 1.0 - warmth - 0.4 * green),
            gamma=float(rng.uniform(1.0, 1.3)),
            blur=float(rng.uniform(0.35, 0.75)),
            vignette=float(rng.uniform(0.08, 0.30)),
            noise=float(rng.uniform(0.8, 3.2)),
            saturation=float(rng.uniform(0.7, 1.0)),
        )

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
        matrix = np.diag(self.tint) * self.saturation + (1 - self.saturation) * np.outer(self.tint, _LUMA)
        matrix = (matrix * gain).astype(np.float32)
        light: np.ndarray = cv2.transform(color.astype(np.float32), matrix)
        tinted_air = matrix @ air.astype(np.float32)
        light -= tinted_air
        light *= clear[..., None]
        light += tinted_air
        sigma = self.blur * width / 1024
        if sigma > 0.2:
            light = cv2.GaussianBlur(light, (0, 0), sigma)
        light *= self._corners(height, width)[..., None]
        # Shot noise grows with the root of the light; the read-out adds the same everywhere.
        strength = cv2.sqrt(np.maximum(light, 0))
        strength *= np.float32(0.045 * self.noise)
        strength += np.float32(0.5 * self.noise)
        light += strength * _noise(height, width, rng)
        np.clip(light, 0, _BRIGHTEST, out=light)
        return self._tones()[(light * _TONE_STEPS).astype(np.uint16)]

    def gain_for(self, color: np.ndarray) -> float:
        """Returns the gain that brings a picture to this lens's exposure, as a camera's own metering does."""
        return float(np.clip(self.exposure / max(float(color.mean()), 1.0), 0.5, 2.2))

    def _tones(self) -> np.ndarray:
        """The tone curve uint8 [N] over light in steps of 1 / _TONE_STEPS: bright parts are rolled off softly."""
        light = np.arange(int(_BRIGHTEST * _TONE_STEPS) + 1) / _TONE_STEPS
        over = np.maximum(light - _KNEE, 0.0)
        rolled = np.minimum(light, _KNEE) + (250 - _KNEE) * (1 - np.exp(-over / (250 - _KNEE)))
        return (255 * (rolled / 255) ** self.gamma + 0.5).astype(np.uint8)

    def _corners(self, height: int, width: int) -> np.ndarray:
        x = (np.arange(width, dtype=np.float32) / width - 0.5) * 2
        y = (np.arange(height, dtype=np.float32) / height - 0.5) * (2 * height / width)
        return 1 - np.float32(self.vignette) * (x[None] ** 2 + y[:, None] ** 2)


def _noise(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Returns normal noise float32 [height, width, 3]: a random cut of a larger field, turned at random."""
    field = _noise_field(height, width)
    top, left = (int(value) for value in rng.integers(0, _NOISE_MARGIN, 2))
    cut = field[top : top + height, left : left + width]
    return cut[:: int(rng.choice([-1, 1])), :: int(rng.choice([-1, 1]))] * np.float32(rng.choice([-1.0, 1.0]))


@lru_cache(maxsize=2)
def _noise_field(height: int, width: int) -> np.ndarray:
    shape = (height + _NOISE_MARGIN, width + _NOISE_MARGIN, 3)
    return np.random.default_rng(17).standard_normal(shape, dtype=np.float32)


_NOISE_MARGIN = 64
_BRIGHTEST, _TONE_STEPS, _KNEE = 620.0, 4.0, 165.0
_LUMA = np.array([0.299, 0.587, 0.114])
