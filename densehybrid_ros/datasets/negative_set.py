"""What every source of real negatives looks like: pictures, each with regions that may be cut out of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from densehybrid_ros.errors import InputError


@dataclass(frozen=True)
class Region:
    """An object, or all pixels of a class, in a picture.

    Attributes:
        top: Row of the bounding box's upper edge.
        left: Column of its left edge.
        mask: uint8 [h, w], the size of the bounding box: opacity in 0..255, 255 = belongs to the region.
        category: Name of the class, or its id as text where names are not known.
    """

    top: int
    left: int
    mask: np.ndarray
    category: str


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


def regions_of_ids(ids: np.ndarray, categories: Mapping[int, str]) -> tuple[Region, ...]:
    """Makes one region of all pixels of each id.

    Args:
        ids: Integers [H, W], not below 0.
        categories: Id -> category of those that become regions; others are left out.
    """
    values = [value for value in occurring(ids) if value in categories]
    numbers = np.zeros(int(ids.max(initial=0)) + 1, np.int32)
    numbers[values] = np.arange(1, len(values) + 1)
    places = numbers[ids]
    regions = []
    for value, box in zip(values, ndimage.find_objects(places), strict=True):
        mask = np.where(ids[box] == value, np.uint8(255), np.uint8(0))
        regions.append(Region(box[0].start, box[1].start, mask, categories[value]))
    return tuple(regions)


def occurring(ids: np.ndarray) -> list[int]:
    """Returns the values, not below 0, that occur in a map, in order; quicker than sorting all pixels."""
    return np.flatnonzero(np.bincount(ids.ravel())).tolist()


class NegativeSet(ABC):
    """Pictures by index, each read from its files when asked for.

    A set can be pickled and read from several threads or processes, as the workers of a data loader do.

    Attributes:
        name: Name of the source.
        has_names: Whether categories are names and not numbers.
    """

    name: str
    has_names: bool = True

    @abstractmethod
    def __len__(self) -> int:
        """Returns the number of pictures."""

    @abstractmethod
    def __getitem__(self, index: int) -> NegativePicture:
        """Reads a picture with its regions.

        Raises:
            InputError: A file is missing or damaged, or masks and picture disagree in size.
        """


class UnknownsOnly(NegativeSet):
    """A source without the regions of some categories, such as those that the network knows as classes.

    Args:
        source: What to take from.
        known: Names of categories to leave out.

    Raises:
        InputError: The source has no names of categories.
    """

    def __init__(self, source: NegativeSet, known: Collection[str]) -> None:
        if not source.has_names:
            raise InputError(
                f"negatives {source.name}: its categories have no names, so that known ones can't be left out"
            )
        self.name = source.name
        self._source = source
        self._known = frozenset(known)

    def __len__(self) -> int:
        """Returns the number of pictures; some may have no region left."""
        return len(self._source)

    def __getitem__(self, index: int) -> NegativePicture:
        """Reads a picture with its unknown regions."""
        picture = self._source[index]
        return NegativePicture(picture.name, picture.image, self._keep(picture.objects), self._keep(picture.classes))

    def _keep(self, regions: tuple[Region, ...]) -> tuple[Region, ...]:
        return tuple(region for region in regions if region.category not in self._known)
