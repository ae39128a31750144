# SPDX-License-Identifier: Apache-2.0
"""Readers of the public anomaly data sets in the layouts in which they are published.

SegmentMeIfYouCan (Chan et al. 2021), Fishyscapes (Blum et al. 2021), RoadAnomaly (Lis et al. 2019) and StreetHazards
(Hendrycks et al. 2022), LostAndFound (Pinggera et al. 2016). Each raises an InputError where a folder is missing, or a
frame lacks one of its files.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from densehybrid_ros.datasets.evaluation_set import (
    ANOMALY,
    IGNORE,
    INLIER,
    FrameFiles,
    index_pictures,
    pair_files,
    pair_folders,
    require_folder,
)
from densehybrid_ros.datasets.labelled_set import ANOMALY_VALUES, LabelledSet
from densehybrid_ros.datasets.taxonomy import STREET_HAZARDS, VOID
from densehybrid_ros.errors import InputError

_ROAD_ANOMALY_VALUES = {0: INLIER, 1: INLIER, 2: ANOMALY}
_FISHYSCAPES_LABEL = re.compile(r"(\d+)_(.+)_labels")
_STREET_HAZARDS_SPLITS = {"train": ("train", "training"), "val": ("train", "validation"), "test": ("test", "test")}
_STREET_HAZARDS_ANOMALY = 14
_STREET_HAZARDS_TRAIN_IDS = {value: value - 1 if value < 4 else value - 2 for value in range(1, 14)} | {4: VOID}
"""Value in an annotation (1..13) -> train id; "other" (4) is void."""
_LOST_AND_FOUND_VALUES = {0: IGNORE, 1: INLIER} | dict.fromkeys(range(2, 201), ANOMALY)
_KNOWN_OBJECTS = (
    "15_Rechbergstr_Deckenpfronn",
    "01_Hanns_Klemm_Str_45_000006",
    "01_Hanns_Klemm_Str_45_000007",
    "10_Schlossberg_9_000004",
)
"""Beginnings of the names of frames whose obstacles are children or bicycles, which Cityscapes knows."""


def open_smiyc_track(root: Path) -> LabelledSet:
    """Opens ``dataset_AnomalyTrack`` or ``dataset_ObstacleTrack`` of SegmentMeIfYouCan.

    The labels of ``images/FRAME.*`` are ``labels_masks/FRAME_labels_semantic.png``. Those of the test frames are not
    published, so that frames without labels are left out, which leaves the validation frames.
    """
    hint = "give the track's folder, which holds images/ and labels_masks/"
    folders = root / "images", root / "labels_masks"
    images = index_pictures(require_folder(folders[0], hint), "*")
    labels = index_pictures(require_folder(folders[1], hint), "*", "_labels_semantic")
    labelled = {key: path for key, path in images.items() if key in labels}
    if images and not labelled:
        raise InputError(f"{folders[1]}: no FRAME_labels_semantic.png for any frame of images/")
    return LabelledSet("smiyc", pair_files(labelled, labels, *folders), anomaly=ANOMALY_VALUES)


def open_road_anomaly(root: Path) -> LabelledSet:
    """Opens RoadAnomaly: ``frames/NAME.jpg`` with ``frames/NAME.labels/labels_semantic.png`` (2 = anomaly)."""
    folder = require_folder(root / "frames", "give the folder that holds frames/")
    labels = index_pictures(folder, "*.labels/*.png", ".labels/labels_semantic")
    files = pair_files(index_pictures(folder, "*"), labels, folder, folder / "NAME.labels")
    return LabelledSet("road_anomaly", files, anomaly=_ROAD_ANOMALY_VALUES)


def open_fishyscapes(root: Path, name: str, overlays: bool = False) -> LabelledSet:
    """Opens the validation set of Fishyscapes LostAndFound or, with ``overlays``, of Fishyscapes Static.

    The label files, such as ``0000_04_Maurener_Weg_8_000000_000030_labels.png``, lie anywhere below ``root``, and so
    do the images (``leftImg8bit``) that they name, of LostAndFound or Cityscapes, and the overlays ``NNNN*rgb.npz``,
    objects that are added to the images.
    """
    require_folder(root, "give the folder that holds the labels and the images")
    labels = {path.stem: path for path in index_pictures(root, "**/*", "_labels").values()}
    if not labels:
        raise InputError(f"{root}: no NNNN_FRAME_labels.png below it; download the labels of Fishyscapes into it")
    images = {Path(key).name: path for key, path in index_pictures(root, "**/*", "_leftImg8bit").items()}
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
    return LabelledSet(name, files, anomaly=ANOMALY_VALUES)


def open_street_hazards(root: Path, split: str = "test") -> LabelledSet:
    """Opens StreetHazards: ``PART/images/.../TOWN/N.png`` with ``PART/annotations/.../TOWN/N.png``.

    The splits are ``train/{images,annotations}/{training,validation}`` and ``test/{images,annotations}/test``. Values
    1..13 are classes, of which "other" (4) has no train id, which leaves the 12 evaluated ones; 14, of the test frames
    alone, is an anomaly. As the benchmark does it, no pixel of those is ignored in anomaly detection. Groups are towns.
    """
    part, folder = _STREET_HAZARDS_SPLITS[split]
    hint = f"give the folder that holds {part}/images/ and {part}/annotations/"
    images, labels = (root / part / kind / folder for kind in ("images", "annotations"))
    files, semantic = pair_folders(images, labels, hint, "**/*.png"), _STREET_HAZARDS_TRAIN_IDS
    if split != "test":
        return LabelledSet("street_hazards", files, STREET_HAZARDS, semantic)
    anomaly = dict.fromkeys(semantic, INLIER) | {_STREET_HAZARDS_ANOMALY: ANOMALY}
    return LabelledSet("street_hazards", files, STREET_HAZARDS, semantic | {_STREET_HAZARDS_ANOMALY: VOID}, anomaly)


def open_lost_and_found(root: Path, split: str = "test", without_known: bool = False, scene: str = "*") -> LabelledSet:
    """Opens ``{leftImg8bit,gtCoarse,disparity,camera}/SPLIT/NN_Scene/NN_Scene_SEQ_FRAME_*``.

    Frames are labelled free road (1) and obstacle (2 and above), with what there is of instances, disparity and camera.
    ``labelIds`` are read, not ``labelTrainIds``: those merge several kinds of obstacles with the background.

    Args:
        root: The folder that holds these.
        split: ``train`` or ``test``.
        without_known: Leave out the frames with children and bicycles, as LostAndFound-NoKnown does.
        scene: The folder ``NN_Scene`` of one scene; all of them by default.

    Raises:
        InputError: Images or labels are missing.
    """
    hint = "give the folder that holds leftImg8bit/ and gtCoarse/"
    folders = [require_folder(root / kind / split, hint) for kind in ("leftImg8bit", "gtCoarse")]
    images, labels, instances, disparities = (
        index_pictures(root / kind / split, f"{scene}/*", ending)
        for kind, ending in (
            ("leftImg8bit", "_leftImg8bit"),
            ("gtCoarse", "_gtCoarse_labelIds"),
            ("gtCoarse", "_gtCoarse_instanceIds"),
            ("disparity", "_disparity"),
        )
    )
    if without_known:
        images = {key: path for key, path in images.items() if not path.name.startswith(_KNOWN_OBJECTS)}
    files = []
    for key, pair in zip(images, pair_files(images, labels, *folders), strict=True):
        camera = root / "camera" / split / f"{key}_camera.json"
        camera_file = camera if camera.is_file() else None
        files.append(replace(pair, instances=instances.get(key), disparity=disparities.get(key), camera=camera_file))
    return LabelledSet("lost_and_found", files, anomaly=_LOST_AND_FOUND_VALUES)
