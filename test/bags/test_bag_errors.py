# SPDX-License-Identifier: Apache-2.0
"""Bags that can't be read or written: one line that names the bag."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from densehybrid_ros.bags.frames import BagFrame
from densehybrid_ros.bags.reader import BagFrames
from densehybrid_ros.bags.topics import BagTopics
from densehybrid_ros.bags.writer import BagWriter
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


def test_topics_that_are_not_there_or_hold_no_pictures(tmp_path: Path) -> None:
    bag = tmp_path / "drive"
    with BagWriter(bag) as writer:
        writer.write(BagFrame(1, PICTURE, disparity=np.ones((12, 16), np.float32)))
    for topics, words in (
        (BagTopics(image="/left"), "no topic /left; it has: /camera/disparity, /camera/image"),
        (BagTopics(labels="/truth"), "no topic /truth"),
        (BagTopics(image="/camera/disparity"), "no pictures"),
    ):
        with pytest.raises(InputError) as error:
            BagFrames(bag, topics)
        assert words in one_line(error, bag)


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
    with (
        pytest.raises(InputError, match="labels at 1 ns: 4x3, but the picture is 16x12"),
        BagWriter(tmp_path / "drive") as writer,
    ):
        writer.write(frame)
    with pytest.raises(InputError, match="holds no frames"), BagWriter(tmp_path / "drive"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_truncated_file_is_read_up_to_its_damage(tmp_path: Path, storage: str) -> None:
    rng, bag = np.random.default_rng(0), tmp_path / "drive"
    with BagWriter(bag, storage=storage) as writer:  # of noise, which makes several chunks
        for index in range(8):
            writer.write(BagFrame(1_000 + index, rng.integers(0, 256, (400, 600, 3), dtype=np.uint8)))
    whole = [frame.image for frame in BagFrames(bag)]
    (file,) = (path for path in bag.iterdir() if path.name != "metadata.yaml")
    data = file.read_bytes()
    file.write_bytes(data[: len(data) * 6 // 10])
    with pytest.raises(InputError) as error:
        list(BagFrames(bag))
    assert "truncated or damaged" in one_line(error, bag)
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
        with pytest.raises(InputError) as error:
            list(BagFrames(bag, leave_out=lambda reason, frames: None))
        one_line(error, bag)
