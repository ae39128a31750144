"""Readers of the public anomaly data sets in the layouts in which they are published.

SegmentMeIfYouCan (Chan et al. 2021), Fishyscapes (Blum et al. 2021), RoadAnomaly (Lis et al. 2019) and StreetHazards
(Hendrycks et al. 2022).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from densehybrid_ros.datasets.evaluation_set import (
    ANOMALY,
    INLIER,
    EvaluationFrame,
    EvaluationSet,
    FrameFiles,
    check_sizes,
    index_by_stem,
    require_folder,
)
from densehybrid_ros.datasets.label_folders import AnomalyPairs, pair_files
from densehybrid_ros.datasets.label_values import translate_labels
from densehybrid_ros.datasets.pictures import read_color, read_labels
from densehybrid_ros.datasets.taxonomy import VOID
from densehybrid_ros.errors import InputError

_ROAD_ANOMALY_VALUES = {0: INLIER, 1: INLIER, 2: ANOMALY}
_FISHYSCAPES_LABEL = re.compile(r"(\d+)_(.+)_labels")

STREET_HAZARDS_CLASSES = (
    "unlabeled", "building", "fence", "pedestrian", "pole", "road line", "road", "sidewalk", "vegetation", "car",
    "wall", "traffic sign",
)  # fmt: skip
"""The 12 evaluated classes of StreetHazards in the order of their train ids; sky is among the unlabeled."""
_STREET_HAZARDS_OTHER, _STREET_HAZARDS_ANOMALY = 4, 14
STREET_HAZARDS_TRAIN_IDS = {value: value - 1 if value < 4 else value - 2 for value in range(1, 14)}
STREET_HAZARDS_TRAIN_IDS |= {_STREET_HAZARDS_OTHER: VOID, _STREET_HAZARDS_ANOMALY: VOID}
"""Value in an annotation (1..14) -> train id; "other" and the anomalies of the test set are void."""


def open_smiyc_track(root: Path) -> AnomalyPairs:
    """Opens ``dataset_AnomalyTrack`` or ``dataset_ObstacleTrack`` of SegmentMeIfYouCan.

    ``images/FRAME.*`` goes with ``labels_masks/FRAME_labels_semantic.png``. The labels of the test frames are not
    published, so that frames without labels are left out, which leaves the validation frames.

    Raises:
        InputError: The folders are missing or no frame has labels.
    """
    hint = "give the track's folder, which holds images/ and labels_masks/"
    images = index_by_stem(require_folder(root / "images", hint), "*")
    labels = index_by_stem(require_folder(root / "labels_masks", hint), "*", remove="_labels_semantic")
    labelled = {key: path for key, path in images.items() if key in labels}
    if images and not labelled:
        raise InputError(f"{root / 'labels_masks'}: no FRAME_labels_semantic.png for any frame of images/")
    return AnomalyPairs(pair_files(labelled, labels, root / "images", root / "labels_masks"))


def open_road_anomaly(root: Path) -> AnomalyPairs:
    """Opens RoadAnomaly: ``frames/NAME.jpg`` with ``frames/NAME.labels/labels_semantic.png`` (2 = anomaly).

    Raises:
        InputError: The folder is missing or an image lacks its labels.
    """
    folder = require_folder(root / "frames", "give the folder that holds frames/")
    images = index_by_stem(folder, "*")
    labels = {path.parent.name.removesuffix(".labels"): path for path in folder.glob("*.labels/labels_semantic.png")}
    return AnomalyPairs(pair_files(images, labels, folder, folder / "NAME.labels"), _ROAD_ANOMALY_VALUES)


def open_fishyscapes_lost_and_found(root: Path) -> AnomalyPairs:
    """Opens the validation set of Fishyscapes LostAndFound.

    The label files, such as ``0000_04_Maurener_Weg_8_000000_000030_labels.png``, lie anywhere below ``root``, and so
    do the images of LostAndFound (``leftImg8bit``) that they name.

    Raises:
        InputError: There are no label files, or one names an image that is missing.
    """
    return AnomalyPairs(_fishyscapes_files(root, overlays=False))


class FishyscapesStatic(AnomalyPairs):
    """Cityscapes frames onto which objects are pasted by adding a signed overlay (``rgb`` of an .npz file)."""

    def __getitem__(self, index: int) -> EvaluationFrame:
        """Reads a frame and adds its overlay."""
        frame = super().__getitem__(index)
        files = self.files[index]
        assert files.overlay is not None
        try:
            overlay = np.load(files.overlay)["rgb"].astype(np.int16)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{files.overlay}: holds no array 'rgb' ({error})") from error
        check_sizes(frame.image, files.image, overlay, files.overlay)
        image = np.clip(frame.image + overlay, 0, 255).astype(np.uint8)
        return EvaluationFrame(frame.name, image, anomaly=frame.anomaly, group=frame.group)


def open_fishyscapes_static(root: Path) -> FishyscapesStatic:
    """Opens the validation set of Fishyscapes Static.

    Label files ``NNNN_CITYSCAPESFRAME_labels.png``, overlays ``NNNN*rgb.npz`` and the Cityscapes images
    (``leftImg8bit``) lie anywhere below ``root``.

    Raises:
        InputError: There are no label files, or an overlay or image is missing.
    """
    return FishyscapesStatic(_fishyscapes_files(root, overlays=True))


def _fishyscapes_files(root: Path, overlays: bool) -> list[FrameFiles]:
    labels = index_by_stem(
        require_folder(root, "give the folder that holds the labels and the images"), "**/*_labels.*"
    )
    if not labels:
        raise InputError(f"{root}: no NNNN_FRAME_labels.png below it; download the labels of Fishyscapes into it")
    images = index_by_stem(root, "**/*_leftImg8bit.*", remove="_leftImg8bit")
    patches = {path.name.split("_")[0]: path for path in root.rglob("*rgb.npz")} if overlays else {}
    files = []
    for stem, label in labels.items():
        match = _FISHYSCAPES_LABEL.fullmatch(stem)
        if not match:
            raise InputError(f"{label}: the name is not NNNN_FRAME_labels; these are no labels of Fishyscapes")
        number, frame = match.groups()
        if frame not in images:
            raise InputError(f"{label}: the image {frame}_leftImg8bit.png is missing below {root}")
        if overlays and number not in patches:
            raise InputError(f"{label}: the overlay {number}*rgb.npz is missing below {root}")
        files.append(FrameFiles(images[frame], label, overlay=patches.get(number)))
    return files


class StreetHazards(EvaluationSet):
    """The test set of StreetHazards, with the 12 classes and the anomalies; groups are the towns t5 and t6.

    Label values 1..13 are classes, 14 is an anomaly. As the benchmark does it, no pixel is ignored in anomaly
    detection; "other" (4) and anomalies have no class.
    """

    class_names = STREET_HAZARDS_CLASSES

    def __getitem__(self, index: int) -> EvaluationFrame:
        """Reads a frame."""
        files = self.files[index]
        image, labels = read_color(files.image), read_labels(files.label)
        check_sizes(image, files.image, labels, files.label)
        semantic = translate_labels(labels, STREET_HAZARDS_TRAIN_IDS, files.label)
        anomaly = (labels == _STREET_HAZARDS_ANOMALY).astype(np.uint8)
        return EvaluationFrame(str(files.label), image, anomaly=anomaly, semantic=semantic, group=files.group)


def open_street_hazards(root: Path) -> StreetHazards:
    """Opens StreetHazards: ``test/images/test/{t5,t6}/N.png`` with ``test/annotations/test/{t5,t6}/N.png``.

    Raises:
        InputError: A folder is missing, or an image lacks its annotation.
    """
    files: list[FrameFiles] = []
    hint = "give the folder that holds test/images/ and test/annotations/"
    for town in ("t5", "t6"):
        image_folder = require_folder(root / "test" / "images" / "test" / town, hint)
        label_folder = require_folder(root / "test" / "annotations" / "test" / town, hint)
        images, labels = index_by_stem(image_folder, "*"), index_by_stem(label_folder, "*")
        pairs = pair_files(images, labels, image_folder, label_folder)
        files += [FrameFiles(pair.image, pair.label, group=town) for pair in pairs]
    return StreetHazards(files)
