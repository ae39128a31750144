# SPDX-License-Identifier: Apache-2.0
"""Rendered drives in the layout of LostAndFound."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.datasets.rendered_road import RenderedFrame, render_drive, write_lost_and_found
from densehybrid_ros.datasets.rendered_road.lost_and_found import encode_disparity
from densehybrid_ros.errors import InputError

SCENE = "01_Rendered_Road"


@pytest.fixture(scope="module")
def frames() -> list[RenderedFrame]:
    return list(render_drive(2, 3, 256, 128))


@pytest.fixture(scope="module")
def root(frames: list[RenderedFrame], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("laf")
    assert write_lost_and_found(frames, folder, "test", SCENE) == 3
    return folder


def read(root: Path, folder: str, index: int, suffix: str) -> np.ndarray:
    path = root / folder / "test" / SCENE / f"{SCENE}_000000_{index:06d}_{suffix}"
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert picture is not None, path
    return picture


def test_files_and_nothing_else(root: Path) -> None:
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    assert len(names) == 3 * 6
    assert f"gtCoarse/test/{SCENE}/{SCENE}_000000_000002_gtCoarse_labelTrainIds.png" in names
    assert not [path for path in root.iterdir() if path.name.startswith(".")]


def test_picture_is_kept_bit_for_bit(root: Path, frames: list[RenderedFrame]) -> None:
    for index, frame in enumerate(frames):
        picture = read(root, "leftImg8bit", index, "leftImg8bit.png")
        np.testing.assert_array_equal(picture[..., ::-1], frame.image)


def test_labels_and_instances(root: Path, frames: list[RenderedFrame]) -> None:
    for index, frame in enumerate(frames):
        labels = read(root, "gtCoarse", index, "gtCoarse_labelIds.png")
        instances = read(root, "gtCoarse", index, "gtCoarse_instanceIds.png")
        train_ids = read(root, "gtCoarse", index, "gtCoarse_labelTrainIds.png")
        np.testing.assert_array_equal(labels == 1, frame.semantic == 0)
        np.testing.assert_array_equal(labels >= 2, frame.anomaly == 1)
        np.testing.assert_array_equal(train_ids == 2, frame.anomaly == 1)
        obstacle = labels >= 2
        assert obstacle.any()
        assert instances.dtype == np.uint16
        np.testing.assert_array_equal(instances[obstacle] // 1000, labels[obstacle])
        np.testing.assert_array_equal(instances[obstacle] % 1000, frame.instances[obstacle])


def test_disparity_gives_the_depth_back(root: Path, frames: list[RenderedFrame]) -> None:
    for index, frame in enumerate(frames):
        stored = read(root, "disparity", index, "disparity.png")
        assert stored.dtype == np.uint16
        np.testing.assert_array_equal(stored == 0, frame.disparity == 0)
        valid = stored > 0
        decoded = (stored[valid].astype(np.float64) - 1) / 256
        assert np.abs(decoded - frame.disparity[valid]).max() <= 0.5 / 256 + 1e-9


def test_camera_is_that_of_the_frame(root: Path, frames: list[RenderedFrame]) -> None:
    for index, frame in enumerate(frames):
        path = root / "camera" / "test" / SCENE / f"{SCENE}_000000_{index:06d}_camera.json"
        assert Camera.from_cityscapes_json(path, 256, 128) == frame.camera


def test_existing_scene_is_refused(root: Path, frames: list[RenderedFrame]) -> None:
    with pytest.raises(InputError, match="exists already"):
        write_lost_and_found(frames, root, "test", SCENE)


def test_unknown_split_is_refused(frames: list[RenderedFrame], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="split 'dev'"):
        write_lost_and_found(frames, tmp_path, "dev", SCENE)


def test_an_error_half_way_leaves_nothing(frames: list[RenderedFrame], tmp_path: Path) -> None:
    def broken():  # type: ignore[no-untyped-def]
        yield frames[0]
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_lost_and_found(broken(), tmp_path, "test", SCENE)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_disparity_encoding_by_hand() -> None:
    given = np.array([[0.0, 1.0, 0.001, 9.7, 300.0]], np.float32)
    np.testing.assert_array_equal(encode_disparity(given), [[0, 257, 1, 2484, 65535]])
