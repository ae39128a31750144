# SPDX-License-Identifier: Apache-2.0
"""ADE20k (Zhou et al. 2017) as negatives: the Scene Parsing edition of 2016 and the full release of 2021."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from densehybrid_ros.datasets.evaluation_set import (
    FrameFiles,
    check_sizes,
    index_by_stem,
    pair_files,
    require_folder,
)
from densehybrid_ros.datasets.negative_set import NegativePicture, NegativeSet, regions_of_ids
from densehybrid_ros.datasets.pictures import read_color, read_labels
from densehybrid_ros.errors import InputError

_CLASSES = 150
_PER_CLASS = 256  # instance numbers of a class are below this


class SceneParsing(NegativeSet):
    """The edition of 2016: one of 150 classes a pixel (0 = none), and instances where they were fetched as well.

    Args:
        files: Pictures, class maps and, in ``instances``, instance maps: red the class of 100, green its number.
    """

    name = "ade20k"

    def __init__(self, files: list[FrameFiles]) -> None:
        self.files = files

    def __len__(self) -> int:
        """Returns the number of pictures."""
        return len(self.files)

    def __getitem__(self, index: int) -> NegativePicture:
        """Reads a picture."""
        files = self.files[index]
        image, labels = read_color(files.image), read_labels(files.label)
        check_sizes(image, files.image, labels, files.label)
        if labels.max(initial=0) > _CLASSES:
            raise InputError(f"{files.label}: label value {labels.max()} is not one of this data set (0..{_CLASSES})")
        classes = regions_of_ids(labels)
        if files.instances is None:
            return NegativePicture(str(files.image), image, classes=classes)
        stored = read_color(files.instances)
        check_sizes(image, files.image, stored, files.instances)
        ids = np.where(stored[:, :, 0] > 0, _PER_CLASS * stored[:, :, 0].astype(np.int32) + stored[:, :, 1], 0)
        return NegativePicture(str(files.image), image, regions_of_ids(ids), classes)


class FullRelease(NegativeSet):
    """The full release: ``NAME_seg.png`` holds a class in red and green and an instance in blue."""

    name = "ade20k"

    def __init__(self, files: list[FrameFiles]) -> None:
        self.files = files

    def __len__(self) -> int:
        """Returns the number of pictures."""
        return len(self.files)

    def __getitem__(self, index: int) -> NegativePicture:
        """Reads a picture."""
        files = self.files[index]
        image, stored = read_color(files.image), read_color(files.label).astype(np.int32)
        check_sizes(image, files.image, stored, files.label)
        labels = stored[:, :, 0] // 10 * 256 + stored[:, :, 1]
        ids = np.where(stored[:, :, 2] > 0, labels * _PER_CLASS + stored[:, :, 2], 0)
        return NegativePicture(str(files.image), image, regions_of_ids(ids), regions_of_ids(labels))


def open_ade20k(root: Path) -> NegativeSet:
    """Opens the training part of ADE20k.

    Scene Parsing: ``images/training/NAME.jpg`` with ``annotations/training/NAME.png`` and, where there is such a
    folder, ``annotations_instance/training/NAME.png``. Full release: ``images/ADE/training/**/NAME.jpg`` with
    ``NAME_seg.png`` beside it.

    Raises:
        InputError: The folders are missing, or a picture lacks its annotation.
    """
    full = root / "images" / "ADE" / "training"
    if full.is_dir():
        images = index_by_stem(full, "**/*")
        labels = {name.removesuffix("_seg"): path for name, path in images.items() if name.endswith("_seg")}
        images = {name: path for name, path in images.items() if path.suffix.lower() == ".jpg"}
        return FullRelease(pair_files(images, labels, full, full))
    hint = "give the folder that holds images/training/ and annotations/training/"
    image_folder = require_folder(root / "images" / "training", hint)
    label_folder = require_folder(root / "annotations" / "training", hint)
    images = index_by_stem(image_folder, "*.jpg")
    files = pair_files(images, index_by_stem(label_folder, "*.png"), image_folder, label_folder)
    instance_folder = root / "annotations_instance" / "training"
    if instance_folder.is_dir():
        instances = index_by_stem(instance_folder, "*.png")
        matched = pair_files(images, instances, image_folder, instance_folder)
        files = [FrameFiles(f.image, f.label, instances=m.label) for f, m in zip(files, matched, strict=True)]
    return SceneParsing(files)
