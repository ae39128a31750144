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

import numpy as np

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.datasets.evaluation_set import (
    ANOMALY,
    IGNORE,
    INLIER,
    EvaluationFrame,
    FrameFiles,
    check_sizes,
    index_by_stem,
    pair_files,
    require_folder,
)
from densehybrid_ros.datasets.labelled_set import ANOMALY_VALUES, LabelledSet
from densehybrid_ros.datasets.pictures import read_disparity, read_instances
from densehybrid_ros.datasets.taxonomy import STREET_HAZARDS, VOID
from densehybrid_ros.errors import InputError

_ROAD_ANOMALY_VALUES = {0: INLIER, 1: INLIER, 2: ANOMALY}
_FISHYSCAPES_LABEL = re.compile(r"(\d+)_(.+)_labels")
_STREET_HAZARDS_SPLITS = {"train": ("train", "training"), "val": ("train", "validation"), "test": ("test", "test")}
_STREET_HAZARDS_OTHER, _STREET_HAZARDS_ANOMALY = 4, 14
_STREET_HAZARDS_TRAIN_IDS = {value: value - 1 if value < 4 else value - 2 for value in range(1, 14)}
_STREET_HAZARDS_TRAIN_IDS |= {_STREET_HAZARDS_OTHER: VOID, _STREET_HAZARDS_ANOMALY: VOID}
"""Value in an annotation (1..14) -> train id; "other" and the anomalies of the test set are void."""
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
    images = index_by_stem(require_folder(root / "images", hint), "*")
    labels = index_by_stem(require_folder(root / "labels_masks", hint), "*", remove="_labels_semantic")
    labelled = {key: path for key, path in images.items() if key in labels}
    if images and not labelled:
        raise InputError(f"{root / 'labels_masks'}: no FRAME_labels_semantic.png for any frame of images/")
    files = pair_files(labelled, labels, root / "images", root / "labels_masks")
    return LabelledSet("smiyc", files, anomaly=ANOMALY_VALUES)


def open_road_anomaly(root: Path) -> LabelledSet:
    """Opens RoadAnomaly: ``frames/NAME.jpg`` with ``frames/NAME.labels/labels_semantic.png`` (2 = anomaly)."""
    folder = require_folder(root / "frames", "give the folder that holds frames/")
    images = index_by_stem(folder, "*")
    labels = {path.parent.name.removesuffix(".labels"): path for path in folder.glob("*.labels/labels_semantic.png")}
    files = pair_files(images, labels, folder, folder / "NAME.labels")
    return LabelledSet("road_anomaly", files, anomaly=_ROAD_ANOMALY_VALUES)


def open_fishyscapes_lost_and_found(root: Path) -> LabelledSet:
    """Opens the validation set of Fishyscapes LostAndFound.

    The label files, such as ``0000_04_Maurener_Weg_8_000000_000030_labels.png``, lie anywhere below ``root``, and so
    do the images of LostAndFound (``leftImg8bit``) that they name.
    """
    return LabelledSet("fishyscapes_lost_and_found", _fishyscapes_files(root, overlays=False), anomaly=ANOMALY_VALUES)


class FishyscapesStatic(LabelledSet):
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
        return replace(frame, image=image)


def open_fishyscapes_static(root: Path) -> FishyscapesStatic:
    """Opens the validation set of Fishyscapes Static.

    Label files ``NNNN_CITYSCAPESFRAME_labels.png``, overlays ``NNNN*rgb.npz`` and the Cityscapes images
    (``leftImg8bit``) lie anywhere below ``root``.
    """
    return FishyscapesStatic("fishyscapes_static", _fishyscapes_files(root, overlays=True), anomaly=ANOMALY_VALUES)


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


