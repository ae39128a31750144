# SPDX-License-Identifier: Apache-2.0
"""Which messages belong to which picture, whatever their stamps and their order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hand_made import (
    IMAGE_TOPIC,
    LABELS_TOPIC,
    PICTURE,
    STEP,
    TIME,
    Item,
    channel,
    drive,
    labels,
    mcap,
    mcap_records,
    message,
    picture,
    schema,
)

from densehybrid_ros.bags import messages
from densehybrid_ros.bags.reader import BagFrames
from densehybrid_ros.bags.recording import RecordedFrame
from densehybrid_ros.bags.topics import BagTopics
from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.errors import InputError

CAMERA = Camera(16, 12, 20.0, 20.0, 8.0, 6.0, 0.2, 0.0, 1.0)


class Notes(list[tuple[str, int]]):
    """Takes what is left out."""

    def __call__(self, reason: str, frames: int) -> None:
        self.append((reason, frames))


def write(path: Path, items: Sequence[Item]) -> Path:
    path.write_bytes(mcap(mcap_records(items)))
    return path


def read(path: Path, items: Sequence[Item], notes: Notes | None = None, **options: Any) -> list[RecordedFrame]:
    return list(BagFrames(write(path / "drive.mcap", items), leave_out=notes, **options))


def numbers(frames: Sequence[RecordedFrame]) -> list[tuple[int, int | None]]:
    """What pictures and labels tell: (number of the picture, that of the labels)."""
    return [(int(frame.image[0, 0, 0]), None if frame.labels is None else int(frame.labels[0, 0])) for frame in frames]


def info(stamp: int, focal: float = 20.0) -> Any:
    camera = Camera(16, 12, focal, focal, 8.0, 6.0, 0.2, 0.0, 1.0)
    return messages.camera_info_message(camera, messages.header_message(stamp, "camera"))


def disparity(stamp: int, value: float) -> Any:
    pixels = np.full(PICTURE.shape[:2], value, np.float32)
    return messages.disparity_message(pixels, CAMERA, messages.header_message(stamp, "camera"))


def odometry(stamp: int, speed: float) -> Any:
    return messages.odometry_message(speed, messages.header_message(stamp, "base"), "base_link")


def pose(stamp: int = 0) -> Any:
    return messages.camera_pose_message(CAMERA, messages.header_message(stamp, "camera"), "base_link")


def topics_before(frame: RecordedFrame) -> list[str]:
    return [raw.topic.rpartition("/")[2] for raw in frame.before]


@pytest.mark.parametrize("late", [-(5 * 10**6), 0, 5 * 10**6, 7 * 10**9])
def test_labels_are_found_wherever_they_lie(tmp_path: Path, late: int) -> None:
    items = [(topic, time + (late if topic == LABELS_TOPIC else 0), item) for topic, time, item in drive(40)]
    frames = read(tmp_path, items)
    assert numbers(frames) == [(number, number) for number in range(40)]
    everything_behind = sorted(items, key=lambda item: item[0] == LABELS_TOPIC)
    assert numbers(read(tmp_path, everything_behind)) == [(number, number) for number in range(40)]


@pytest.mark.parametrize("stamps", [[0] * 5, [TIME] * 5, [TIME, 0, TIME, 0, TIME + 7]])
def test_stamps_that_tell_nothing_are_replaced(tmp_path: Path, stamps: list[int]) -> None:
    items = [
        *drive(5, stamps),
        *[("/camera/camera_info", TIME + k * STEP, info(stamp, 20.0 + k)) for k, stamp in enumerate(stamps)],
    ]
    frames = read(tmp_path, items)
    assert numbers(frames) == [(number, number) for number in range(5)]
    expected = [TIME + k * STEP if stamps.count(stamp) > 1 else stamp for k, stamp in enumerate(stamps)]
    assert [frame.stamp for frame in frames] == expected
    for k, frame in enumerate(frames):
        written = messages.serialize(frame.picture.message)
        assert frame.picture.stamp == frame.stamp == messages.header_stamp_ns(written)
        (camera,) = frame.before
        assert (camera.stamp, camera.message.k[0]) == (frame.stamp, 20.0 + k)


@pytest.mark.parametrize(("kind", "encoding"), [(np.uint16, "mono16"), (">u2", "16UC1"), (np.float32, "32FC1")])
def test_labels_of_other_widths_are_read_by_their_values(tmp_path: Path, kind: Any, encoding: str) -> None:
    def with_labels(value: float) -> list[RecordedFrame]:
        items = drive(2)
        wide = np.full(PICTURE.shape[:2], value).astype(kind)
        items[0] = (LABELS_TOPIC, TIME, messages.image_message(wide, encoding, items[0][2].header))
        return read(tmp_path, items)

    frame, _ = with_labels(255)
    assert frame.labels is not None
    assert frame.labels.dtype == np.uint8
    assert (frame.labels == 255).all()
    with pytest.raises(InputError, match=r"labels at \d+ ns: has the label 300"):
        with_labels(300)


def test_labels_that_can_not_be_told_apart_are_not_used(tmp_path: Path) -> None:
    items = drive(4, [0, 0, 0, TIME + 1])
    del items[2]
    notes = Notes()
    frames = read(tmp_path, items, notes)
    assert numbers(frames) == [(0, None), (1, None), (2, None), (3, 3)]
    ((reason, lost),) = notes
    assert lost == 0
    assert reason.startswith(f"{tmp_path / 'drive.mcap'}: {LABELS_TOPIC}: ")
    with pytest.raises(InputError, match="kept without"):
        read(tmp_path, items)
    strangers = [(IMAGE_TOPIC, TIME, picture(0, TIME)), (LABELS_TOPIC, TIME, labels(0, TIME + 1))]
    assert numbers(read(tmp_path, strangers, notes)) == [(0, None)]
    assert "no message has the stamp of a picture" in notes[1][0]


@pytest.mark.parametrize("jump", [3000 * 10**9, -3000 * 10**9])
@pytest.mark.parametrize("lasts", [False, True])
def test_a_jump_of_the_clock_costs_no_frame(tmp_path: Path, jump: int, lasts: bool) -> None:
    shift = [jump if number == 4 or (lasts and number > 4) else 0 for number in range(10)]
    stamps = [10**13 + number * STEP + shift[number] for number in range(10)]
    frames = read(tmp_path, drive(10, stamps))
    assert numbers(frames) == [(number, number) for number in range(10)]
    assert [frame.stamp for frame in frames] == stamps
    # The same with the times of recording: what is known when is then told by the order of the file.
    items = [
        (topic, 10**13 + number * STEP + shift[number], item)
        for number in range(10)
        for topic, item in (("/odometry", odometry(TIME, number)), (IMAGE_TOPIC, picture(number, number + 1)))
    ]
    frames = read(tmp_path, items)
    assert [[raw.message.twist.twist.linear.x for raw in frame.before] for frame in frames] == [[k] for k in range(10)]


def test_disparities_belong_to_the_nearest_picture(tmp_path: Path) -> None:
    items = drive(4, labelled=False)
    for number, offset in enumerate((1_000, -20 * 10**6, 60 * 10**6)):
        items.append(("/camera/disparity", TIME + 10 * STEP, disparity(TIME + number * STEP + offset, number + 1)))
    frames = read(tmp_path, items)
    assert [[raw.message.image.data.view("f4")[0] for raw in frame.before] for frame in frames] == [[1], [2], [], [3]]
    assert [len(frame.before) for frame in read(tmp_path, items, tolerance=0.001)] == [1, 0, 0, 0]


def test_before_is_what_came_since_the_frame_before(tmp_path: Path) -> None:
    items: list[Item] = []
    for number in range(3):
        time = TIME + number * STEP
        items += [("/odometry", time - 1, odometry(time, number)), (IMAGE_TOPIC, time, picture(number, time))]
        items += [("/tf", time + 1, pose(time)), ("/camera/camera_info", time + 5, info(time))]
    items.append(("/tf_static", TIME + 9 * STEP, pose()))
    frames = read(tmp_path, items)
    assert [topics_before(frame) for frame in frames] == [
        ["tf_static", "odometry", "camera_info"],
        ["tf", "odometry", "camera_info"],
        ["tf", "odometry", "camera_info"],
    ]
    # Each topic in a file of its own: the times of recording tell the same.
    folder = tmp_path / "split"
    folder.mkdir()
    for part, topic in enumerate(sorted({topic for topic, _, _ in items})):
        write(folder / f"part_{part}.mcap", [item for item in items if item[0] == topic])
    assert [topics_before(frame) for frame in BagFrames(folder)] == [topics_before(frame) for frame in frames]


def test_what_can_not_be_read_is_left_out_one_by_one(tmp_path: Path) -> None:
    items = drive(5)
    items[3] = (IMAGE_TOPIC, TIME + STEP, messages.image_message(PICTURE, "32SC3", items[3][2].header))
    items[4] = (LABELS_TOPIC, TIME, messages.image_message(np.zeros((3, 4), np.uint8), "mono8", items[4][2].header))
    records = mcap_records(
        [("/odometry", TIME, odometry(TIME, 1.0)), ("/odometry", TIME + STEP, odometry(1, 2.0)), *items]
    )
    records[2] = message(1, TIME, bytes(messages.serialize(odometry(TIME, 1.0)))[:60])
    position = next(k for k, record in enumerate(records) if record[0] == 5 and record == records[-1])
    records[position] = message(3, TIME, b"\x00\x01\x00")
    path, notes = tmp_path / "drive.mcap", Notes()
    path.write_bytes(mcap(records))
    frames = list(BagFrames(path, leave_out=notes))
    assert numbers(frames) == [(0, 0), (3, 3)]
    assert [frame.number for frame in frames] == [0, 3]
    assert [raw.message.twist.twist.linear.x for frame in frames for raw in frame.before] == [2.0]
    assert sorted(lost for _, lost in notes) == [0, 0, 1, 1, 1]
    reasons = [reason for reason, _ in notes]
    assert f"{path}: {IMAGE_TOPIC} at {TIME + STEP} ns: encoding '32SC3'" in " ".join(reasons)
    assert f"{path}: {LABELS_TOPIC} at {TIME + 2 * STEP} ns: 4x3, but the picture is 16x12" in " ".join(reasons)


def test_topics_are_resolved_to_what_is_there(tmp_path: Path) -> None:
    packed = messages.compressed_image_message(PICTURE, "png", messages.header_message(TIME, "camera"))
    items = [
        ("/camera/image/compressed", TIME, packed),
        ("/odometry", TIME, pose()),
        (LABELS_TOPIC, TIME, labels(3, TIME)),
    ]
    frames = BagFrames(write(tmp_path / "drive.mcap", items))
    assert frames.is_compressed
    assert frames.topics == BagTopics("/camera/image/compressed", "", "", LABELS_TOPIC, "", "", "")
    assert numbers(list(frames)) == [(0, 3)]
    records = [schema(1, "foxglove.RawImage"), channel(1, IMAGE_TOPIC, 1, "protobuf"), message(1, 1, b"x")]
    (tmp_path / "web.mcap").write_bytes(mcap(records))
    with pytest.raises(InputError, match="topic /camera/image is stored as protobuf"):
        BagFrames(tmp_path / "web.mcap")
