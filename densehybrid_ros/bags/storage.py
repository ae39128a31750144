# SPDX-License-Identifier: Apache-2.0
"""Any recording as one plain stream of ROS 2 messages: MCAP, SQLite or ROS 1, split, packed or cut."""

from __future__ import annotations

import shutil
import struct
import tempfile
import weakref
from array import array
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from rosbags.serde import SerdeError

from densehybrid_ros.bags.folder import PACKED_SUFFIXES, Metadata, read_metadata, recorded_files
from densehybrid_ros.bags.messages import header_stamp_ns, typestore, with_header_stamp
from densehybrid_ros.bags.record_files import ZSTD_MAGIC, Channel, McapFile, Rosbag1File, unpack, unpack_file
from densehybrid_ros.bags.sqlite_file import SQLITE_MAGIC, SqliteFile
from densehybrid_ros.errors import InputError

MAGICS = (McapFile.magic, Rosbag1File.magic[:8], SQLITE_MAGIC, ZSTD_MAGIC)
"""With which the files of recordings begin."""

_ENCODINGS = ("cdr", "ros1")
_ROS_1_NAMES = {"tf/msg/tfMessage": "tf2_msgs/msg/TFMessage"}
_COLUMNS = 7  # of an index: time, stamp, order, file, channel and the two numbers of the place
_LATEST = (1 << 63) - 1


@dataclass(frozen=True)
class RawMessage:
    """A message as it was recorded."""

    topic: str  # Its topic
    kind: str  # Its type, such as sensor_msgs/msg/Image
    time: int  # Of recording, in nanoseconds
    data: bytes  # In CDR with ROS 2's fields; empty where it can't be unpacked or converted

    @cached_property
    def message(self) -> Any:
        """The message as an object of rosbags; an InputError if it can't be deserialized."""
        try:
            return typestore().deserialize_cdr(self.data, self.kind)
        except Exception as error:  # rosbags meets damage with errors of many kinds
            name = f"{self.topic} at {self.stamp} ns, recorded at {self.time} ns"
            raise InputError(f"{name}: {len(self.data)} bytes are no {self.kind or 'known message'}") from error

    @property
    def stamp(self) -> int:
        """Stamp of the header in nanoseconds; 0 where there is none."""
        return _stamp(self.data)

    def with_stamp(self, stamp: int) -> RawMessage:
        """Returns a message that begins with a header with another stamp in nanoseconds."""
        return replace(self, data=with_header_stamp(self.data, stamp))


@dataclass
class Topic:
    """What a recording holds of one topic."""

    kind: str = ""  # Message type; empty where the recording does not say
    latched: bool = False  # Whether late subscribers get the last message
    count: int = 0  # Number of messages that can be read
    problem: str = ""  # Why messages can't be read, such as "stored as json"; empty where all can


