# SPDX-License-Identifier: Apache-2.0
"""Where a frame lies in the network's input, and its pixels in the network's output; results have the frame's size.

Sizes are (height, width) in pixels, but for people: they read and write WIDTHxHEIGHT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.errors import InputError

INPUT_POLICIES = ("exact", "resize", "letterbox")
"""exact: the frame as it is. resize: the frame stretched to the engine's size. letterbox: the frame scaled with its
aspect kept to fit into the engine's size.

The input's sides are multiples of the network's stride. A frame lies at its top left; the rest is black.
AP of ``light`` without padding, with black and with the frame's edge repeated: 52.0, 76.9 and 76.5 on ten rendered
frames of 641x337; 60.2, 60.8 and 60.8 on four of 1920x1080, where the score is 0.052 of its standard deviation off
the one without padding in both.
"""


def size_text(size: tuple[int, int]) -> str:
    """Returns a size as people read it: (512, 1024) is ``1024x512``."""
    return f"{size[1]}x{size[0]}"


def padded(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Returns the smallest multiples of ``stride`` that ``size`` fits into."""
    # Numbers below 0, which would be shorter here, are divided otherwise in an exported graph.
    return (size[0] + stride - 1) // stride * stride, (size[1] + stride - 1) // stride * stride


class Sampling(NamedTuple):
    """An affine map from result pixels to output positions: row = y * scale_y + offset_y, likewise for columns.

    Positions are those of sample centres, the first being 0; they are clamped to the output's edge.
    """

    scale_y: float
    offset_y: float
    scale_x: float
    offset_x: float


@dataclass(frozen=True)
class Placement:
    """Where a frame lies in the network's input.

    Attributes:
        camera: Size of the frame.
        content: What it fills of the input, from the top left corner.
        network: The input.
    """

    camera: tuple[int, int]
    content: tuple[int, int]
    network: tuple[int, int]

    @property
    def whole(self) -> bool:
        """Whether the frame is the input, pixel by pixel."""
        return self.camera == self.content == self.network

    def fit(self, image: np.ndarray) -> np.ndarray:
        """Scales a frame, uint8 [H, W, 3], to its content; the frame itself where nothing is to be done."""
        if self.content == self.camera:
            return image
        shrinks = self.content[0] < self.camera[0] and self.content[1] < self.camera[1]
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return cv2.resize(np.ascontiguousarray(image), self.content[::-1], interpolation=interpolation)

    def sampling(self, network_output: Sequence[int], align_corners: bool) -> Sampling:
        """Says where the frame's pixels lie in an output of the network of this size.

        ``align_corners``: corner pixels of input and output coincide, else half-pixel centres.
        """
        rows, columns = (
            _axis(self.camera[axis], self.content[axis], self.network[axis], network_output[axis], align_corners)
            for axis in (0, 1)
        )
        return Sampling(*rows, *columns)


def place(policy: str, camera: tuple[int, int], engine: tuple[int, int], stride: int) -> Placement:
    """Applies a policy to a frame of size ``camera``; ``exact`` does not look at the engine's size.

    Raises:
        InputError: There is no such policy.
    """
    if policy not in INPUT_POLICIES:
        raise InputError(f"input_policy {policy!r}: unknown; choose one of {', '.join(INPUT_POLICIES)}")
    if policy == "exact":
        return Placement(camera, camera, padded(camera, stride))
    engine = padded(engine, stride)
    if policy == "resize":
        return Placement(camera, engine, engine)
    scale = min(engine[0] / camera[0], engine[1] / camera[1])
    content = (max(1, round(camera[0] * scale)), max(1, round(camera[1] * scale)))
    return Placement(camera, content, engine)


def _axis(result: int, content: int, network: int, output: int, align_corners: bool) -> tuple[float, float]:
    # The frame is resized with half-pixel centres: input position = (pixel + 0.5) * resize - 0.5.
    resize = content / result
    shift = 0.5 * resize - 0.5
    if align_corners:
        step = (output - 1) / (network - 1) if network > 1 else 0.0
        return resize * step, shift * step
    step = output / network
    return resize * step, (shift + 0.5) * step - 0.5


def resample(maps: Tensor, size: tuple[int, int], positions: Sampling) -> Tensor:
    """Reads [1, C, h, w] bilinearly at the positions of a result of ``size``."""
    top, bottom, down = _neighbours(size[0], positions.scale_y, positions.offset_y, maps.shape[2], maps)
    left, right, across = _neighbours(size[1], positions.scale_x, positions.offset_x, maps.shape[3], maps)
    rows = torch.lerp(maps[:, :, top], maps[:, :, bottom], down[:, None])
    return torch.lerp(rows[..., left], rows[..., right], across)


def _neighbours(count: int, scale: float, offset: float, length: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    at = torch.arange(count, device=like.device, dtype=torch.float32) * scale + offset
    at = at.clamp(0, length - 1)
    lower = at.long()
    return lower, (lower + 1).clamp(max=length - 1), (at - lower).to(like.dtype)
