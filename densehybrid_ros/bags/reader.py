"""Reading bags: rosbag1, rosbag2 in sqlite3 or mcap, raw or compressed pictures; always in the same order."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection

from densehybrid_ros.bags import messages
from densehybrid_ros.bags.frames import BagFrame, check_size
from densehybrid_ros.bags.salvage import promised_messages, salvage
from densehybrid_ros.bags.topics import COMPRESSED_SUFFIX, BagTopics
from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.errors import InputError

Decoder = Callable[[Any], np.ndarray]
"""Turns a sensor_msgs Image or CompressedImage into uint8 RGB [H, W, 3]; else InputError with the reason."""

LeaveOut = Callable[[str, int], None]
"""Is told in one line why frames can't be evaluated, and how many they are."""

T = TypeVar("T")
_OLDEST_ODOMETRY = 10**9  # nanoseconds before a picture
_PICTURE_TYPES = (messages.IMAGE, messages.COMPRESSED_IMAGE)


class DamagedBagError(InputError):
    """The bag can't be read, or not to its end."""


@contextmanager
def open_bag(path: Path, files: Sequence[Path] = ()) -> Iterator[AnyReader]:
    """Opens a bag for reading.

    Args:
        path: Directory of a rosbag2, or a single .mcap, .db3 or .bag file.
        files: What to read in its stead; messages name ``path`` nevertheless.

    Raises:
        InputError: There is no bag, or it is truncated or damaged.
    """
    recorded = path.is_dir() and any(file.suffix in {".mcap", ".db3"} for file in path.iterdir())
    if recorded and not (path / "metadata.yaml").is_file() and not files:
        raise _damaged(path, FileNotFoundError("metadata.yaml is missing"))
    if not path.exists() or (path.is_dir() and not (path / "metadata.yaml").is_file() and not files):
        raise InputError(f"{path}: no bag here (a folder with metadata.yaml, or a .mcap, .db3 or .bag file)")
    try:
        reader = AnyReader(files or [path], default_typestore=messages.typestore())
        reader.open()
        reader.paths = [path]  # messages about the bag take its name from here
    except Exception as error:  # rosbags meets damage with errors of many kinds
        raise _damaged(path, error) from error
    try:
        yield reader
    finally:
        reader.close()


def topic_types(reader: AnyReader) -> dict[str, str]:
    """Returns the topics of a bag that hold messages, by name, with their types."""
    return {c.topic: c.msgtype for c in sorted(reader.connections, key=lambda c: c.topic) if c.msgcount}


def read_messages(reader: AnyReader, topic: str) -> Iterator[tuple[int, Any]]:
    """Yields (time of recording in ns, message) of one topic in the bag's order.

    Raises:
        InputError: The bag does not hold this topic, or is damaged.
    """
    path = Path(str(reader.paths[0]))
    connections = [connection for connection in reader.connections if connection.topic == topic]
    if not connections:
        known = ", ".join(topic_types(reader)) or "none"
        raise InputError(f"{path}: no topic {topic}; it has: {known}")
    for connection, time, data in _guarded(reader.messages(connections), path):
        yield time, _deserialize(reader, path, connection.msgtype, data)


def read_raw_messages(reader: AnyReader, topics: Collection[str]) -> Iterator[tuple[Connection, int, bytes]]:
    """Yields (connection, time of recording in ns, message in CDR) of some topics in the bag's order.

    Raises:
        InputError: The bag is damaged.
    """
    path = Path(str(reader.paths[0]))
    connections = [connection for connection in reader.connections if connection.topic in topics]
    for connection, time, data in _guarded(reader.messages(connections), path):
        if not reader.is2:
            data = bytes(reader.typestore.ros1_to_cdr(data, connection.msgtype))
        yield connection, time, bytes(data)