class Storage:
    """An opened recording. What its files say counts; ``metadata.yaml`` is a hint.

    Attributes:
        path: The recording.
        topics: By name, what it holds.
        promised: By topic, how many messages ``metadata.yaml`` promises.
        damage: A line for everything that is damaged or missing.
    """

    def __init__(self, path: Path, files: list[Path], metadata: Metadata, kinds: Mapping[str, str]) -> None:
        """Reads the recording once from its first message to its last; see ``open_storage``."""
        self.path, self.promised = path, metadata.promised
        self.topics: dict[str, Topic] = {}
        self.damage: list[str] = []
        self._hints = dict(kinds) | {topic: kind for topic, kind in metadata.kinds.items() if kind}
        self._folder = Path(tempfile.mkdtemp(prefix="recording."))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._index: dict[str, array[int]] = {topic: array("q") for topic in kinds}
        self._by_stamp: dict[str, dict[int, int]] = {}
        self._order = 0
        self._files: list[McapFile | Rosbag1File | SqliteFile] = []
        names = {file.name for file in files}
        for name in metadata.files:
            if not names & {name, *(f"{name}{suffix}" for suffix in PACKED_SUFFIXES)}:
                self.damage.append(f"{name}: metadata.yaml lists it, but it is not there")
        for number, file in enumerate(files):
            self._add(number, file)
        for topic in metadata.latched & self.topics.keys():
            self.topics[topic].latched = True

    def messages(self, topics: Collection[str] | None = None) -> Iterator[RawMessage]:
        """Yields the messages of some topics (None: of all) in the order of the files."""
        for file in self._files:
            for stored in file.scan():
                channel = file.channels.get(stored.channel)
                if channel and channel.encoding in _ENCODINGS and (topics is None or channel.topic in topics):
                    yield self._message(channel, stored.time, stored.data)

    def index(self, topic: str) -> tuple[array[int], array[int], array[int]]:
        """Returns (times of recording, stamps, places in the recording) of one of the topics named at opening."""
        rows = self._index[topic]
        return rows[0::_COLUMNS], rows[1::_COLUMNS], rows[2::_COLUMNS]

    def read(self, topic: str, number: int) -> RawMessage:
        """Reads the message ``number``, from 0, of a topic named at opening."""
        row = self._index[topic][number * _COLUMNS : (number + 1) * _COLUMNS]
        file = self._files[row[3]]
        return self._message(file.channels[row[4]], row[0], file.read((row[5], row[6])))

    def find(self, topic: str, stamp: int) -> RawMessage | None:
        """Returns the last message of exactly this stamp of a topic named at opening, or None."""
        if topic not in self._index:
            return None
        if topic not in self._by_stamp:
            self._by_stamp[topic] = {found: number for number, found in enumerate(self.index(topic)[1])}
        number = self._by_stamp[topic].get(stamp)
        return None if number is None else self.read(topic, number)

    def _add(self, number: int, path: Path) -> None:
        """Opens a file and reads it once: for its topics, its damage, and where messages lie."""
        unpacked = path
        if path.suffix.lower() in PACKED_SUFFIXES:
            unpacked = self._folder / f"{number}_{path.stem}"
            if damage := unpack_file(path, unpacked):
                self.damage.append(f"{path.name}: {damage}")
        copies = self._folder / str(number)
        copies.mkdir()
        file = _opened(unpacked, copies)
        self._files.append(file)
        for stored in file.scan():
            self._order += 1
            channel = file.channels.get(stored.channel)
            if channel is None or channel.encoding not in _ENCODINGS:
                continue
            if channel.topic in self._index:
                stamp = _stamp(_cdr(channel, self._kind(channel), stored.data))
                time = min(stored.time, _LATEST)
                self._index[channel.topic].extend((time, stamp, self._order, number, stored.channel, *stored.place))
            self._topic(channel).count += 1
        for channel in file.channels.values():
            self._topic(channel)
        if file.damage:
            self.damage.append(f"{path.name}: {file.damage}")

    def _topic(self, channel: Channel) -> Topic:
        topic = self.topics.setdefault(channel.topic, Topic(latched=channel.topic == "/tf_static"))
        topic.latched |= channel.latched
        if channel.encoding not in _ENCODINGS:
            topic.problem = f"stored as {channel.encoding}"
        else:
            topic.kind = topic.kind or self._kind(channel)
        return topic

    def _kind(self, channel: Channel) -> str:
        return _ros_2_name(channel.kind) or self._hints.get(channel.topic, "")

    def _message(self, channel: Channel, time: int, data: bytes | memoryview) -> RawMessage:
        kind = self._kind(channel)
        return RawMessage(channel.topic, kind, time, _cdr(channel, kind, data))


def open_storage(path: Path, kinds: Mapping[str, str] | None = None) -> Storage:
    """Opens a recording and reads it once to learn what it holds; nothing is written beside it.

    Args:
        path: Folder of a rosbag2, or a single .mcap, .db3 or .bag file, packed with zstd or not.
        kinds: Topics of which ``Storage.index``, ``read`` and ``find`` are wanted, each with its message type, which
            counts where the recording does not say.

    Raises:
        InputError: There is no recording, or it can't be opened.
    """
    metadata = read_metadata(path) if path.is_dir() else Metadata()
    try:
        files = recorded_files(path, metadata.files)
        if not files:
            raise InputError(f"{path}: no bag here (a folder with metadata.yaml, or a .mcap, .db3 or .bag file)")
        return Storage(path, files, metadata, kinds or {})
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror or error})") from error


def _opened(path: Path, folder: Path) -> McapFile | Rosbag1File | SqliteFile:
    with path.open("rb") as stream:
        start = stream.read(16)
    if start.startswith(Rosbag1File.magic[:8]) or path.suffix.lower() == ".bag":
        return Rosbag1File(path)
    if start.startswith(SQLITE_MAGIC) or path.suffix.lower() == ".db3":
        return SqliteFile(path, folder)
    return McapFile(path)


def _ros_2_name(kind: str) -> str:
    """Names a message type as ROS 2 does: sensor_msgs/Image becomes sensor_msgs/msg/Image."""
    package, separator, name = kind.partition("/")
    kind = f"{package}/msg/{name}" if separator and "/" not in name else kind
    return _ROS_1_NAMES.get(kind, kind)


def _cdr(channel: Channel, kind: str, data: bytes | memoryview) -> bytes:
    if data[:4] == ZSTD_MAGIC:
        data = unpack(data, "zstd")[0]
    if channel.encoding == "cdr":
        return bytes(data)
    try:
        return bytes(typestore().ros1_to_cdr(data, kind))
    except (SerdeError, LookupError, ValueError, struct.error):
        return b""


def _stamp(data: bytes) -> int:
    return header_stamp_ns(data) if len(data) >= 12 else 0
