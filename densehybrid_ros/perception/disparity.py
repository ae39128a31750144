"""The newest ``stereo_msgs/DisparityImage`` messages, matched to frames by their stamps."""

from __future__ import annotations

import math
import sys
from collections import deque
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from densehybrid_ros.errors import InputError

_KEPT = 4
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Disparity:
    """The disparities that belong to a frame.

    Attributes:
        pixels: float32 [H, W], 0 where invalid.
        focal: Focal length in pixels that they were made with.
        baseline: In metres; depth = focal * baseline / pixels.
    """

    pixels: np.ndarray
    focal: float
    baseline: float


class DisparityBuffer:
    """Keeps the newest messages. One thread adds to it while another one reads."""

    def __init__(self) -> None:
        self._messages: deque[Any] = deque(maxlen=_KEPT)

    @property
    def is_used(self) -> bool:
        """Whether any message ever came."""
        return bool(self._messages)

    def add(self, message: Any) -> None:
        """Keeps a message; the oldest is forgotten."""
        self._messages.append(message)

    def at(self, stamp: int, tolerance: float, size: tuple[int, int]) -> Disparity:
        """Returns the disparities whose stamp is nearest to a frame's.

        Args:
            stamp: Of the frame, nanoseconds.
            tolerance: Seconds that the stamps may differ.
            size: (height, width) of the frame in pixels.

        Raises:
            InputError: None is near enough, or the nearest can't be used.
        """
        offsets = [(nanoseconds(message.header.stamp) - stamp, message) for message in list(self._messages)]
        offset, message = min(offsets, key=lambda item: abs(item[0]), default=(0, None))
        if message is None:
            raise InputError("none has arrived")
        if abs(offset) > tolerance * 1e9:
            raise InputError(f"none within {tolerance:g} s of the frame; the nearest is off by {offset * 1e-9:.3f} s")
        return disparity_of(message, size)


def disparity_of(message: Any, size: tuple[int, int]) -> Disparity:
    """Reads a stereo_msgs/DisparityImage for a frame of (height, width); one of another resolution is enlarged.

    Raises:
        InputError: It tells no distance, or shows another part of the view.
    """
    focal, baseline = float(message.f), abs(float(message.t))
    if not (math.isfinite(focal) and math.isfinite(baseline)) or focal <= 0 or baseline == 0:
        raise InputError(f"focal length {message.f:g} px and baseline {message.t:g} m tell no distance")
    pixels = disparity_pixels(message)
    if pixels.shape != tuple(size):
        found, wanted = (f"{width}x{height}" for height, width in (pixels.shape, size))
        scale = size[1] / pixels.shape[1]
        if abs(scale * pixels.shape[0] - size[0]) >= max(1.0, scale):
            raise InputError(f"is {found}, but the frame is {wanted}")
        pixels = cv2.resize(pixels, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT) * np.float32(scale)
        focal *= scale
    return Disparity(pixels, focal, baseline)


def disparity_pixels(message: Any) -> np.ndarray:
    """Returns the disparities as float32 [H, W], 0 where they are NaN, infinite, negative or below ``min_disparity``.

    Some vendors give all disparities below zero. They are turned round where none lies above; a picture of one value
    alone that is ``min_disparity`` less 1, or -1 or -16 (marks of OpenCV's matchers), has no valid one.

    Raises:
        InputError: The image is no 32FC1, or its size disagrees with its data.
    """
    image = message.image
    if image.encoding != "32FC1":
        raise InputError(f"encoding {image.encoding!r}; a disparity image is 32FC1")
    data = np.frombuffer(image.data, dtype=np.uint8)
    height, width, step = image.height, image.width, image.step
    if not height or not width or step < 4 * width or data.size < height * step:
        raise InputError(f"size disagrees with the data: {width}x{height} with step {step}, but {data.size} bytes")
    rows = data[: height * step].reshape(height, step)[:, : 4 * width]
    pixels = np.ascontiguousarray(rows).view(np.float32)
    if bool(image.is_bigendian) != (sys.byteorder == "big"):
        pixels = pixels.byteswap()
    lowest, highest = (
        float(bound) if math.isfinite(bound) else 0.0 for bound in (message.min_disparity, message.max_disparity)
    )
    _, kept = cv2.threshold(pixels, 0.0, 0.0, cv2.THRESH_TOZERO)
    _, kept = cv2.threshold(kept, _LARGEST, 0.0, cv2.THRESH_TOZERO_INV, dst=kept)
    cv2.patchNaNs(kept, 0.0)
    if not kept.any() and (turned := _turned(pixels, lowest)) is not None:
        kept, lowest = turned, -min(highest, 0.0)
    if lowest > 0:
        # A hair below, since the bound of a message has been rounded.
        cv2.threshold(kept, float(np.nextafter(np.float32(lowest), np.float32(-1.0))), 0.0, cv2.THRESH_TOZERO, dst=kept)
    return kept


def _turned(pixels: np.ndarray, lowest: float) -> np.ndarray | None:
    """Returns disparities of which none lies above zero with their sign turned; None where all are invalid."""
    below = np.where(np.isfinite(pixels) & (pixels < 0), -pixels, np.float32(0.0))
    values = np.unique(below[below > 0])
    marks = {1.0 - lowest, 1.0, 16.0}
    return None if not values.size or (values.size == 1 and float(values[0]) in marks) else below


def nanoseconds(stamp: Any) -> int:
    """Returns a builtin_interfaces/Time as one number; rclpy's own class refuses a negative one."""
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)
