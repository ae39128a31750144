# SPDX-License-Identifier: Apache-2.0
"""Bags, pictures and videos are replayed alike; what is none of them is named for what it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from densehybrid_ros.bags.frames import BagFrame
from densehybrid_ros.bags.reader import open_recording
from densehybrid_ros.bags.recording import SourceFrames
from densehybrid_ros.bags.sources import FIRST_STAMP, FolderFrames
from densehybrid_ros.bags.topics import BagTopics
from densehybrid_ros.bags.writer import BagWriter
from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.errors import InputError

PICTURE = np.arange(12 * 16 * 3, dtype=np.uint8).reshape(12, 16, 3)


def write_pictures(folder: Path, count: int = 3) -> Path:
    folder.mkdir()
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.png"), (PICTURE + np.uint8(number))[..., ::-1])
    return folder


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "frames")
    (folder / "1.png").write_bytes(b"no picture")
    notes: list[tuple[str, int]] = []

    recording = open_recording(folder, fps=5, leave_out=lambda *note: notes.append(note))
    first, last = recording

    assert (len(recording), recording.is_compressed, recording.period) == (3, False, 200_000_000)
    assert (first.name, last.name) == ("0", "2")
    assert recording.topics == BagTopics("/camera/image", *[""] * 6)
    assert (first.stamp, last.stamp) == (FIRST_STAMP, FIRST_STAMP + 400_000_000)
    np.testing.assert_array_equal(last.image, PICTURE + np.uint8(2))
    assert last.picture.stamp == last.stamp
    np.testing.assert_array_equal(last.picture.message.data.reshape(PICTURE.shape), last.image)
    assert notes[0][0].startswith(str(folder / "1.png"))
    (single,) = open_recording(folder / "2.png")
    assert single.name == "2"
    np.testing.assert_array_equal(single.image, last.image)


def test_a_video(tmp_path: Path) -> None:
    path = tmp_path / "drive.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (64, 48))
    for number in range(4):
        writer.write(np.full((48, 64, 3), 40 * number, np.uint8))
    writer.release()
    recording = open_recording(path)
    frames = list(recording)
    assert recording.period == 50_000_000
    assert [frame.name for frame in frames[:2]] == ["frame_000000_0.00s", "frame_000001_0.05s"]
    assert [frame.stamp - FIRST_STAMP for frame in frames] == [0, 50_000_000, 100_000_000, 150_000_000]
    assert [frame.image.shape for frame in frames] == [(48, 64, 3)] * 4


def test_a_source_gives_what_its_bag_gives(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "frames")
    for role, values in (("disparity", np.uint16(300)), ("labels", np.uint8(1)), ("semantic", np.uint8(5))):
        (tmp_path / role).mkdir()
        for number in range(3):
            cv2.imwrite(str(tmp_path / role / f"{number}.png"), np.full(PICTURE.shape[:2], values))
    Camera(16, 12, 20.0, 20.0, 8.0, 6.0, 0.2, 0.0, 1.0).to_cityscapes_json(tmp_path / "camera.json")
    known = {role: tmp_path / role for role in ("disparity", "labels", "semantic")}
    source = FolderFrames(folder, camera=tmp_path / "camera.json", **known)
    with BagWriter(tmp_path / "bag") as writer:
        for frame in source:
            writer.write(replace(frame, name=""))
    direct, recorded = SourceFrames(tmp_path, source), open_recording(tmp_path / "bag")
    for one, other in zip(direct, recorded, strict=True):
        assert (one.number, one.stamp, one.picture) == (other.number, other.stamp, other.picture)
        assert {raw.topic: raw.data for raw in one.before} == {raw.topic: raw.data for raw in other.before}
        for role in ("image", "labels", "semantic"):
            np.testing.assert_array_equal(getattr(one, role), getattr(other, role))


def test_frames_of_a_bag_are_named_by_their_time(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        for stamp in (7_000_000_000, 7_100_000_000, 10_400_000_000):
            writer.write(BagFrame(stamp, PICTURE))
    recording = open_recording(tmp_path / "bag")
    names = [frame.name for frame in recording]
    assert names == ["frame_000000_0.00s", "frame_000001_0.10s", "frame_000002_3.40s"]
    assert recording.period == 1_700_000_000
    with pytest.raises(InputError, match=r"--fps 10: .* leave --fps out"):
        open_recording(tmp_path / "bag", fps=10)


def test_what_is_no_recording_is_named_for_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "drives" / "one").mkdir(parents=True)
    (tmp_path / "drives" / "two").mkdir()
    write_pictures(tmp_path / "frames")
    (tmp_path / "notes.txt").write_text("Grüße " * 1000)
    (tmp_path / "nothing").touch()
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 9)
    (tmp_path / "unfinished.mcap").touch()
    for path, reason in (
        ("empty", "an empty folder; give a bag, a picture, a folder of pictures or a video"),
        ("drives", "a folder of folders (one, two); give one of them"),
        ("notes.txt", "a text file; give a bag, a picture, a folder of pictures or a video"),
        ("nothing", "an empty file; give a bag, a picture, a folder of pictures or a video"),
        ("missing", "no such file or folder"),
        ("noise.mp4", "not a video that OpenCV can decode"),
        ("unfinished.mcap", "truncated or damaged bag: unfinished.mcap: is empty; it holds no message"),
    ):
        with pytest.raises(InputError) as error:
            open_recording(tmp_path / path)
        assert str(error.value) == f"{tmp_path / path}: {reason}"
