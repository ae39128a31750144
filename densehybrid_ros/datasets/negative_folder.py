# SPDX-License-Identifier: Apache-2.0
"""A folder of pictures as negatives: cut-outs with an alpha channel, or plain pictures without regions."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from densehybrid_ros.datasets.negative_set import NegativePicture, NegativeSet, Region, cut_out
from densehybrid_ros.datasets.pictures import list_pictures, read_with_alpha
from densehybrid_ros.errors import InputError
from densehybrid_ros.progress import progress

_OPAQUE = 128


class FolderNegatives(NegativeSet):
    """Every picture is one negative: its opaque part where it has an alpha channel, else any part of it."""

    name = "folder"

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        """Returns the number of pictures."""
        return len(self.files)

    def __getitem__(self, index: int) -> NegativePicture:
        """Reads a picture."""
        path = self.files[index]
        picture = read_with_alpha(path)
        if picture.shape[2] == 3:
            return NegativePicture(str(path), picture)
        image, alpha = np.ascontiguousarray(picture[:, :, :3]), picture[:, :, 3]
        left, top, width, height = cv2.boundingRect((alpha >= _OPAQUE).astype(np.uint8))
        if not width:
            return NegativePicture(str(path), image)
        mask = alpha[top : top + height, left : left + width].copy()
        return NegativePicture(str(path), image, objects=(Region(top, left, mask),))


def open_negative_folder(root: Path) -> FolderNegatives:
    """Opens a folder of pictures, and of folders of them.

    Raises:
        InputError: The folder is missing or holds no picture.
    """
    return FolderNegatives(list_pictures(root, deep=True))


def load_cutouts(root: Path) -> list[Tensor]:
    """Loads the opaque parts of all pictures of a folder; uint8 [4, h, w], see ``negative_set.cut_out``.

    Raises:
        InputError: The folder is missing or holds no picture, or one can't be read or has no opaque part.
    """
    pictures, cutouts = open_negative_folder(root), []
    for index in progress(range(len(pictures)), "load cut-outs", unit="cut-out"):
        picture = pictures[index]
        if not picture.objects:
            raise InputError(f"{picture.name}: no cut-out; it needs an alpha channel that is opaque somewhere")
        cutouts.append(cut_out(picture, picture.objects[0]))
    return cutouts