class BagFrames:
    """The frames of a bag: every picture with what has the same stamp. A FrameSource."""

    def __init__(
        self, path: Path, decode: Decoder, topics: BagTopics | None = None, leave_out: LeaveOut | None = None
    ) -> None:
        """Looks up the topics.

        Args:
            path: The bag.
            decode: Decodes the pictures.
            topics: Names of the topics. The picture's must be there. Of the others those that are there are
                read, but one that is named otherwise than usual must be there as well.
            leave_out: Is told of frames that can't be used, which are then left out, and so is what lies behind the
                damage of a truncated file. None raises an InputError at the first of them.

        Raises:
            InputError: There is no such bag or topic, the topic holds no pictures, or the bag is damaged.
        """
        self._path, self._decode, self._leave_out = path, decode, leave_out
        self._salvaged: TemporaryDirectory[str] | None = None
        self._files: list[Path] = []
        self._damage: DamagedBagError | None = None
        self._topics, self._count = BagTopics(), 0
        try:
            self._look_up(topics or BagTopics())
        except DamagedBagError as damage:
            if leave_out is None or not self._salvage():
                raise
            self._damage = damage
            self._look_up(topics or BagTopics())
            self._count = max(self._count, promised_messages(path).get(self._topics.image, self._count + 1))

    def _salvage(self) -> bool:
        self._salvaged = TemporaryDirectory()
        self._files = salvage(self._path, Path(self._salvaged.name))
        return bool(self._files)

    def _look_up(self, topics: BagTopics) -> None:
        with open_bag(self._path, self._files) as reader:
            types = topic_types(reader)
            self._topics = _resolve_topics(self._path, topics, types)
            self._count = sum(c.msgcount for c in reader.connections if c.topic == self._topics.image)
        if types[self._topics.image] not in _PICTURE_TYPES:
            raise InputError(f"{self._path}: topic {self._topics.image} holds {types[self._topics.image]}, no pictures")

    def __len__(self) -> int:
        """Number of pictures."""
        return self._count

    @property
    def topics(self) -> BagTopics:
        """The topics as the bag has them; an empty name where it has none."""
        return self._topics

    def __iter__(self) -> Iterator[BagFrame]:
        """Reads the frames one by one in the bag's order.

        Raises:
            InputError: The bag is truncated or damaged, a message can't be decoded, sizes disagree, or
                stamps go backwards; unless such frames are to be left out.
        """
        seen = 0
        try:
            for item in self._read():
                seen += 1
                if isinstance(item, BagFrame):
                    yield item
                else:
                    self._report(item, 1)
        except DamagedBagError as damage:
            self._report(damage, max(self._count - seen, 1))
            return
        if seen < self._count or self._damage:
            reason = ValueError(f"{self._count} pictures promised, {seen} found")
            self._report(self._damage or _damaged(self._path, reason), max(self._count - seen, 0))

    def _report(self, error: InputError, frames: int) -> None:
        if self._leave_out is None:
            raise error
        self._leave_out(str(error), frames)

    def _read(self) -> Iterator[BagFrame | InputError]:
        """Reads the frames; in place of one that can't be used comes the reason."""
        names = self._topics
        with open_bag(self._path, self._files) as reader:
            streams = _Streams(reader, names)
            previous = -1
            for time, message in read_messages(reader, names.image):
                stamp = messages.stamp_ns(message.header)
                if stamp < previous:
                    yield InputError(f"{self._path}: {names.image}: stamps go backwards at {stamp} ns")
                    continue
                previous = stamp
                item: BagFrame | InputError
                try:
                    item = self._frame(message, stamp, time, streams)
                except DamagedBagError:
                    raise
                except InputError as error:
                    item = error
                yield item

    def _frame(self, message: Any, stamp: int, time: int, streams: _Streams) -> BagFrame:
        names = self._topics
        # All streams go forward first, so that a frame that is left out takes nothing from those after it.
        info, disparity = streams.cameras.latest(stamp), streams.disparities.at(stamp)
        labels, semantic, instances = (stream.at(stamp) for stream in streams.planes)
        odometry = streams.odometry.latest(stamp)
        frame = BagFrame(
            stamp=stamp,
            image=self._decoded(message, stamp),
            camera=_camera(info, disparity, streams.mountings.at(time, info)) if info else None,
            disparity=self._converted(names.disparity, disparity, messages.disparity_array),
            labels=self._converted(names.labels, labels, messages.plane),
            semantic=self._converted(names.semantic, semantic, messages.plane),
            instances=self._converted(names.instances, instances, messages.plane),
            speed=_speed(odometry, stamp),
        )
        self._check_sizes(frame)
        return frame

    def _decoded(self, message: Any, stamp: int) -> np.ndarray:
        try:
            return self._decode(message)
        except InputError as error:
            raise InputError(f"{self._path}: {self._topics.image} at {stamp} ns: {error}") from error

    def _converted(self, topic: str, message: Any, convert: Callable[[Any, str], np.ndarray]) -> np.ndarray | None:
        return None if message is None else convert(message, f"{self._path}: {topic}")

    def _check_sizes(self, frame: BagFrame) -> None:
        for role in ("disparity", "labels", "semantic", "instances"):
            values = getattr(frame, role)
            if values is not None:
                name = f"{self._path}: {getattr(self._topics, role)} at {frame.stamp} ns"
                check_size(name, values.shape, "the picture", frame.image.shape)
        if frame.camera is not None and frame.camera.width and frame.camera.height:
            name = f"{self._path}: {self._topics.camera_info} at {frame.stamp} ns"
            check_size(name, (frame.camera.height, frame.camera.width), "the picture", frame.image.shape)


def read_frames(path: Path, decode: Decoder, topics: BagTopics | None = None) -> Iterator[BagFrame]:
    """Yields the frames of a bag; see ``BagFrames``, which tells their number as well."""
    yield from BagFrames(path, decode, topics)


