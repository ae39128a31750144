# SPDX-License-Identifier: Apache-2.0
"""What every source of real negatives looks like: pictures, each with regions that may be cut out of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor


@dataclass(frozen=True)
class Region:
    """An object, or all pixels of a class, in a picture.

    Attributes:
        top: Row of the bounding box's upper edge.
        left: Column of its left edge.
        mask: uint8 [h, w], the size of the bounding box: opacity in 0..255, 255 = belongs to the region.
    """

    top: int
    left: int
    mask: np.ndarray


@dataclass(frozen=True)
class NegativePicture:
    """A picture to cut negatives from.

    Attributes:
        name: Its file, for messages.
        image: uint8 [H, W, 3], RGB.
        objects: Single objects; none where the source has no instances.
        classes: All pixels of a class as one region each; none where the source has no class masks.
    """

    name: str
    image: np.ndarray
    objects: tuple[Region, ...] = field(default_factory=tuple)
    classes: tuple[Region, ...] = field(default_factory=tuple)


def cut_out(picture: NegativePicture, region: Region) -> Tensor:
    """Returns a region as a cut-out, uint8 [4, h, w]: red, green, blue, alpha (255 = belongs to the region)."""
    height, width = region.mask.shape
    color = picture.image[region.top : region.top + height, region.left : region.left + width]
    return torch.from_numpy(np.dstack([color, region.mask]).transpose(2, 0, 1).copy())


def regions_of_ids(ids: np.ndarray) -> tuple[Region, ...]:
    """Makes one region of all pixels of each id of a map, integers [H, W] not below 0; 0 belongs to none."""
    values = np.flatnonzero(np.bincount(ids.ravel()))  # quicker than sorting all pixels
    values = values[values > 0]
    numbers = np.zeros(int(ids.max(initial=0)) + 1, np.int32)
    numbers[values] = np.arange(1, len(values) + 1)
    regions = []
    for value, box in zip(values, ndimage.find_objects(numbers[ids]), strict=True):
        mask = np.where(ids[box] == value, np.uint8(255), np.uint8(0))
        regions.append(Region(box[0].start, box[1].start, mask))
    return tuple(regions)


class NegativeSet(ABC):
    """Pictures by index, each read from its files when asked for.

    A set can be pickled and read from several threads or processes, as the workers of a data loader do.

    Attributes:
        name: Name of the source.
    """

    name: str

    @abstractmethod
    def __len__(self) -> int:
        """Returns the number of pictures."""

    @abstractmethod
    def __getitem__(self, index: int) -> NegativePicture:
        """Reads a picture with its regions.

        Raises:
            InputError: A file is missing or damaged, or masks and picture disagree in size.
        """
