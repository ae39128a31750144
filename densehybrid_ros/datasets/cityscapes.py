"""Cityscapes for evaluation: the closed set, its void classes as unknowns, and the stretched 640x640 edition."""

from __future__ import annotations

from pathlib import Path

import cv2

from densehybrid_ros.datasets.evaluation_set import (
    ANOMALY,
    IGNORE,
    INLIER,
    EvaluationFrame,
    EvaluationSet,
    FrameFiles,
    check_sizes,
    index_by_stem,
    require_folder,
)
from densehybrid_ros.datasets.label_folders import pair_files
from densehybrid_ros.datasets.label_values import TRAIN_IDS, translate_labels
from densehybrid_ros.datasets.pictures import read_color, read_labels
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES, VOID

_TRAIN_IDS = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10}
_TRAIN_IDS |= {24: 11, 25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
_LICENSE_PLATE = 255  # label id -1, stored in 8 bits
_LABEL_IDS = range(34)
TRAIN_ID_OF_LABEL_ID = {value: _TRAIN_IDS.get(value, VOID) for value in (*_LABEL_IDS, _LICENSE_PLATE)}
"""Value in ``*_labelIds.png`` -> train id, 255 = void (cityscapesScripts, labels.py)."""
_NEVER_UNKNOWN = {0, 1, 2, 3, _LICENSE_PLATE}  # unlabeled, ego vehicle, rectification border, out of roi


def _anomaly_of_label_id(value: int) -> int:
    if value in _NEVER_UNKNOWN:
        return IGNORE
    return INLIER if value in _TRAIN_IDS else ANOMALY


_ANOMALY_OF_LABEL_ID = {value: _anomaly_of_label_id(value) for value in (*_LABEL_IDS, _LICENSE_PLATE)}


class Cityscapes(EvaluationSet):
    """Official frames with their ``labelIds``.

    Args:
        files: The frames.
        void_is_unknown: Take the void classes as anomalies, except unlabeled, ego vehicle, rectification border, out
            of roi and license plate, which are ignored (paper, table 3).
    """

    class_names = tuple(item.name for item in CITYSCAPES_CLASSES)

    def __init__(self, files: list[FrameFiles], void_is_unknown: bool = False) -> None:
        super().__init__(files)
        self._void_is_unknown = void_is_unknown

    def __getitem__(self, index: int) -> EvaluationFrame:
        """Reads a frame."""
        files = self.files[index]
        image, labels = read_color(files.image), read_labels(files.label)
        check_sizes(image, files.image, labels, files.label)
        semantic = translate_labels(labels, TRAIN_ID_OF_LABEL_ID, files.label)
        anomaly = translate_labels(labels, _ANOMALY_OF_LABEL_ID, files.label) if self._void_is_unknown else None
        return EvaluationFrame(str(files.label), image, anomaly=anomaly, semantic=semantic, group=files.group)


def open_cityscapes(root: Path, split: str = "val", void_is_unknown: bool = False) -> Cityscapes:
    """Opens ``leftImg8bit/SPLIT/CITY/*_leftImg8bit.png`` with ``gtFine/SPLIT/CITY/*_gtFine_labelIds.png``.

    Raises:
        InputError: A folder is missing, or an image lacks its labels.
    """
    hint = "give the folder that holds leftImg8bit/ and gtFine/"
    image_folder = require_folder(root / "leftImg8bit" / split, hint)
    label_folder = require_folder(root / "gtFine" / split, hint)
    images = index_by_stem(image_folder, "*/*", remove="_leftImg8bit")
    labels = index_by_stem(label_folder, "*/*", remove="_gtFine_labelIds")
    pairs = pair_files(images, labels, image_folder, label_folder)
    return Cityscapes([FrameFiles(p.image, p.label, group=p.image.parent.name) for p in pairs], void_is_unknown)


def open_cityscapes_void(root: Path) -> Cityscapes:
    """Opens Cityscapes val with its void classes as unknowns (paper, table 3)."""
    return open_cityscapes(root, void_is_unknown=True)


class StretchedCityscapes(EvaluationSet):
    """Frames stored as squares and labelled with train ids; reading gives them their 2:1 geometry back."""

    class_names = tuple(item.name for item in CITYSCAPES_CLASSES)

    def __getitem__(self, index: int) -> EvaluationFrame:
        """Reads a frame, image widened bilinearly and labels by the nearest value."""
        files = self.files[index]
        image, labels = read_color(files.image), read_labels(files.label)
        check_sizes(image, files.image, labels, files.label)
        size = (2 * image.shape[0], image.shape[0])
        semantic = translate_labels(labels, TRAIN_IDS, files.label)
        wide = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        semantic = cv2.resize(semantic, size, interpolation=cv2.INTER_NEAREST)
        return EvaluationFrame(str(files.label), wide, semantic=semantic, group=files.group)


def open_cityscapes_640(root: Path) -> StretchedCityscapes:
    """Opens ``val/image/*.jpg`` with ``val/label/*.png``; ``root`` may also be the folder of the split itself.

    Raises:
        InputError: A folder is missing, or an image lacks its labels.
    """
    folder = root if (root / "image").is_dir() else root / "val"
    hint = "give the folder that holds val/image/ and val/label/"
    images = index_by_stem(require_folder(folder / "image", hint), "*")
    labels = index_by_stem(require_folder(folder / "label", hint), "*")
    pairs = pair_files(images, labels, folder / "image", folder / "label")
    return StretchedCityscapes([FrameFiles(p.image, p.label, group=p.image.stem.split("_")[0]) for p in pairs])
