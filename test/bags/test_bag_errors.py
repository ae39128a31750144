# SPDX-License-Identifier: Apache-2.0
"""Bags that can't be read or written: one line that names the bag."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from densehybrid_ros.bags import messages
from densehybrid_ros.bags.frames import BagFrame
from densehybrid_ros.bags.reader import BagFrames
from densehybrid_ros.bags.topics import BagTopics
from densehybrid_ros.bags.writer import BagWriter, RawBagWriter
from densehybrid_ros.errors import InputError

PICTURE = np.arange(12 * 16 * 3, dtype=np.uint8).reshape(12, 16, 3)


def write_bag(path: Path, count: int = 4, **options: Any) -> Path:
    with BagWriter(path, **options) as writer:
        for index in range(count):
            writer.write(BagFrame(1_000 + index, PICTURE + np.uint8(index)))
    return path


def one_line(error: pytest.ExceptionInfo[InputError], name: object) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert str(name) in message
    return message


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_truncated_bag(tmp_path: Path, storage: str) -> None:
    rng = np.random.default_rng(0)
    bag = tmp_path / "drive"
    with BagWriter(bag, storage=storage) as writer:
        for index in range(6):
            writer.write(BagFrame(index, rng.integers(0, 256, (200, 300, 3), dtype=np.uint8)))
    (data,) = (path for path in bag.iterdir() if path.suffix in (".mcap", ".db3"))
    whole = data.read_bytes()

    for kept in (0, 5, 1_000, len(whole) // 2, len(whole) * 9 // 10):
        data.write_bytes(whole[:kept])
        with pytest.raises(InputError) as error:
            list(BagFrames(bag))
        one_line(error, bag)


def test_fewer_pictures_than_promised(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "drive", count=4)
    metadata = (bag / "metadata.yaml").read_text()
    (bag / "metadata.yaml").write_text(metadata.replace("message_count: 4", "message_count: 5"))
    with pytest.raises(InputError) as error:
        list(BagFrames(bag))
    assert "5 pictures promised, 4 found" in one_line(error, bag)


@pytest.mark.parametrize("name", ["missing", "missing.bag", "folder"])
def test_no_bag(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError) as error:
        BagFrames(tmp_path / name)
    assert "no bag here" in one_line(error, name)


def test_unknown_topic_names_those_that_are_there(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "drive")
    with pytest.raises(InputError) as error:
        BagFrames(bag, BagTopics(image="/left"))
    assert "no topic /left; it has: /camera/image" in one_line(error, bag)
    with pytest.raises(InputError, match="no topic /truth"):
        BagFrames(bag, BagTopics(labels="/truth"))


def test_topic_without_pictures(tmp_path: Path) -> None:
    bag = tmp_path / "drive"
    with BagWriter(bag) as writer:
        writer.write(BagFrame(1, PICTURE, disparity=np.ones((12, 16), np.float32)))
    with pytest.raises(InputError, match="no pictures"):
        BagFrames(bag, BagTopics(image="/camera/disparity"))


def test_an_existing_bag_is_replaced_only_when_asked(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "drive", count=4)
    with pytest.raises(InputError, match="--force"):
        write_bag(bag)
    assert len(BagFrames(bag)) == 4

    write_bag(bag, count=2, overwrite=True)

    assert len(BagFrames(bag)) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["drive"]


def test_a_folder_that_is_no_bag_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(InputError, match="is not a bag"):
        BagWriter(tmp_path / "pictures", overwrite=True)


def test_an_error_on_the_way_leaves_nothing_behind(tmp_path: Path) -> None:
    frame = BagFrame(1, PICTURE, labels=np.zeros((3, 4), np.uint8))
    with (
        pytest.raises(InputError, match="labels at 1 ns: 4x3, but the picture is 16x12"),
        BagWriter(tmp_path / "drive") as writer,
    ):
        writer.write(frame)
    assert list(tmp_path.iterdir()) == []


def test_a_bag_without_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no frames"), BagWriter(tmp_path / "drive"):
        pass
    assert list(tmp_path.iterdir()) == []


class Notes(list[tuple[str, int]]):
    """Takes what is left out."""

    def __call__(self, reason: str, frames: int) -> None:
        self.append((reason, frames))


def write_large_bag(path: Path, frames: int = 8, storage: str = "mcap") -> Path:
    """A bag of several chunks: its pictures are noise, which does not compress."""
    rng = np.random.default_rng(0)
    with BagWriter(path, storage=storage) as writer:
        for index in range(frames):
            writer.write(BagFrame(1_000 + index, rng.integers(0, 256, (400, 600, 3), dtype=np.uint8)))
    return path


def recorded_file(bag: Path) -> Path:
    (file,) = (path for path in bag.iterdir() if path.suffix in {".mcap", ".db3"})
    return file


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_truncated_file_is_read_up_to_its_damage(tmp_path: Path, storage: str) -> None:
    bag = write_large_bag(tmp_path / "drive", storage=storage)
    whole = [frame.image for frame in BagFrames(bag)]
    data = recorded_file(bag)
    data.write_bytes(data.read_bytes()[: data.stat().st_size * 6 // 10])
    notes = Notes()

    frames = list(BagFrames(bag, leave_out=notes))

    assert 0 < len(frames) < 8
    for frame, image in zip(frames, whole, strict=False):
        np.testing.assert_array_equal(frame.image, image)
    ((reason, lost),) = notes
    assert reason.startswith(f"{bag}: truncated or damaged bag")
    assert lost == 8 - len(frames)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_recording_that_broke_off_has_no_metadata(tmp_path: Path, storage: str) -> None:
    bag = write_large_bag(tmp_path / "drive", storage=storage)
    (bag / "metadata.yaml").unlink()
    data = recorded_file(bag)
    data.write_bytes(data.read_bytes()[: data.stat().st_size * 6 // 10])
    with pytest.raises(InputError) as error:
        list(BagFrames(bag))
    assert "truncated or damaged" in one_line(error, bag)
    notes = Notes()
    assert list(BagFrames(bag, leave_out=notes))
    assert notes[0][1] == 1  # at least one; how many is not known without metadata


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("kept", [0, 5, 200])
def test_nothing_whole_is_left(tmp_path: Path, kept: int, storage: str) -> None:
    bag = write_large_bag(tmp_path / "drive", 1, storage)
    data = recorded_file(bag)
    data.write_bytes(data.read_bytes()[:kept])
    with pytest.raises(InputError) as error:
        list(BagFrames(bag, leave_out=Notes()))
    one_line(error, bag)


def test_frames_that_can_not_be_used_are_left_out_one_by_one(tmp_path: Path) -> None:
    bag = tmp_path / "drive"
    with RawBagWriter(bag) as writer:
        for topic in ("/camera/image", "/camera/labels"):
            writer.add_topic(topic, messages.IMAGE)
        for time, (stamp, size) in enumerate([(100, 12), (200, 12), (150, 12), (300, 6), (400, 12)], start=1):
            header = messages.header_message(stamp, "camera")
            labels = messages.image_message(np.full((size, 16), time, np.uint8), "mono8", header)
            writer.write("/camera/labels", time, messages.serialize(labels))
            picture = messages.image_message(PICTURE, "rgb8", header)
            writer.write("/camera/image", time, messages.serialize(picture))
    notes = Notes()

    frames = list(BagFrames(bag, leave_out=notes))

    assert [(frame.number, frame.stamp) for frame in frames] == [(0, 100), (1, 200), (2, 150), (4, 400)]
    assert [int(frame.labels[0, 0]) for frame in frames if frame.labels is not None] == [1, 2, 3, 5]
    assert [frames for _, frames in notes] == [1]
    assert notes[0][0].startswith(f"{bag}: /camera/labels at 300 ns: 16x6, but the picture is 16x12")
