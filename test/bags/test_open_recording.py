# SPDX-License-Identifier: Apache-2.0
"""Bags, pictures and videos are replayed alike; what is none of them, or damaged, is one line that names it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hand_made import PICTURE
from refusal import refusal
from rendered_bag import write_frames

from densehybrid_ros.bags.frames import BagFrame
from densehybrid_ros.bags.reader import BagFrames, open_recording
from densehybrid_ros.bags.recording import SourceFrames
from densehybrid_ros.bags.sources import FIRST_STAMP, FolderFrames, VideoFrames
from densehybrid_ros.bags.topics import BagTopics
from densehybrid_ros.bags.writer import BagWriter
from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.errors import InputError


def write_bag(path: Path, count: int = 4, **options: Any) -> Path:
    return write_frames(path, (BagFrame(1_000 + index, PICTURE + np.uint8(index)) for index in range(count)), **options)


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
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[..., 2] = 40 * number  # red, in OpenCV's order
        writer.write(picture)
    writer.release()
    recording = open_recording(path)
    frames = list(recording)
    assert recording.period == 50_000_000
    assert [frame.name for frame in frames[:2]] == ["frame_000000_0.00s", "frame_000001_0.05s"]
    assert [frame.stamp - FIRST_STAMP for frame in frames] == [0, 50_000_000, 100_000_000, 150_000_000]
    np.testing.assert_allclose([frame.image[..., 0].mean() for frame in frames], [0, 40, 80, 120], atol=6)
    assert max(int(frame.image[..., 2].max()) for frame in frames) < 20
    few = list(VideoFrames(path, fps=5, limit=2, size=(20, 10)))
    assert [frame.stamp - FIRST_STAMP for frame in few] == [0, 200_000_000]
    assert few[0].size == (20, 10)


def test_a_source_gives_what_its_bag_gives(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "frames")
    for role, values in (("disparity", np.uint16(300)), ("labels", np.uint8(1)), ("semantic", np.uint8(5))):
        (tmp_path / role).mkdir()
        for number in range(3):
            cv2.imwrite(str(tmp_path / role / f"{number}.png"), np.full(PICTURE.shape[:2], values))
    Camera(16, 12, 20.0, 20.0, 8.0, 6.0, 0.2, 0.0, 1.0).to_cityscapes_json(tmp_path / "camera.json")
    known = {role: tmp_path / role for role in ("disparity", "labels", "semantic")}
    source = FolderFrames(folder, camera=tmp_path / "camera.json", **known)
    write_frames(tmp_path / "bag", (replace(frame, name="") for frame in source))
    direct, recorded = SourceFrames(tmp_path, source), open_recording(tmp_path / "bag")
    for one, other in zip(direct, recorded, strict=True):
        assert (one.number, one.stamp, one.picture) == (other.number, other.stamp, other.picture)
        assert {raw.topic: raw.data for raw in one.before} == {raw.topic: raw.data for raw in other.before}
        for role in ("image", "labels", "semantic"):
            np.testing.assert_array_equal(getattr(one, role), getattr(other, role))


def test_frames_of_a_bag_are_named_by_their_time(tmp_path: Path) -> None:
    stamps = (7_000_000_000, 7_100_000_000, 10_400_000_000)
    recording = open_recording(write_frames(tmp_path / "bag", (BagFrame(stamp, PICTURE) for stamp in stamps)))
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
        assert refusal(open_recording, tmp_path / path) == f"{tmp_path / path}: {reason}"


def test_fewer_pictures_than_promised_and_no_bag(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "drive", count=4)
    metadata = (bag / "metadata.yaml").read_text()
    (bag / "metadata.yaml").write_text(metadata.replace("message_count: 4", "message_count: 5"))
    said = refusal(list, BagFrames(bag))
    assert said.startswith(str(bag))
    assert "5 pictures promised, 4 found" in said
    (tmp_path / "folder").mkdir()
    for name in ("missing", "missing.bag", "folder"):
        assert refusal(BagFrames, tmp_path / name).startswith(f"{tmp_path / name}: no bag here")


def test_topics_that_are_not_there_or_hold_no_pictures(tmp_path: Path) -> None:
    bag = write_frames(tmp_path / "drive", [BagFrame(1, PICTURE, disparity=np.ones((12, 16), np.float32))])
    for topics, words in (
        (BagTopics(image="/left"), "no topic /left; it has: /camera/disparity, /camera/image"),
        (BagTopics(labels="/truth"), "no topic /truth"),
        (BagTopics(image="/camera/disparity"), "no pictures"),
    ):
        said = refusal(BagFrames, bag, topics)
        assert said.startswith(f"{bag}: ")
        assert words in said


def test_an_existing_bag_is_replaced_only_when_asked(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "drive", count=4)
    with pytest.raises(InputError, match="--force"):
        write_bag(bag)
    assert len(BagFrames(bag)) == 4

    write_bag(bag, count=2, overwrite=True)

    assert len(BagFrames(bag)) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["drive"]
    with pytest.raises(InputError, match="is not a bag"):
        BagWriter(tmp_path, overwrite=True)


def test_an_error_on_the_way_and_a_bag_without_frames_leave_nothing_behind(tmp_path: Path) -> None:
    frame = BagFrame(1, PICTURE, labels=np.zeros((3, 4), np.uint8))
    for frames, words in (([frame], "labels at 1 ns: 4x3, but the picture is 16x12"), ([], "holds no frames")):
        with pytest.raises(InputError, match=words):
            write_frames(tmp_path / "drive", frames)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_truncated_file_is_read_up_to_its_damage(tmp_path: Path, storage: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 400, 600, 3), dtype=np.uint8)  # which makes several chunks
    frames = (BagFrame(1_000 + index, image) for index, image in enumerate(noise))
    bag = write_frames(tmp_path / "drive", frames, storage=storage)
    whole = [frame.image for frame in BagFrames(bag)]
    (file,) = (path for path in bag.iterdir() if path.name != "metadata.yaml")
    data = file.read_bytes()
    file.write_bytes(data[: len(data) * 6 // 10])
    assert refusal(list, BagFrames(bag)).startswith(f"{bag}: truncated or damaged bag")
    for has_metadata in (True, False):
        notes: list[tuple[str, int]] = []
        frames = list(BagFrames(bag, leave_out=lambda *note: notes.append(note)))  # noqa: B023
        assert 0 < len(frames) < 8
        for frame, image in zip(frames, whole, strict=False):
            np.testing.assert_array_equal(frame.image, image)
        ((reason, lost),) = notes
        assert reason.startswith(f"{bag}: truncated or damaged bag")
        assert lost == (8 - len(frames) if has_metadata else 1), "without metadata at least one"
        (bag / "metadata.yaml").unlink(missing_ok=True)
    for kept in (0, 5, 200):
        file.write_bytes(data[:kept])
        assert str(bag) in refusal(lambda: list(BagFrames(bag, leave_out=lambda reason, frames: None)))
