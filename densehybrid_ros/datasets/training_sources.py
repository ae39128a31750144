"""Cityscapes, its stretched edition and StreetHazards as training sets."""

from __future__ import annotations

from pathlib import Path

from densehybrid_ros.datasets.anomaly_sets import STREET_HAZARDS_TRAIN_IDS
from densehybrid_ros.datasets.cityscapes import TRAIN_ID_OF_LABEL_ID, open_cityscapes
from densehybrid_ros.datasets.class_tables import STREET_HAZARDS
from densehybrid_ros.datasets.evaluation_set import FrameFiles, index_by_stem, require_folder
from densehybrid_ros.datasets.label_folders import pair_files
from densehybrid_ros.datasets.label_values import TRAIN_IDS
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.datasets.training_set import MappedLabels, TrainingSet

_STREET_HAZARDS_ANOMALY = 14  # of the test set alone
_STREET_HAZARDS_SPLITS = {"train": "training", "val": "validation"}


def open_cityscapes_training(root: Path, split: str) -> TrainingSet:
    """Opens ``leftImg8bit/SPLIT/CITY/*_leftImg8bit.png`` with ``gtFine/SPLIT/CITY/*_gtFine_labelIds.png``.

    Raises:
        InputError: A folder is missing, or an image lacks its labels.
    """
    files = open_cityscapes(root, split).files
    return TrainingSet("cityscapes", files, CITYSCAPES_CLASSES, MappedLabels(TRAIN_ID_OF_LABEL_ID))


def open_cityscapes_640_training(root: Path, split: str) -> TrainingSet:
    """Opens ``SPLIT/image/NAME.jpg`` with ``SPLIT/label/NAME.png``: square frames that get their 2:1 geometry back.

    Raises:
        InputError: A folder is missing, or an image lacks its labels.
    """
    hint = "give the folder that holds train/ and val/, each with image/ and label/"
    image_folder = require_folder(root / split / "image", hint)
    label_folder = require_folder(root / split / "label", hint)
    pairs = pair_files(index_by_stem(image_folder, "*"), index_by_stem(label_folder, "*"), image_folder, label_folder)
    files = [FrameFiles(pair.image, pair.label, group=pair.image.stem.split("_")[0]) for pair in pairs]
    return TrainingSet("cityscapes_640", files, CITYSCAPES_CLASSES, MappedLabels(TRAIN_IDS), stretched=True)


def open_street_hazards_training(root: Path, split: str) -> TrainingSet:
    """Opens ``train/images/{training,validation}/TOWN/N.png`` with ``train/annotations/...`` of the same names.

    Annotations hold 13 classes, 1 to 13; "other" (4) has no train id, which leaves the 12 evaluated ones.

    Raises:
        InputError: A folder is missing, or an image lacks its annotation.
    """
    hint = "give the folder that holds train/images/ and train/annotations/"
    image_folder = require_folder(root / "train" / "images" / _STREET_HAZARDS_SPLITS[split], hint)
    label_folder = require_folder(root / "train" / "annotations" / _STREET_HAZARDS_SPLITS[split], hint)
    images, labels = _by_relative_path(image_folder), _by_relative_path(label_folder)
    pairs = pair_files(images, labels, image_folder, label_folder)
    files = [FrameFiles(pair.image, pair.label, group=pair.image.parent.name) for pair in pairs]
    table = {value: train_id for value, train_id in STREET_HAZARDS_TRAIN_IDS.items() if value < _STREET_HAZARDS_ANOMALY}
    return TrainingSet("street_hazards", files, STREET_HAZARDS, MappedLabels(table))


def _by_relative_path(folder: Path) -> dict[str, Path]:
    """Frames of several towns have the same numbers, so that the town belongs to the key."""
    return {str(path.relative_to(folder).with_suffix("")): path for path in sorted(folder.rglob("*.png"))}
