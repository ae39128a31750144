# SPDX-License-Identifier: Apache-2.0
"""LostAndFound's sequences as frames, on a rendered drive in its layout."""

from __future__ import annotations

import shutil
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import pytest
from lost_and_found_layout import SCENE, write_lost_and_found
from refusal import refusal

from densehybrid_ros.bags.data_sets import lost_and_found_sequences
from densehybrid_ros.bags.sources import FIRST_STAMP
from densehybrid_ros.datasets.rendered_road import RenderedFrame, render_drive

OTHER = "02_Rendered_Road"
FRAMES = 3


@pytest.fixture(scope="module")
def rendered() -> list[RenderedFrame]:
    return list(render_drive(2, FRAMES, 128, 64))


@pytest.fixture(scope="module")
def written(rendered: list[RenderedFrame], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("laf")
    write_lost_and_found(rendered, folder)
    write_lost_and_found(rendered[:1], folder, OTHER)
    return folder


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(written, tmp_path / "laf"))


def renumber(root: Path, old: str, new: str) -> None:
    """Renames all files of a frame: ``000000_000002`` -> ``000001_000030``."""
    for path in list(root.rglob(f"{SCENE}_{old}_*")):
        path.rename(path.with_name(path.name.replace(old, new)))


def test_frames_are_those_that_were_rendered(written: Path, rendered: list[RenderedFrame]) -> None:
    first, second = lost_and_found_sequences(written)

    assert (first.name, len(first)) == (f"{SCENE}_000000", FRAMES)
    assert (second.name, len(second)) == (f"{OTHER}_000000", 1)
    seen = 0
    for frame, truth in zip(first, rendered, strict=True):
        assert frame.labels is not None
        assert frame.instances is not None
        assert frame.disparity is not None
        np.testing.assert_array_equal(frame.image, truth.image)
        np.testing.assert_array_equal(frame.labels == 0, truth.semantic == 0)
        np.testing.assert_array_equal(frame.labels == 1, truth.instances > 0)
        assert set(np.unique(frame.labels)) <= {0, 1, 255}
        np.testing.assert_array_equal(frame.instances % 1000, truth.instances)
        np.testing.assert_allclose(frame.disparity, truth.disparity, atol=1 / 256)
        assert frame.camera == truth.camera
        seen += int((truth.instances > 0).sum())
    assert seen > 0


@pytest.mark.parametrize(("rate", "stamps"), [({"fps": 10.0}, [0, 10**8, 17 * 10**9]), ({}, [0, 58823529, 10**10])])
def test_stamps_follow_the_numbers_of_the_frames(root: Path, rate: dict[str, float], stamps: list[int]) -> None:
    renumber(root, "000000_000002", "000000_000170")
    (sequence,) = lost_and_found_sequences(root, scene=SCENE, **rate)
    assert [frame.stamp - FIRST_STAMP for frame in sequence] == stamps


def test_sequences_of_a_scene_are_apart(root: Path) -> None:
    renumber(root, "000000_000002", "000001_000007")
    sequences = lost_and_found_sequences(root, scene=SCENE)
    assert [(each.name, len(each)) for each in sequences] == [(f"{SCENE}_000000", 2), (f"{SCENE}_000001", 1)]


def test_a_frame_without_labels_is_a_frame(root: Path) -> None:
    cv2.imwrite(str(file_of(root, "gtCoarse_labelIds.png")), np.zeros((64, 128), np.uint8))
    frames = list(lost_and_found_sequences(root)[0])
    assert [bool((frame.labels == 255).all()) for frame in frames] == [False, True, False]
    assert not frames[1].instances.any()


def test_limit_and_size(written: Path) -> None:
    sequence = lost_and_found_sequences(written, limit=2, size=(64, 32))[0]
    frames = list(sequence)
    assert len(sequence) == len(frames) == 2
    assert frames[0].image.shape == (32, 64, 3)
    assert frames[0].camera is not None
    assert frames[0].camera.width == 64


def file_of(root: Path, ending: str) -> Path:
    """A file of the second frame."""
    (path,) = root.rglob(f"{SCENE}_000000_000001_{ending}")
    return path


def complaint(root: Path) -> str:
    """What reading everything says is wrong."""
    return refusal(lambda: list(chain.from_iterable(lost_and_found_sequences(root))))


@pytest.mark.parametrize("folder", ["leftImg8bit", "gtCoarse", "disparity", "camera"])
def test_missing_folder(root: Path, folder: str) -> None:
    shutil.rmtree(root / folder)
    assert complaint(root).startswith(f"{root / folder / 'test'}: no such folder; ")


@pytest.mark.parametrize(
    "ending", ["camera.json", "disparity.png", "gtCoarse_labelIds.png", "gtCoarse_instanceIds.png"]
)
def test_missing_file(root: Path, ending: str) -> None:
    file_of(root, ending).unlink()
    message = complaint(root)
    assert f"{SCENE}_000000_000001_" in message
    assert "missing" in message
    assert lost_and_found_sequences(root, scene=OTHER), "a scene does without what another lacks"


@pytest.mark.parametrize("ending", ["disparity.png", "gtCoarse_labelIds.png", "gtCoarse_instanceIds.png"])
def test_sizes_that_disagree_within_a_frame(root: Path, ending: str) -> None:
    path = file_of(root, ending)
    cv2.imwrite(str(path), np.zeros((32, 64), np.uint8 if "labelIds" in ending else np.uint16))
    message = complaint(root)
    assert message.startswith(str(path))
    assert "64x32" in message


def test_sizes_that_disagree_within_a_sequence(root: Path) -> None:
    for path in root.rglob(f"{SCENE}_000000_000001_*.png"):
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert stored is not None
        cv2.imwrite(str(path), stored[:60, 4:124])
    message = complaint(root)
    assert f"{SCENE}_000000_000001_leftImg8bit.png: 120x60, but {SCENE}_000000_000000_leftImg8bit.png" in message


def test_a_camera_for_another_size_and_names_of_another_kind(root: Path, rendered: list[RenderedFrame]) -> None:
    path = file_of(root, "camera.json")
    rendered[1].camera.scaled(2048, 1024).to_cityscapes_json(path)
    assert complaint(root).startswith(f"{path}: principal point")
    for path in list(root.rglob(f"{SCENE}_000000_000001_*")):
        path.rename(path.with_name(path.name.replace("_000000_000001", "")))
    assert f"{SCENE}_leftImg8bit.png: its name is not NN_Scene_SEQ_FRAME" in complaint(root)
