# SPDX-License-Identifier: Apache-2.0
"""Writing rosbag2: whole or not at all."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from densehybrid_ros import __version__
from densehybrid_ros.bags import messages
from densehybrid_ros.bags.frames import BagFrame, check_size
from densehybrid_ros.bags.topics import COMPRESSED_SUFFIX, BagTopics
from densehybrid_ros.errors import InputError
from densehybrid_ros.files import atomic_directory, writing

if TYPE_CHECKING:
    from typing import Self  # Python 3.11

STORAGES = ("mcap", "sqlite3")
COMPRESSIONS = ("jpeg", "png")

_FOREVER = QosTime(9223372036, 854775807)  # how ROS 2 writes an infinite duration
_METADATA_VERSION: Literal[8] = 8  # the newest that Humble, Jazzy, Kilted and Lyrical all read


def qos_profile(latched: bool = False) -> Qos:
    """Returns the quality of service that players offer: reliable, transient local where latched."""
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=10,
        reliability=QosReliability.RELIABLE,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=_FOREVER,
        lifespan=_FOREVER,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=_FOREVER,
        avoid_ros_namespace_conventions=False,
    )


class RawBagWriter:
    """Writes serialized messages into a rosbag2.

    A context manager: the bag appears under its name when the block ends without an error, whole, and
    replaces the one that was there if that was allowed.
    """

    def __init__(self, path: Path, storage: str = "mcap", overwrite: bool = False) -> None:
        """Checks that the bag may be written.

        Args:
            path: Directory of the bag.
            storage: "mcap" (with Zstandard-compressed chunks, as every mcap reader takes them) or "sqlite3".
            overwrite: Replace a bag that is there already.

        Raises:
            InputError: Something is there that must not be replaced.
        """
        if path.exists() and not (path / "metadata.yaml").is_file():
            raise InputError(f"{path}: exists and is not a bag; choose another name")
        if path.exists() and not overwrite:
            raise InputError(f"{path}: exists already; choose another name or replace it with --force")
        self._path = path
        self._plugin = StoragePlugin[storage.upper()]
        self._connections: dict[str, Connection] = {}
        self._stack = ExitStack()
        self._writer: Writer | None = None
        self.message_count = 0

    def __enter__(self) -> Self:
        """Opens the bag under a temporary name."""
        with ExitStack() as stack:
            fresh = stack.enter_context(atomic_directory(self._path))
            writer = Writer(fresh, version=_METADATA_VERSION, storage_plugin=self._plugin)
            if self._plugin is StoragePlugin.MCAP:
                writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            with self._writing():
                self._writer = stack.enter_context(writer)
            writer.set_custom_data("made_by", f"densehybrid_ros {__version__}")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *raised: Any) -> None:
        """Closes the bag and moves it to its place, or removes it if there was an error or nothing in it."""
        if raised[1] is not None:
            self._stack.__exit__(*raised)
            return
        if self.message_count == 0:
            nothing = InputError(f"{self._path}: nothing to write, the source holds no frames")
            self._stack.__exit__(type(nothing), nothing, None)
            raise nothing
        with self._writing():
            self._stack.close()

    def add_topic(self, topic: str, message_type: str, qos: Qos | None = None) -> None:
        """Announces a topic, which is in the bag even if no message comes; an InputError if its type is not known."""
        if message_type not in messages.typestore().types:
            raise InputError(f"{topic}: can't record the message type {message_type}, its definition is not known")
        assert self._writer is not None, "the bag is not open"
        with self._writing():
            self._connections[topic] = self._writer.add_connection(
                topic, message_type, typestore=messages.typestore(), offered_qos_profiles=[qos or qos_profile()]
            )

    def write_raw(self, topic: str, stamp: int, data: bytes | memoryview) -> None:
        """Writes a message in CDR of an announced topic, recorded at ``stamp`` ns; an OutputError if it can't."""
        assert self._writer is not None, "the bag is not open"
        with self._writing():
            self._writer.write(self._connections[topic], stamp, data)
        self.message_count += 1

    def _writing(self) -> AbstractContextManager[None]:
        return writing(self._path, sqlite3.Error)


class BagWriter(RawBagWriter):
    """Writes frames into a rosbag2: picture, camera, disparity and labels, the same stamp in every header.

    The picture of a moment is written last, so that whoever plays the bag has sent what belongs to the picture when
    the picture comes.
    """

    def __init__(
        self,
        path: Path,
        topics: BagTopics | None = None,
        frame_id: str = "camera",
        base_frame: str = "base_link",
        storage: str = "mcap",
        compression: str | None = None,
        overwrite: bool = False,
    ) -> None:
        """Checks that the bag may be written; arguments as of ``RawBagWriter`` and ``frame_messages``.

        Raises:
            InputError: Something is there that must not be replaced.
        """
        super().__init__(path, storage, overwrite)
        self._look = topics or BagTopics(), frame_id, base_frame, compression

    def write(self, frame: BagFrame) -> None:
        """Writes one moment; an InputError if something is not as large as the picture."""
        try:
            made = frame_messages(frame, *self._look)
        except InputError as error:
            raise InputError(f"{self._path}: {error}") from error
        for topic, message in made:
            if topic not in self._connections:
                self.add_topic(topic, message.__msgtype__)
            self.write_raw(topic, frame.stamp, messages.serialize(message))


def frame_messages(
    frame: BagFrame,
    topics: BagTopics,
    frame_id: str = "camera",
    base_frame: str = "base_link",
    compression: str | None = None,
) -> list[tuple[str, Any]]:
    """Makes the messages of one moment.

    Args:
        frame: The moment.
        topics: Names of the topics.
        frame_id: Optical frame of the camera, in every header.
        base_frame: The vehicle's frame; /tf says how the camera stands on it.
        compression: None for a raw picture (rgb8), "jpeg" or "png" for a CompressedImage.

    Returns:
        (topic, message), the picture last.

    Raises:
        InputError: Something is not as large as the picture.
    """
    header = messages.header_message(frame.stamp, frame_id)
    made: list[tuple[str, Any]] = []
    if frame.camera:
        made.append(("/tf", messages.camera_pose_message(frame.camera, header, base_frame)))
        made.append((topics.camera_info, messages.camera_info_message(frame.camera, header)))
    if frame.speed is not None:
        made.append((topics.odometry, messages.odometry_message(frame.speed, header, base_frame)))
    for role, topic, values, encoding in (
        ("disparity", topics.disparity, frame.disparity, ""),
        ("labels", topics.labels, frame.labels, "mono8"),
        ("semantic labels", topics.semantic, frame.semantic, "mono8"),
        ("instances", topics.instances, frame.instances, "mono16"),
    ):
        if values is not None:
            check_size(f"{role} at {frame.stamp} ns", values.shape, "the picture", frame.image.shape)
            if encoding:
                made.append((topic, messages.image_message(values, encoding, header)))
            else:
                made.append((topic, messages.disparity_message(values, frame.camera, header)))
    if compression:
        packed = messages.compressed_image_message(frame.image, compression, header)
        return [*made, (topics.image + COMPRESSED_SUFFIX, packed)]
    return [*made, (topics.image, messages.image_message(frame.image, "rgb8", header))]
