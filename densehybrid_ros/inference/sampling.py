"""Where a pixel of the result lies in the network's low-resolution output, also when the frame was resized for it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Sampling(NamedTuple):
    """An affine map from result pixels to output positions: row = y * scale_y + offset_y, likewise for columns.

    Positions are those of sample centres, the first being 0; they are clamped to the output's edge.
    """

    scale_y: float
    offset_y: float
    scale_x: float
    offset_x: float


def sampling(
    result: tuple[int, int],
    content: tuple[int, int],
    network_input: tuple[int, int],
    network_output: tuple[int, int],
    align_corners: bool,
) -> Sampling:
    """Combines the resizing of the frame and the enlargement of the network's output.

    Args:
        result: (rows, columns) of the camera's frame.
        content: (rows, columns) that the frame fills in the network's input, from its top left corner.
        network_input: (rows, columns) of the network's input.
        network_output: (rows, columns) of its output.
        align_corners: Whether corner pixels of input and output coincide, else half-pixel centres.
    """
    pairs = [
        _axis(result[axis], content[axis], network_input[axis], network_output[axis], align_corners) for axis in (0, 1)
    ]
    return Sampling(*pairs[0], *pairs[1])


def _axis(
    result: int, content: int, network_input: int, network_output: int, align_corners: bool
) -> tuple[float, float]:
    # The frame is resized with half-pixel centres: input position = (pixel + 0.5) * resize - 0.5.
    resize = content / result
    shift = 0.5 * resize - 0.5
    if align_corners:
        step = (network_output - 1) / (network_input - 1) if network_input > 1 else 0.0
        return resize * step, shift * step
    step = network_output / network_input
    return resize * step, (shift + 0.5) * step - 0.5


def resample(maps: Tensor, size: tuple[int, int], positions: Sampling) -> Tensor:
    """Reads [1, C, h, w] bilinearly at the positions of a result of ``size`` (rows, columns)."""
    top, bottom, down = _neighbours(size[0], positions.scale_y, positions.offset_y, maps.shape[2], maps)
    left, right, across = _neighbours(size[1], positions.scale_x, positions.offset_x, maps.shape[3], maps)
    rows = torch.lerp(maps[:, :, top], maps[:, :, bottom], down[:, None])
    return torch.lerp(rows[..., left], rows[..., right], across)


def _neighbours(count: int, scale: float, offset: float, length: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    at = torch.arange(count, device=like.device, dtype=torch.float32) * scale + offset
    at = at.clamp(0, length - 1)
    lower = at.long()
    return lower, (lower + 1).clamp(max=length - 1), (at - lower).to(like.dtype)
