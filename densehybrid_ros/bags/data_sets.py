# SPDX-License-Identifier: Apache-2.0
"""Data sets whose frames are those of drives: every sequence as frames in order of time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from densehybrid_ros.bags.frames import BagFrame, check_size
from densehybrid_ros.bags.sources import FIRST_STAMP, FrameSource, check_principal_point, period_ns
from densehybrid_ros.datasets.anomaly_sets import open_lost_and_found
from densehybrid_ros.datasets.evaluation_set import FrameFiles, require_folder
from densehybrid_ros.datasets.labelled_set import LabelledSet
from densehybrid_ros.errors import InputError

DATA_SETS = ("lost_and_found",)
"""Data sets that can become bags."""

SPLITS = ("train", "test")

LOST_AND_FOUND_FPS = 17.0
"""Frame numbers a second of LostAndFound, an assumption: its files hold no times. It is the rate of Cityscapes' camera
(Cordts et al. 2016, section 2.1), whose layout and kind of stereo camera LostAndFound shares."""

_STEM = re.compile(r"(?P<sequence>.+_\d+)_(?P<frame>\d+)_leftImg8bit")
_ROLES = {
    "instances": ("gtCoarse", "_gtCoarse_instanceIds.png"),
    "disparity": ("disparity", "_disparity.png"),
    "camera": ("camera", "_camera.json"),
}
"""What a frame has beside image and labels: attribute of its files -> folder, ending of the name."""


def lost_and_found_sequences(
    root: Path,
    split: str = "test",
    scene: str | None = None,
    fps: float = LOST_AND_FOUND_FPS,
    limit: int | None = None,
    size: tuple[int, int] | None = None,
) -> list[FrameSource]:
    """Finds the sequences of ``{leftImg8bit,gtCoarse,disparity,camera}/SPLIT/NN_Scene/NN_Scene_SEQ_FRAME_*``.

    A frame's stamp is FIRST_STAMP plus its number over the rate: numbers that the data set leaves out (it releases
    frames some numbers apart) are gaps in time. Labels are 255 everywhere where a frame is not labelled.

    Args:
        root: The folder that holds these.
        split: ``train`` or ``test``.
        scene: ``NN_Scene`` for the sequences of one scene; None for all.
        fps: Frame numbers a second.
        limit: Take at most this many frames of a sequence.
        size: (width, height) to which the frames are brought; theirs where it is not given.

    Returns:
        The sequences with labels, instances, disparity and camera, sorted by their names, ``NN_Scene_SEQ``.

    Raises:
        InputError: A folder is missing, there is no such scene, the rate is not a positive number, a picture is not
            named as above, or a frame lacks one of its files. While reading: a file is unreadable, sizes disagree, a
            label is not the data set's, or a camera file is evidently for pictures of another size.
    """
    for folder in ("leftImg8bit", "gtCoarse", "disparity", "camera"):
        hint = "give the folder that holds leftImg8bit/, gtCoarse/, disparity/ and camera/"
        require_folder(root / folder / split, hint)
    scenes = sorted(folder.name for folder in (root / "leftImg8bit" / split).iterdir() if folder.is_dir())
    if scene is not None and scene not in scenes:
        raise InputError(f"{root}: no scene {scene} in its {split} split; it has: {', '.join(scenes)}")
    period_ns(fps)
    frames = open_lost_and_found(root, split, scene=scene or "*")
    sequences: dict[str, list[tuple[int, int]]] = {}
    for index, files in enumerate(frames.files):
        _check_complete(root, split, files)
        name, number = _split_name(files.image)
        sequences.setdefault(name, []).append((number, index))
    made = []
    for name, found in sorted(sequences.items()):
        chosen = [index for _, index in sorted(found)[:limit]]
        made.append(FrameSource(partial(_read_frames, frames, chosen, fps), len(chosen), size=size, name=name))
    return made


def _read_frames(frames: LabelledSet, chosen: Sequence[int], fps: float) -> Iterator[BagFrame]:
    shape: tuple[int, ...] = ()
    first = frames.files[chosen[0]].image.name
    for index in chosen:
        files, read = frames.files[index], frames[index]
        shape = shape or read.image.shape
        check_size(str(files.image), read.image.shape, first, shape)
        if read.camera is not None:
            check_principal_point(read.camera, files.camera, "LostAndFound's are for 2048x1024; scale with --size")
        yield BagFrame(
            stamp=FIRST_STAMP + round(_split_name(files.image)[1] * 1e9 / fps),
            image=read.image,
            camera=read.camera,
            disparity=read.disparity,
            labels=read.anomaly,
            instances=read.instances,
        )


def _split_name(image: Path) -> tuple[str, int]:
    """Returns the name of the sequence and the number of the frame: ``04_Maurener_Weg_8_000000`` and 30."""
    match = _STEM.fullmatch(image.stem)
    if match is None:
        raise InputError(f"{image}: its name is not NN_Scene_SEQ_FRAME_leftImg8bit; give LostAndFound's own files")
    return match["sequence"], int(match["frame"])


def _check_complete(root: Path, split: str, files: FrameFiles) -> None:
    for role, (folder, ending) in _ROLES.items():
        if getattr(files, role) is None:
            name = files.image.stem.removesuffix("_leftImg8bit") + ending
            raise InputError(
                f"{root / folder / split / files.image.parent.name / name}: missing; add it or remove the image"
            )
