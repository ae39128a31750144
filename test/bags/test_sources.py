# SPDX-License-Identifier: Apache-2.0
"""Folders of pictures as frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from refusal import refusal

from densehybrid_ros.bags.frames import BagFrame, resize_frame
from densehybrid_ros.bags.sources import FIRST_STAMP, FolderFrames, frame_name, period_ns
from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.errors import InputError

HEIGHT, WIDTH = 32, 64


def write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture if picture.ndim == 2 else picture[..., ::-1])


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """Three frames in Cityscapes' layout: pictures, disparity, labels, camera."""
    rng = np.random.default_rng(3)
    for index in (2, 9, 10):
        name = f"town_{index}"
        picture = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        write(tmp_path / f"leftImg8bit/{name}_leftImg8bit.png", picture)
        disparity = rng.integers(0, 20_000, (HEIGHT, WIDTH)).astype(np.uint16)
        disparity[0, :3] = (0, 1, 257)
        write(tmp_path / f"disparity/{name}_disparity.png", disparity)
        write(tmp_path / f"labels/{name}.png", np.full((HEIGHT, WIDTH), index % 2, np.uint8))
    camera = Camera(WIDTH, HEIGHT, 50, 50, 31, 16, 0.2, 0.03, 1.2)
    camera.to_cityscapes_json(tmp_path / "camera.json")
    return tmp_path


def refused(folder: Path, **known: Any) -> str:
    """The one line with which frames are refused."""
    return refusal(lambda: list(FolderFrames(folder, **known)))


def test_frames_come_in_natural_order_with_stamps_and_everything_that_belongs_to_them(drive: Path) -> None:
    known = {"camera": drive / "camera.json", "disparity": drive / "disparity", "labels": drive / "labels"}
    source = FolderFrames(drive / "leftImg8bit", fps=4, **known)
    frames = list(source)

    assert len(source) == 3
    assert [frame.name for frame in frames] == [f"town_{index}_leftImg8bit" for index in (2, 9, 10)]
    assert [frame.stamp for frame in frames] == [FIRST_STAMP + index * 250_000_000 for index in range(3)]
    assert [int(frame.labels.max()) for frame in frames if frame.labels is not None] == [0, 1, 0]
    stored = cv2.imread(str(drive / "leftImg8bit/town_9_leftImg8bit.png"))
    assert stored is not None
    np.testing.assert_array_equal(frames[1].image, stored[..., ::-1])
    assert frames[0].disparity is not None
    assert frames[0].disparity[0, :3].tolist() == [0.0, 0.0, 1.0]  # invalid, (1 - 1) / 256, (257 - 1) / 256
    assert frames[0].camera == Camera(WIDTH, HEIGHT, 50, 50, 31, 16, 0.2, 0.03, 1.2)


def test_limit_and_size(drive: Path) -> None:
    source = FolderFrames(
        drive / "leftImg8bit", camera=drive / "camera.json", disparity=drive / "disparity", limit=2, size=(32, 16)
    )
    frames = list(source)

    assert len(source) == len(frames) == 2
    assert frames[0].image.shape == (16, 32, 3)
    assert frames[0].camera is not None
    assert (frames[0].camera.width, frames[0].camera.fx) == (32, 25)
    full = next(iter(FolderFrames(drive / "leftImg8bit", disparity=drive / "disparity"))).disparity
    assert full is not None
    assert frames[0].disparity is not None
    assert np.isin(2 * frames[0].disparity, full).all()  # half the width, half the disparity; none mixed


def test_resizing_keeps_labels_whole() -> None:
    labels = np.random.default_rng(0).choice(np.array([0, 1, 255], np.uint8), (HEIGHT, WIDTH))
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    frame = BagFrame(1, image, labels=labels, instances=labels.astype(np.uint16) * 200)
    small = resize_frame(frame, 24, 12)
    assert small.labels is not None
    assert small.instances is not None
    assert set(np.unique(small.labels)) == {0, 1, 255}
    np.testing.assert_array_equal(small.instances, small.labels.astype(np.uint16) * 200)
    assert resize_frame(frame, WIDTH, HEIGHT) is frame


