# SPDX-License-Identifier: Apache-2.0
"""A frame with its ground truth, and the files of frames: images and labels that belong together by their names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.datasets.pictures import PICTURE_SUFFIXES
from densehybrid_ros.errors import InputError

INLIER, ANOMALY, IGNORE = 0, 1, 255
"""Values of an anomaly label."""


@dataclass(frozen=True)
class EvaluationFrame:
    """A frame with its ground truth; all maps have the height and width of the image."""

    name: str  # The file of its labels, for messages
    image: np.ndarray  # uint8 [H, W, 3], RGB
    anomaly: np.ndarray | None = None  # uint8 [H, W], 0 inlier, 1 anomaly, 255 ignore; None where the set has none
    semantic: np.ndarray | None = None  # uint8 [H, W], train ids, 255 void; None where the set has no classes
    instances: np.ndarray | None = None  # uint16 [H, W], 0 none, else the obstacle's id; None where the set has none
    disparity: np.ndarray | None = None  # float32 [H, W] in pixels, 0 invalid; None where the set has none
    camera: Camera | None = None  # The camera, scaled to the image; None where the set has none
    group: str = ""  # Folder of its image, such as the city or the town


@dataclass(frozen=True)
class FrameFiles:
    """Paths of one frame's files; a role that the set lacks is None."""

    image: Path
    label: Path
    instances: Path | None = None
    disparity: Path | None = None
    camera: Path | None = None
    overlay: Path | None = None


def check_sizes(image: np.ndarray, image_path: Path, other: np.ndarray, other_path: Path) -> None:
    """Raises an InputError that names both files where a map has not its image's height and width."""
    if image.shape[:2] != other.shape[:2]:
        (height, width), (rows, columns) = image.shape[:2], other.shape[:2]
        raise InputError(f"{other_path}: is {columns}x{rows}, but {image_path} is {width}x{height}; they must agree")


def require_folder(folder: Path, hint: str) -> Path:
    """Returns ``folder`` or raises an InputError that ends in ``hint`` if it is none."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; {hint}")
    return folder


def index_pictures(folder: Path, pattern: str, ending: str = "") -> dict[str, Path]:
    """Finds picture files below a folder by a glob, sorted by path.

    The keys are their paths below the folder without suffix and ``ending``; files without the ending are left out.
    """
    found = {}
    for path in sorted(folder.glob(pattern)):
        key = path.relative_to(folder).with_suffix("").as_posix()
        if path.suffix.lower() in PICTURE_SUFFIXES and key.endswith(ending):
            found[key[: len(key) - len(ending)]] = path
    return found


def pair_files(
    images: dict[str, Path], labels: dict[str, Path], image_folder: Path, label_folder: Path
) -> list[FrameFiles]:
    """Puts images and labels of the same key together; a label without an image is left out.

    Raises:
        InputError: There is no image, or one has no label.
    """
    if not images:
        raise InputError(f"{image_folder}: holds no pictures; check the folder and which data set it is")
    for key, path in images.items():
        if key not in labels:
            raise InputError(f"{path}: its label is missing in {label_folder}; add it or remove the image")
    return [FrameFiles(path, labels[key]) for key, path in images.items()]


def pair_folders(
    image_folder: Path, label_folder: Path, hint: str, pattern: str = "*", endings: tuple[str, str] = ("", "")
) -> list[FrameFiles]:
    """Pairs the pictures of two folders by their names without the endings (of images, of labels).

    Raises:
        InputError: A folder is missing (the message ends in ``hint``) or empty, or an image lacks its label.
    """
    folders = image_folder, label_folder
    images, labels = (
        index_pictures(require_folder(folder, hint), pattern, ending)
        for folder, ending in zip(folders, endings, strict=True)
    )
    return pair_files(images, labels, *folders)
