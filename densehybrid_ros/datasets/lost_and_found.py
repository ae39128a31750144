# SPDX-License-Identifier: Apache-2.0
"""LostAndFound (Pinggera et al. 2016) in its official layout, with disparity and camera where they are there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.datasets.evaluation_set import (
    ANOMALY,
    IGNORE,
    INLIER,
    EvaluationFrame,
    EvaluationSet,
    FrameFiles,
    check_sizes,
    index_by_stem,
    pair_files,
    require_folder,
)
from densehybrid_ros.datasets.label_values import translate_labels
from densehybrid_ros.datasets.pictures import read_color, read_disparity, read_instances, read_labels

_VALUES = {0: IGNORE, 1: INLIER} | dict.fromkeys(range(2, 201), ANOMALY)
_KNOWN_OBJECTS = (
    "15_Rechbergstr_Deckenpfronn",
    "01_Hanns_Klemm_Str_45_000006",
    "01_Hanns_Klemm_Str_45_000007",
    "10_Schlossberg_9_000004",
)
"""Beginnings of the names of frames whose obstacles are children or bicycles, which Cityscapes knows."""


class LostAndFound(EvaluationSet):
    """Frames labelled free road (1) and obstacle (2 and above); everything else is ignored.

    ``labelIds`` are read, not ``labelTrainIds``: those merge several kinds of obstacles with the background.
    """

    def __getitem__(self, index: int) -> EvaluationFrame:
        """Reads a frame with what there is of instances, disparity and camera."""
        files = self.files[index]
        image, labels = read_color(files.image), read_labels(files.label)
        check_sizes(image, files.image, labels, files.label)
        anomaly = translate_labels(labels, _VALUES, files.label)
        instances = disparity = None
        if files.instances is not None:
            instances = read_instances(files.instances)
            check_sizes(image, files.image, instances, files.instances)
            instances = np.where(anomaly == ANOMALY, instances, 0).astype(np.uint16)
        if files.disparity is not None:
            disparity = read_disparity(files.disparity)
            check_sizes(image, files.image, disparity, files.disparity)
        height, width = image.shape[:2]
        camera = Camera.from_cityscapes_json(files.camera, width, height) if files.camera else None
        return EvaluationFrame(
            str(files.label),
            image,
            anomaly=anomaly,
            instances=instances,
            disparity=disparity,
            camera=camera,
            group=files.group,
        )


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
    cameras = {
        path.name.removesuffix("_camera.json"): path for path in root.glob(f"camera/{split}/{scene}/*_camera.json")
    }
    return LostAndFound(
        [
            FrameFiles(
                pair.image,
                pair.label,
                instances=instances.get(key),
                disparity=disparities.get(key),
                camera=cameras.get(key),
                group=pair.image.parent.name,
            )
            for key, pair in zip(images, pair_files(images, labels, image_folder, label_folder), strict=True)
        ]
    )


def open_lost_and_found_no_known(root: Path) -> LostAndFound:
    """Opens the test split without the frames that show children or bicycles (SegmentMeIfYouCan's third track)."""
    return open_lost_and_found(root, without_known=True)