def test_camera_of_another_size_is_refused_and_scaled_when_said(drive: Path) -> None:
    Camera(1024, 512, 800, 800, 500, 250, 0.2, 0.03, 1.2).to_cityscapes_json(drive / "large.json")
    said = refused(drive / "leftImg8bit", camera=drive / "large.json")
    assert "large.json" in said
    assert "--camera-size" in said
    source = FolderFrames(drive / "leftImg8bit", camera=drive / "large.json", camera_size=(1024, 512))
    camera = next(iter(source)).camera
    assert camera is not None
    assert (camera.width, camera.fx) == (WIDTH, 50)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_unreadable_pictures(tmp_path: Path, suffix: str) -> None:
    assert refused(tmp_path).startswith(f"{tmp_path}: holds no pictures")
    path = tmp_path / f"a{suffix}"
    write(path, np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    whole = path.read_bytes()
    for kept in (0, 10, 400):
        path.write_bytes(whole[:kept])
        assert refused(tmp_path) == f"{path}: truncated or not a picture"


COLORED = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
COLORED[..., 0] = 1  # three equal channels would count as one


@pytest.mark.parametrize(
    ("role", "picture", "words"),
    [
        ("leftImg8bit", np.zeros((8, 8, 3), np.uint8), "town_9_leftImg8bit.png: 8x8, but town_2_leftImg8bit.png"),
        ("labels", np.zeros((8, 8), np.uint8), "town_9.png: 8x8, but town_9_leftImg8bit.png is 64x32"),
        ("labels", np.full((HEIGHT, WIDTH), 7, np.uint8), "label value 7"),
        ("labels", COLORED, "8-bit with 3 channels"),
        ("disparity", np.zeros((HEIGHT, WIDTH), np.uint8), "town_9_disparity.png: disparity must be 16-bit grey"),
        ("labels", None, "no label file for the frame town_9_leftImg8bit.png"),
    ],
)
def test_files_that_do_not_fit_their_frame(drive: Path, role: str, picture: np.ndarray | None, words: str) -> None:
    path = next((drive / role).glob("town_9*"))
    path.unlink()
    if picture is not None:
        write(path, picture)
    known = {} if role == "leftImg8bit" else {role: drive / role}
    said = refused(drive / "leftImg8bit", **known)
    assert said.startswith(str(drive / role))
    assert words in said


def test_labels_that_say_too_little(drive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masks = [drive / f"labels/town_{name}.png" for name in (2, 9, 10)]
    for path in masks:
        write(path, np.resize(np.array([0, 255], np.uint8), (HEIGHT, WIDTH)))
    assert len(list(FolderFrames(drive / "leftImg8bit", labels=drive / "labels"))) == 3
    assert f"{drive / 'labels'}: no pixel is an anomaly; the labels hold 0 (inlier), 255" in capsys.readouterr().err
    for path in masks:
        write(path, np.full((HEIGHT, WIDTH), 255, np.uint8))
    for role in ("labels", "semantic"):
        assert refused(drive / "leftImg8bit", **{role: drive / "labels"}).startswith(f"{drive / 'labels'}: no pixel ")
    write(masks[1], np.full((HEIGHT, WIDTH), 7, np.uint8))
    semantic = FolderFrames(drive / "leftImg8bit", semantic=drive / "labels")
    assert [int(frame.semantic.max()) for frame in semantic if frame.semantic is not None] == [255, 7, 255]
    write(masks[2], np.full((HEIGHT, WIDTH), 26, np.uint8))
    assert "these are label ids of Cityscapes" in refused(drive / "leftImg8bit", semantic=drive / "labels")


def test_names_of_roles_are_left_out() -> None:
    assert frame_name(Path("a_000001_000019_gtCoarse_labelTrainIds.png")) == "a_000001_000019"
    assert frame_name(Path("a_000001_000019_leftImg8bit.png")) == "a_000001_000019"
    assert frame_name(Path("000001_raw_data.jpg")) == "000001_raw_data"


@pytest.mark.data
def test_real_stereo_frames(shared_data: Path) -> None:
    folder = shared_data / "stereo_sample"
    source = FolderFrames(folder / "leftImg8bit", camera=folder / "camera", disparity=folder / "disparity")
    for frame in source:
        assert frame.size == (2048, 1024)
        assert frame.camera is not None
        assert frame.disparity is not None
        for row in (600, 700, 800):  # the road before the car: measured depth and ground plane agree
            disparity = frame.disparity[row, 960:1100]
            depth = frame.camera.fx * frame.camera.baseline / np.median(disparity[disparity > 0])
            assert depth == pytest.approx(frame.camera.ground_depth(row), rel=0.04)


@pytest.mark.parametrize("fps", [0.0, 1e-300, 1e300, float("nan")])
def test_a_rate_that_no_clock_has_is_named(fps: float) -> None:
    with pytest.raises(InputError, match=r"^--fps .*: must be within 0\.001\.\.1e6$"):
        period_ns(fps)
