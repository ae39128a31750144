# SPDX-License-Identifier: Apache-2.0
"""Writes rendered frames in the official layout of the LostAndFound data set (Pinggera et al. 2016)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from densehybrid_ros.datasets.pictures import write_picture
from densehybrid_ros.datasets.rendered_road.frame import RenderedFrame
from densehybrid_ros.errors import InputError
from densehybrid_ros.files import make_folder, writing

_FREE_ROAD, _FIRST_OBSTACLE = 1, 2
_FOLDERS = ("leftImg8bit", "gtCoarse", "disparity", "camera")


def write_lost_and_found(
    frames: Iterable[RenderedFrame], root: str | Path, split: str = "test", scene: str = "01_Rendered_Road"
) -> int:
    """Writes a drive as ``{leftImg8bit,gtCoarse,disparity,camera}/SPLIT/SCENE/SCENE_000000_FRAME_...``.

    The kinds of unknown objects take the label ids 2, 3, ... in the order in which they appear. An instance id is
    1000 * label id + the object's number. Disparity is stored as round(256 d) + 1, 0 where there is none.

    Args:
        frames: The drive.
        root: Folder of the data set.
        split: ``"train"`` or ``"test"``.
        scene: Name of the scene, ``NN_Name``; an existing scene of that name is refused.

    Returns:
        The number of frames written.

    Raises:
        InputError: The scene exists already, can't be written, or ``split`` is neither train nor test.
    """
    root = Path(root)
    if split not in ("train", "test"):
        raise InputError(f"split {split!r}: LostAndFound has the splits 'train' and 'test'")
    for folder in _FOLDERS:
        if (root / folder / split / scene).exists():
            raise InputError(f"{root / folder / split / scene}: exists already; remove it or name another scene")
    make_folder(root)
    count = 0
    kinds: dict[int, int] = {}
    names: dict[str, int] = {}
    with writing(root), tempfile.TemporaryDirectory(prefix=".writing_", dir=root) as temporary:
        for frame in frames:
            for item in frame.objects:
                kinds[item.id] = names.setdefault(item.kind, _FIRST_OBSTACLE + len(names))
            _write_frame(frame, Path(temporary), f"{scene}_000000_{count:06d}", kinds)
            count += 1
        for folder in _FOLDERS:
            target = root / folder / split / scene
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(Path(temporary) / folder, target)
    return count


def _write_frame(frame: RenderedFrame, folder: Path, stem: str, kinds: dict[int, int]) -> None:
    labels = np.where(frame.semantic == 0, _FREE_ROAD, 0).astype(np.uint8)
    train_ids = np.where(frame.semantic == 0, 1, 255).astype(np.uint8)
    instance_ids = labels.astype(np.uint16)
    for item in frame.objects:
        mask = frame.instances == item.id
        labels[mask] = kinds[item.id]
        train_ids[mask] = 2
        instance_ids[mask] = 1000 * kinds[item.id] + item.id
    pictures = {
        "leftImg8bit": frame.image,
        "gtCoarse_labelIds": labels,
        "gtCoarse_labelTrainIds": train_ids,
        "gtCoarse_instanceIds": instance_ids,
        "disparity": encode_disparity(frame.disparity),
    }
    for name, picture in pictures.items():
        write_picture(folder / name.split("_")[0] / f"{stem}_{name}.png", picture)
    frame.camera.to_cityscapes_json(folder / "camera" / f"{stem}_camera.json")


def encode_disparity(disparity: np.ndarray) -> np.ndarray:
    """Encodes float32 [H, W] disparity in pixels (0 = none) as uint16: round(256 d) + 1, and 0 where there is none."""
    stored = np.rint(disparity.astype(np.float64) * 256) + 1
    return np.where(disparity > 0, np.minimum(stored, 65535), 0).astype(np.uint16)