class StampedMessages:
    """Messages of one topic that are read forward in step with the stamps of another."""

    def __init__(self, reader: AnyReader, topic: str) -> None:
        """Begins to read.

        Args:
            reader: An open bag.
            topic: The topic, or an empty name for no messages at all.

        Raises:
            InputError: The bag does not hold this topic, or is damaged.
        """
        self._messages = read_messages(reader, topic) if topic else iter(())
        self._current: Any = None
        self._newest = -1
        self._following: Any = next(self._messages, (0, None))[1]

    def latest(self, stamp: int) -> Any:
        """Returns the last message that is not younger than ``stamp``, or None."""
        while self._following is not None and (found := messages.stamp_ns(self._following.header)) <= stamp:
            if found >= self._newest:  # one whose stamp goes backwards hides none
                self._current, self._newest = self._following, found
            self._following = next(self._messages, (0, None))[1]
        return self._current

    def at(self, stamp: int) -> Any:
        """Returns the message of exactly this stamp, or None."""
        message = self.latest(stamp)
        return message if message is not None and messages.stamp_ns(message.header) == stamp else None


class _Streams:
    """What belongs to the pictures of a bag, read in step with them."""

    def __init__(self, reader: AnyReader, names: BagTopics) -> None:
        self.cameras = StampedMessages(reader, names.camera_info)
        self.disparities = StampedMessages(reader, names.disparity)
        self.planes = [StampedMessages(reader, topic) for topic in (names.labels, names.semantic, names.instances)]
        self.odometry = StampedMessages(reader, names.odometry)
        self.mountings = _Mountings(reader)


def _speed(odometry: Any, stamp: int) -> float | None:
    """Speed of the last odometry before a picture, None where that is too long ago."""
    if odometry is None or stamp - messages.stamp_ns(odometry.header) > _OLDEST_ODOMETRY:
        return None
    return messages.odometry_speed(odometry)


def _resolve_topics(path: Path, topics: BagTopics, types: dict[str, str]) -> BagTopics:
    """Replaces names by those that the bag has: the compressed picture's, or an empty one."""
    image = topics.image
    if image not in types and image + COMPRESSED_SUFFIX in types:
        image += COMPRESSED_SUFFIX
    found: dict[str, str] = {"image": image}
    usual = BagTopics()
    for field in fields(BagTopics):
        name = found.get(field.name, getattr(topics, field.name))
        if name in types:
            found[field.name] = name
        elif field.name != "image" and name == getattr(usual, field.name):
            found[field.name] = ""
        elif types:
            raise InputError(f"{path}: no topic {name}; it has: {', '.join(types)} (see --topics)")
        else:
            raise _damaged(path, ValueError("it holds no message"))
    return replace(topics, **found)


class _Mountings:
    """How the cameras are mounted, as far as /tf and /tf_static tell it by one transform."""

    def __init__(self, reader: AnyReader) -> None:
        self._times: dict[str, list[int]] = {}
        self._poses: dict[str, list[tuple[float, float]]] = {}
        types = topic_types(reader)
        for topic in ("/tf_static", "/tf"):
            if types.get(topic) != messages.TF_MESSAGE:
                continue
            for time, message in read_messages(reader, topic):
                for transform in message.transforms:
                    camera = transform.child_frame_id
                    self._times.setdefault(camera, []).append(time)
                    self._poses.setdefault(camera, []).append(messages.camera_pose(transform.transform))

    def at(self, time: int, info: Any) -> tuple[float, float]:
        """Returns (height, pitch) of a CameraInfo's camera at a time of recording; zeros if not known."""
        camera = info.header.frame_id
        known = bisect_right(self._times.get(camera, []), time)
        return self._poses[camera][known - 1] if known else (0.0, 0.0)


def _camera(info: Any, disparity: Any, mounting: tuple[float, float]) -> Camera:
    """Puts a camera together; baseline, pitch and height are 0 where the bag does not tell them."""
    matrix = info.k if hasattr(info, "k") else info.K  # ROS 1 writes it in capitals
    baseline = 0.0
    if disparity is not None:
        baseline = disparity.t if hasattr(disparity, "t") else disparity.T
    return Camera(
        width=int(info.width),
        height=int(info.height),
        fx=float(matrix[0]),
        fy=float(matrix[4]),
        cx=float(matrix[2]),
        cy=float(matrix[5]),
        baseline=float(baseline),
        mount_height=mounting[0],
        pitch=mounting[1],
    )


def _deserialize(reader: AnyReader, path: Path, message_type: str, data: bytes) -> Any:
    try:
        return reader.deserialize(data, message_type)
    except Exception as error:  # see open_bag
        raise _damaged(path, error) from error


def _guarded(items: Iterator[T], path: Path) -> Iterator[T]:
    """Passes items through; damage met on the way becomes an InputError that names the bag."""
    while True:
        try:
            item = next(items)
        except StopIteration:
            return
        except Exception as error:  # see open_bag
            raise _damaged(path, error) from error
        yield item


def _damaged(path: Path, error: Exception) -> DamagedBagError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return DamagedBagError(f"{path}: truncated or damaged bag ({reason}); record it again, or try `ros2 bag reindex`")
