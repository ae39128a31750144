# SPDX-License-Identifier: Apache-2.0
"""Writes rendered frames in the official layout of LostAndFound (Pinggera et al. 2016)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from densehybrid_ros.datasets.pictures import write_picture
from densehybrid_ros.datasets.rendered_road import RenderedFrame

SCENE = "01_Rendered_Road"


def write_lost_and_found(frames: Iterable[RenderedFrame], root: Path, scene: str = SCENE) -> None:
    """Writes a drive as ``{leftImg8bit,gtCoarse,disparity,camera}/test/SCENE/SCENE_000000_FRAME_...``.

    All unknown objects have the label id 2; an instance id is 2000 + the object's number. Disparity is stored as
    round(256 d) + 1, 0 where there is none.
    """
    for index, frame in enumerate(frames):
        is_road, number = frame.semantic == 0, frame.instances
        stored = np.minimum(np.rint(frame.disparity.astype(np.float64) * 256) + 1, 65535)
        pictures = {
            "leftImg8bit": frame.image,
            "gtCoarse_labelIds": np.where(number > 0, 2, is_road).astype(np.uint8),
            "gtCoarse_labelTrainIds": np.where(number > 0, 2, np.where(is_road, 1, 255)).astype(np.uint8),
            "gtCoarse_instanceIds": np.where(number > 0, 2000 + number, is_road).astype(np.uint16),
            "disparity": np.where(frame.disparity > 0, stored, 0).astype(np.uint16),
        }
        stem = f"{scene}_000000_{index:06d}"
        for name, picture in pictures.items():
            write_picture(root / name.split("_")[0] / "test" / scene / f"{stem}_{name}.png", picture)
        frame.camera.to_cityscapes_json(root / "camera" / "test" / scene / f"{stem}_camera.json")
