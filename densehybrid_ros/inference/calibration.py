"""The frames from which quantisation takes the ranges of activations: a folder's, or the project's rendered road."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.datasets.pictures import list_pictures, read_color
from densehybrid_ros.errors import InputError
from densehybrid_ros.inference.input_policy import Placement

_RENDERED = 8
_MOST_PICTURES = 32  # evenly taken from a folder with more
_FIRST_SEED = 7000  # apart from the scenes of demonstrations and tests


@dataclass(frozen=True)
class Calibration:
    """Frames for one size of the network's input.

    Attributes:
        inputs: float32 [1, 3, H, W] in 0..1, channels last; what ranges are taken from.
        held_out: One more, to compare the result on; the last input where a folder has a single picture.
        source: Where they come from, for the manifest: the same text means the same frames.
    """

    inputs: list[Tensor]
    held_out: Tensor
    source: str


def calibration(size: tuple[int, int], folder: Path | None = None) -> Calibration:
    """Reads or renders frames.

    Args:
        size: (height, width) of the network's input; pictures of another size are stretched.
        folder: Of pictures as the camera takes them; None: scenes of the rendered road, half of them with unknown
            objects.

    Raises:
        InputError: The folder has no pictures, one can't be read, or the road can't be rendered at this size.
    """
    if folder is None:
        from densehybrid_ros.datasets.rendered_road import render_scene  # slow to import, and for builds alone

        height, width = size
        try:
            scenes = [
                render_scene(_FIRST_SEED + index, width, height, unknown_objects=index % 2 == 1).image
                for index in range(_RENDERED + 1)
            ]
        except InputError as error:
            raise InputError(f"calibration on the rendered road: {error}; or give --calibration DIR") from error
        frames = [_to_input(scene) for scene in scenes]
        return Calibration(frames[:-1], frames[-1], rendered_source())
    pictures = _evenly(list_pictures(folder))
    frames = [_to_input(_fitted(read_color(path), size)) for path in pictures]
    return Calibration(frames[:-1] or frames, frames[-1], folder_source(folder))


def rendered_source() -> str:
    """Returns the text that stands for the rendered frames."""
    return f"{_RENDERED} rendered scenes"


def folder_source(folder: Path) -> str:
    """Returns a text that stands for a folder's pictures as they are now.

    Raises:
        InputError: The folder has no pictures.
    """
    pictures = _evenly(list_pictures(folder))
    digest = hashlib.sha256()
    for path in pictures:
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise InputError(f"{path}: can't be read ({error.strerror})") from error
    count = f"{len(pictures)} picture{'s' if len(pictures) > 1 else ''}"
    return f"{count} of {folder}, {digest.hexdigest()[:12]}"


def _evenly(pictures: list[Path]) -> list[Path]:
    if len(pictures) <= _MOST_PICTURES:
        return pictures
    return [pictures[index * len(pictures) // _MOST_PICTURES] for index in range(_MOST_PICTURES)]


def _fitted(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return Placement((image.shape[0], image.shape[1]), size, size).fit(image)


def _to_input(image: np.ndarray) -> Tensor:
    values = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).unsqueeze(0).float() / 255
    return values.contiguous(memory_format=torch.channels_last)
