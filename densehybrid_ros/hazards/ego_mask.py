"""The ego mask: pixels that show the own vehicle, or dirt on the lens, and are no hazards."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from densehybrid_ros.datasets.pictures import read_labels
from densehybrid_ros.errors import InputError

_STRETCH = 0.02  # by which the proportions of mask and image may differ


@dataclass(frozen=True, eq=False)
class EgoMask:
    """A mask for images of its proportions.

    Attributes:
        name: Its file, for messages.
        own: bool [h, w], True where pixels never count.
    """

    name: str
    own: np.ndarray

    @lru_cache(maxsize=8)  # noqa: B019 - a mask lives as long as the settings that name it
    def others(self, height: int, width: int) -> tuple[np.ndarray | None, str | None]:
        """Returns bool [height, width], True where pixels count; or None and why the mask can't be used."""
        rows, columns = self.own.shape
        if abs(rows * width / (columns * height) - 1) > _STRETCH:
            problem = f"ego_mask: {self.name} is {columns}x{rows}, the image {width}x{height}: not used"
            return None, problem
        own = cv2.resize(self.own.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        return own == 0, None


def read_ego_mask(path: str) -> EgoMask | None:
    """Reads a grey picture: pixels above 0 never count. An empty path: None.

    Raises:
        InputError: The file is missing, no grey picture, or covers all of the image.
    """
    if not path:
        return None
    own = read_labels(Path(path).expanduser()) > 0
    if own.all():
        raise InputError(f"{path}: all pixels are set, and no hazard is left; set those of the own vehicle")
    return EgoMask(path, own)
