"""Bags that can't be read or written: one line that names the bag."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from densehybrid_ros.bags import messages
from densehybrid_ros.bags.frames import BagFrame
from densehybrid_ros.bags.reader import BagFrames, read_frames
from densehybrid_ros.bags.topics import BagTopics
from densehybrid_ros.bags.writer import BagWriter, RawBagWriter
from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.errors import InputError

PICTURE = np.arange(12 * 16 * 3, dtype=np.uint8).reshape(12, 16, 3)


def decode(message: Any) -> np.ndarray:
    return message.data.reshape(message.height, message.width, 3)


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
            list(read_frames(bag, decode))
        one_line(error, bag)


def test_fewer_pictures_than_promised(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "drive", count=4)
    metadata = (bag / "metadata.yaml").read_text()
    (bag / "metadata.yaml").write_text(metadata.replace("message_count: 4", "message_count: 5"))
    with pytest.raises(InputError) as error:
        list(read_frames(bag, decode))
    assert "5 pictures promised, 4 found" in one_line(error, bag)


def test_damaged_metadata(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "drive")
    (bag / "metadata.yaml").write_text("rosbag2_bagfile_information: {version: 8")
    with pytest.raises(InputError) as error:
        BagFrames(bag, decode)
    one_line(error, bag)


@pytest.mark.parametrize("name", ["missing", "missing.bag", "folder"])
def test_no_bag(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError) as error:
        BagFrames(tmp_path / name, decode)
    assert "no bag here" in one_line(error, name)


def test_unknown_topic_names_those_that_are_there(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "drive")
    with pytest.raises(InputError) as error:
        BagFrames(bag, decode, BagTopics(image="/left"))
    assert "no topic /left; it has: /camera/image" in one_line(error, bag)
    with pytest.raises(InputError, match="no topic /truth"):
        BagFrames(bag, decode, BagTopics(labels="/truth"))


def test_topic_without_pictures(tmp_path: Path) -> None:
    bag = tmp_path / "drive"
    with BagWriter(bag) as writer:
        writer.write(BagFrame(1, PICTURE, disparity=np.ones((12, 16), np.float32)))
    with pytest.raises(InputError, match="no pictures"):
        BagFrames(bag, decode, BagTopics(image="/camera/disparity"))


def test_stamps_that_go_backwards(tmp_path: Path) -> None:
    bag = tmp_path / "drive"
    with RawBagWriter(bag) as writer:
        writer.add_topic("/camera/image", messages.IMAGE)
        for time, stamp in ((1, 100), (2, 200), (3, 150)):
            message = messages.image_message(PICTURE, "rgb8", messages.header_message(stamp, "camera"))
            writer.write("/camera/image", time, messages.serialize(message))
    frames = iter(BagFrames(bag, decode))
    assert [next(frames).stamp, next(frames).stamp] == [100, 200]
    with pytest.raises(InputError) as error:
        next(frames)
    assert "/camera/image: stamps go backwards at 150 ns" in one_line(error, bag)


def test_picture_that_can_not_be_decoded_is_named_with_its_stamp(tmp_path: Path) -> None:
    def refuse(message: Any) -> np.ndarray:
        raise InputError("encoding 'x' is not supported")

    bag = write_bag(tmp_path / "drive")
    with pytest.raises(InputError) as error:
        list(read_frames(bag, refuse))
    assert "/camera/image at 1000 ns: encoding 'x'" in one_line(error, bag)


def test_an_existing_bag_is_replaced_only_when_asked(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "drive", count=4)
    with pytest.raises(InputError, match="--force"):
        write_bag(bag)
    assert len(BagFrames(bag, decode)) == 4

    write_bag(bag, count=2, overwrite=True)

    assert len(BagFrames(bag, decode)) == 2
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


def test_rosbag1_is_read(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS1_NOETIC)
    types = store.types
    bag = tmp_path / "old.bag"
    with Writer1(bag) as writer:
        pictures = writer.add_connection("/camera/image", messages.IMAGE, typestore=store)
        cameras = writer.add_connection("/camera/camera_info", messages.CAMERA_INFO, typestore=store)
        for index in range(3):
            time = types["builtin_interfaces/msg/Time"](sec=5, nanosec=index)
            header = types["std_msgs/msg/Header"](seq=index, stamp=time, frame_id="left")
            picture = types[messages.IMAGE](header, 12, 16, "rgb8", 0, 48, (PICTURE + np.uint8(index)).reshape(-1))
            roi = types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
            matrix = np.array([9.0, 0, 8, 0, 9, 6, 0, 0, 1])
            info = types[messages.CAMERA_INFO](
                header,
                12,
                16,
                "plumb_bob",
                np.zeros(5),
                matrix,
                np.eye(3).reshape(-1),
                np.zeros(12),
                0,
                0,
                roi,
            )
            writer.write(cameras, 5_000_000_000 + index, store.serialize_ros1(info, messages.CAMERA_INFO))
            writer.write(pictures, 5_000_000_000 + index, store.serialize_ros1(picture, messages.IMAGE))

    frames = list(read_frames(bag, decode))

    assert [frame.stamp for frame in frames] == [5_000_000_000, 5_000_000_001, 5_000_000_002]
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.image, PICTURE + np.uint8(index))
        assert frame.camera is not None
        assert (frame.camera.fx, frame.camera.cx, frame.camera.width) == (9.0, 8.0, 16)


def test_labels_that_come_after_their_picture_are_found(tmp_path: Path) -> None:
    bag = tmp_path / "drive"
    store = messages.typestore()
    with Writer(bag, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        pictures = writer.add_connection("/camera/image", messages.IMAGE, typestore=store)
        labels = writer.add_connection("/camera/labels", messages.IMAGE, typestore=store)
        for index in range(3):
            header = messages.header_message(100 + index, "camera")
            writer.write(pictures, index, messages.serialize(messages.image_message(PICTURE, "rgb8", header)))
        for index in range(3):
            header = messages.header_message(100 + index, "camera")
            truth = np.full((12, 16), index, np.uint8)
            writer.write(labels, 10 + index, messages.serialize(messages.image_message(truth, "mono8", header)))

    values = [int(frame.labels[0, 0]) for frame in read_frames(bag, decode) if frame.labels is not None]

    assert values == [0, 1, 2]


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
    whole = [frame.image for frame in read_frames(bag, decode_large)]
    data = recorded_file(bag)
    data.write_bytes(data.read_bytes()[: data.stat().st_size * 6 // 10])
    notes = Notes()

    frames = list(BagFrames(bag, decode_large, leave_out=notes))

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
        BagFrames(bag, decode_large)
    assert "metadata.yaml is missing" in one_line(error, bag)
    notes = Notes()
    assert list(BagFrames(bag, decode_large, leave_out=notes))
    assert notes[0][1] == 1  # at least one; how many is not known without metadata


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("kept", [0, 5, 200])
def test_nothing_whole_is_left(tmp_path: Path, kept: int, storage: str) -> None:
    bag = write_large_bag(tmp_path / "drive", 1, storage)
    data = recorded_file(bag)
    data.write_bytes(data.read_bytes()[:kept])
    with pytest.raises(InputError) as error:
        list(BagFrames(bag, decode_large, leave_out=Notes()))
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

    frames = list(BagFrames(bag, decode, leave_out=notes))

    assert [frame.stamp for frame in frames] == [100, 200, 400]
    assert [int(frame.labels[0, 0]) for frame in frames if frame.labels is not None] == [1, 2, 5]
    assert [frames for _, frames in notes] == [1, 1]
    assert notes[0][0] == f"{bag}: /camera/image: stamps go backwards at 150 ns"
    assert notes[1][0].startswith(f"{bag}: /camera/labels at 300 ns: 16x6, but the picture is 16x12")


def test_camera_of_another_size_is_left_out(tmp_path: Path) -> None:
    bag, notes = tmp_path / "drive", Notes()
    camera = Camera(32, 24, 10.0, 10.0, 16.0, 12.0, 0.0, 0.0, 1.0)
    with RawBagWriter(bag) as writer:
        header = messages.header_message(100, "camera")
        info = messages.camera_info_message(camera, header)
        writer.add_topic("/camera/image", messages.IMAGE)
        writer.add_topic("/camera/camera_info", messages.CAMERA_INFO)
        writer.write("/camera/camera_info", 1, messages.serialize(info))
        picture = messages.image_message(PICTURE, "rgb8", header)
        writer.write("/camera/image", 1, messages.serialize(picture))
    assert list(BagFrames(bag, decode, leave_out=notes)) == []
    assert "/camera/camera_info at 100 ns: 32x24, but the picture is 16x12" in notes[0][0]


def decode_large(message: Any) -> np.ndarray:
    return message.data.reshape(message.height, message.width, 3)