def open_street_hazards(root: Path, split: str = "test") -> LabelledSet:
    """Opens StreetHazards: ``PART/images/.../TOWN/N.png`` with ``PART/annotations/.../TOWN/N.png``.

    The splits are ``train/{images,annotations}/{training,validation}`` and ``test/{images,annotations}/test``. Values
    1..13 are classes, of which "other" (4) has no train id, which leaves the 12 evaluated ones; 14, of the test frames
    alone, is an anomaly. As the benchmark does it, no pixel of those is ignored in anomaly detection. Groups are towns.
    """
    part, folder = _STREET_HAZARDS_SPLITS[split]
    hint = f"give the folder that holds {part}/images/ and {part}/annotations/"
    image_folder, label_folder = (
        require_folder(root / part / kind / folder, hint) for kind in ("images", "annotations")
    )
    images, labels = _by_relative_path(image_folder), _by_relative_path(label_folder)
    files = pair_files(images, labels, image_folder, label_folder)
    semantic = dict(_STREET_HAZARDS_TRAIN_IDS)
    anomaly = {value: ANOMALY if value == _STREET_HAZARDS_ANOMALY else INLIER for value in semantic}
    if split != "test":
        del semantic[_STREET_HAZARDS_ANOMALY]
        anomaly = {}
    return LabelledSet("street_hazards", files, STREET_HAZARDS, semantic, anomaly)


def _by_relative_path(folder: Path) -> dict[str, Path]:
    """Frames of several towns have the same numbers, so that the town belongs to the key."""
    return {str(path.relative_to(folder).with_suffix("")): path for path in sorted(folder.rglob("*.png"))}


class LostAndFound(LabelledSet):
    """Frames labelled free road (1) and obstacle (2 and above), with what there is of instances, disparity and camera.

    ``labelIds`` are read, not ``labelTrainIds``: those merge several kinds of obstacles with the background.
    """

    def __getitem__(self, index: int) -> EvaluationFrame:
        """Reads a frame."""
        frame, files = super().__getitem__(index), self.files[index]
        height, width = frame.image.shape[:2]
        instances = disparity = None
        if files.instances is not None:
            instances = read_instances(files.instances)
            check_sizes(frame.image, files.image, instances, files.instances)
            instances = np.where(frame.anomaly == ANOMALY, instances, 0).astype(np.uint16)
        if files.disparity is not None:
            disparity = read_disparity(files.disparity)
            check_sizes(frame.image, files.image, disparity, files.disparity)
        camera = Camera.from_cityscapes_json(files.camera, width, height) if files.camera else None
        return replace(frame, instances=instances, disparity=disparity, camera=camera)


def open_lost_and_found(root: Path, split: str = "test", without_known: bool = False, scene: str = "*") -> LostAndFound:
    """Opens ``{leftImg8bit,gtCoarse,disparity,camera}/SPLIT/NN_Scene/NN_Scene_SEQ_FRAME_*``.

    Args:
        root: The folder that holds these.
        split: ``train`` or ``test``.
        without_known: Leave out the frames with children and bicycles, as LostAndFound-NoKnown does.
        scene: The folder ``NN_Scene`` of one scene; all of them by default.

    Raises:
        InputError: Images or labels are missing.
    """
    hint = "give the folder that holds leftImg8bit/ and gtCoarse/"
    image_folder = require_folder(root / "leftImg8bit" / split, hint)
    label_folder = require_folder(root / "gtCoarse" / split, hint)
    images = index_by_stem(image_folder, f"{scene}/*", remove="_leftImg8bit")
    if without_known:
        images = {key: path for key, path in images.items() if not key.startswith(_KNOWN_OBJECTS)}
    labels = index_by_stem(label_folder, f"{scene}/*", remove="_gtCoarse_labelIds")
    instances = index_by_stem(label_folder, f"{scene}/*", remove="_gtCoarse_instanceIds")
    disparities = index_by_stem(root / "disparity" / split, f"{scene}/*", remove="_disparity")
    camera_files = root.glob(f"camera/{split}/{scene}/*_camera.json")
    cameras = {path.name.removesuffix("_camera.json"): path for path in camera_files}
    pairs = zip(images, pair_files(images, labels, image_folder, label_folder), strict=True)
    files = [
        replace(pair, instances=instances.get(key), disparity=disparities.get(key), camera=cameras.get(key))
        for key, pair in pairs
    ]
    return LostAndFound("lost_and_found", files, anomaly=_LOST_AND_FOUND_VALUES)
