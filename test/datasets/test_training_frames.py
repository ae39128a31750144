# SPDX-License-Identifier: Apache-2.0
"""Training frames and cut-outs in memory, and what is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from densehybrid_ros.datasets.negative_folder import load_cutouts
from densehybrid_ros.datasets.registry import open_training_set
from densehybrid_ros.datasets.training_frames import hold_in_memory
from densehybrid_ros.errors import InputError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two stretched frames: the left half is road and red, the right half sky and blue."""
    for part in ("image", "label"):
        (tmp_path / "train" / part).mkdir(parents=True)
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, :16, 2], image[:, 16:, 0] = 255, 255  # OpenCV writes BGR
    label = np.zeros((32, 32), np.uint8)
    label[:, 16:] = 10
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / "train" / "image" / f"{name}.jpg"), image)
        cv2.imwrite(str(tmp_path / "train" / "label" / f"{name}.png"), label)
    return tmp_path


def test_frames_get_their_geometry_and_colours_back(root: Path) -> None:
    store = hold_in_memory(open_training_set("cityscapes_640", root))
    assert store.images.shape == (2, 3, 32, 64)
    assert store.labels.shape == (2, 32, 64)
    assert (store.labels[:, :, :32] == 0).all()
    assert (store.labels[:, :, 32:] == 10).all()
    assert (store.images[:, 0, :, :24] > 200).all()
    assert (store.images[:, 2, :, 40:] > 200).all()


def test_a_value_outside_the_table_is_named(root: Path) -> None:
    cv2.imwrite(str(root / "train" / "label" / "b.png"), np.full((32, 32), 33, np.uint8))
    with pytest.raises(InputError, match=r"b\.png: label value 33"):
        hold_in_memory(open_training_set("cityscapes_640", root))


@pytest.mark.parametrize("part", ["image/b.jpg", "label/b.png"])
def test_an_unreadable_file_is_named(root: Path, part: str) -> None:
    (root / "train" / part).write_bytes(b"nothing")
    with pytest.raises(InputError, match=rf"{Path(part).name}: truncated or not a picture"):
        hold_in_memory(open_training_set("cityscapes_640", root))


def test_cutouts_are_cropped_to_what_is_opaque(tmp_path: Path) -> None:
    image = np.zeros((20, 30, 4), np.uint8)
    image[5:15, 10:25] = (255, 0, 0, 255)  # blue in OpenCV's order
    cv2.imwrite(str(tmp_path / "a.png"), image)
    (cutout,) = load_cutouts(tmp_path)
    assert cutout.shape == (4, 10, 15)
    assert (cutout[2] == 255).all()
    assert (cutout[3] == 255).all()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "holds no pictures"),
        (np.zeros((4, 4, 3), np.uint8), "needs an alpha channel"),
        (np.zeros((4, 4, 4), np.uint8), "that is opaque somewhere"),
    ],
)
def test_what_is_no_cutout_is_refused(tmp_path: Path, image: np.ndarray | None, message: str) -> None:
    if image is not None:
        cv2.imwrite(str(tmp_path / "a.png"), image)
    with pytest.raises(InputError, match=message):
        load_cutouts(tmp_path)
