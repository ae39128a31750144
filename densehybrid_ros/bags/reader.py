# SPDX-License-Identifier: Apache-2.0
"""The frames of a bag: every picture with its labels, and the messages that are known when it comes."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from densehybrid_ros.bags import messages
from densehybrid_ros.bags.folder import is_bag_folder, is_recorded_file
from densehybrid_ros.bags.frames import check_size
from densehybrid_ros.bags.matching import known_at, match_nearest, match_stamps, unique_stamps
from densehybrid_ros.bags.recording import LeaveOut, RecordedFrame, Recording, SourceFrames, timed_name
from densehybrid_ros.bags.sources import DEFAULT_FPS, FolderFrames, FrameSource, VideoFrames
from densehybrid_ros.bags.storage import MAGICS, RawMessage, Topic, open_storage
from densehybrid_ros.bags.topics import COMPRESSED_SUFFIX, BagTopics
from densehybrid_ros.datasets.pictures import PICTURE_SUFFIXES
from densehybrid_ros.errors import InputError
from densehybrid_ros.perception.images import plane, rgb_from_message

TOLERANCE = 0.05
"""Seconds that the stamps of a picture and its disparities may differ."""

_SINGLE_FPS = 0.1
_TF, _TF_STATIC = "/tf", "/tf_static"
_KINDS = {
    "image": messages.IMAGE,
    "camera_info": messages.CAMERA_INFO,
    "disparity": messages.DISPARITY_IMAGE,
    "labels": messages.IMAGE,
    "semantic": messages.IMAGE,
    "instances": messages.IMAGE,
    "odometry": messages.ODOMETRY,
}
_LABELS = ("labels", "semantic", "instances")


class BagFrames:
    """The frames of a bag. A Recording."""

    def __init__(
        self,
        path: Path,
        topics: BagTopics | None = None,
        leave_out: LeaveOut | None = None,
        tolerance: float = TOLERANCE,
        read: Callable[[Any], np.ndarray] = rgb_from_message,
    ) -> None:
        """Reads the bag once to learn what it holds and what belongs to which picture.

        Arguments as of ``open_recording``.

        Raises:
            InputError: There is no such bag or topic, or the topic holds no pictures that can be read.
        """
        wanted = topics or BagTopics()
        kinds = {getattr(wanted, role): kind for role, kind in _KINDS.items()}
        kinds |= {_TF: messages.TF_MESSAGE, _TF_STATIC: messages.TF_MESSAGE}
        kinds |= {wanted.image + COMPRESSED_SUFFIX: messages.COMPRESSED_IMAGE}
        if wanted.image.endswith(COMPRESSED_SUFFIX):
            kinds[wanted.image] = messages.COMPRESSED_IMAGE
        self.path, self._leave_out, self._read = path, leave_out, read
        self._storage = open_storage(path, kinds)
        self.topics = self._resolved(wanted)
        self.is_compressed = self._storage.topics[self.topics.image].kind == messages.COMPRESSED_IMAGE
        self._times, self._old_stamps, self._places = self._storage.index(self.topics.image)
        self._stamps = unique_stamps(self._old_stamps, self._times)
        self.period = int(np.median(np.abs(np.diff(self._stamps)))) if len(self._stamps) > 1 else 0
        self._matched: dict[str, dict[int, int]] = {}
        self._remarks: list[str] = []
        for role in ("camera_info", *_LABELS):
            self._match_exactly(role)
        if self.topics.disparity:
            stamps = self._storage.index(self.topics.disparity)[1]
            self._matched["disparity"] = match_nearest(self._old_stamps, stamps, round(tolerance * 1e9))

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._stamps)

    def __iter__(self) -> Iterator[RecordedFrame]:
        """Reads the frames one by one.

        Raises:
            InputError: Something can't be used, unless that is to be left out; at the end for what was damaged.
        """
        for remark in self._remarks:
            self._report(remark, 0)
        waiting = [(_TF_STATIC, number) for number in range(self._transforms(_TF_STATIC))]
        given: dict[str, int] = {}
        for number, arrived in enumerate(self._arrivals()):
            waiting += arrived
            try:
                frame = self._frame(number)
            except InputError as error:
                self._report(str(error), 1)
                continue
            yield replace(frame, before=tuple(self._before(number, waiting, given)))
            waiting = []
        for number, damage in enumerate(self._damage()):
            promised = self._storage.promised.get(self.topics.image)
            lost = 1 if promised is None else max(promised - len(self), 0)
            self._report(f"{self.path}: {damage}", 0 if number else lost)

    def _report(self, reason: str, frames: int) -> None:
        if self._leave_out is None:
            raise InputError(reason)
        self._leave_out(reason, frames)

    def _damage(self) -> list[str]:
        promised = self._storage.promised.get(self.topics.image, 0)
        fewer = f"metadata.yaml: {promised} pictures promised, {len(self)} found"
        damage = [f"truncated or damaged bag: {line}" for line in self._storage.damage]
        return damage or [fewer] * (promised > len(self))

    def _resolved(self, wanted: BagTopics) -> BagTopics:
        """Replaces names by those that the bag has: the compressed picture's, or an empty one."""
        known = {name: topic for name, topic in self._storage.topics.items() if topic.count}
        damage = "; ".join(self._storage.damage)
        if not known and damage:
            raise InputError(f"{self.path}: truncated or damaged bag: {damage}; it holds no message")
        packed, found = wanted.image + COMPRESSED_SUFFIX, {}
        if wanted.image not in known and packed in known:
            wanted = replace(wanted, image=packed)
        for role, kind in _KINDS.items():
            name = getattr(wanted, role)
            kinds = (messages.IMAGE, messages.COMPRESSED_IMAGE) if role == "image" else (kind,)
            is_needed = role == "image" or name != getattr(BagTopics, role)
            problem = self._problem(name, kinds, known)
            if problem and is_needed:
                raise InputError(f"{self.path}: {problem}")
            found[role] = "" if problem else name
        return BagTopics(**found)

    def _problem(self, name: str, kinds: Sequence[str], known: dict[str, Topic]) -> str:
        """Returns why a topic can't be read as one of some kinds; empty where it can."""
        if name not in known:
            if problem := self._storage.topics.get(name, Topic()).problem:
                return f"topic {name} is {problem}, which can't be read; record it with ROS 2 (cdr)"
            return f"no topic {name}; it has: {', '.join(sorted(known)) or 'no message'} (see --topics)"
        if known[name].kind in kinds:
            return ""
        wanted = "pictures" if messages.COMPRESSED_IMAGE in kinds else kinds[0]
        return f"topic {name} holds {known[name].kind or 'messages of an unknown type'}, no {wanted}"

    def _transforms(self, topic: str) -> int:
        found = self._storage.topics.get(topic, Topic())
        return found.count if found.kind == messages.TF_MESSAGE else 0

    def _match_exactly(self, role: str) -> None:
        topic = getattr(self.topics, role)
        if not topic:
            return
        stamps = self._storage.index(topic)[1]
        self._matched[role], unclear = match_stamps(self._old_stamps, stamps)
        if role not in _LABELS:
            return
        if unclear:
            more = f" (and {len(unclear) - 1} more stamps)" if unclear[1:] else ""
            reason = f"not as many messages as pictures have the stamp {unclear[0]} ns{more}"
            mend = "which belong together can't be told, and these pictures are kept without"
            self._remarks.append(f"{self.path}: {topic}: {reason}: {mend}")
        elif not self._matched[role]:
            self._remarks.append(f"{self.path}: {topic}: no message has the stamp of a picture")

    def _arrivals(self) -> Iterator[list[tuple[str, int]]]:
        """Yields for every picture the (topic, number) of what came since the one before and is matched to none."""
        streams = [self.topics.camera_info, self.topics.odometry]
        streams += [_TF] * (self._transforms(_TF) > 0)
        matched = set(self._matched.get("camera_info", {}).values())
        order, known = {}, {}
        for topic in filter(None, streams):
            times, _, places = self._storage.index(topic)
            order[topic] = list(zip(times, places, strict=True))
            known[topic] = known_at((self._times, self._places), (times, places))
        for number in range(len(self)):
            arrived = [
                (order[topic][other], topic, other)
                for topic, counts in known.items()
                for other in range(counts[number - 1] if number else 0, counts[number])
                if topic != self.topics.camera_info or other not in matched
            ]
            yield [(topic, other) for _, topic, other in sorted(arrived)]

    def _frame(self, number: int) -> RecordedFrame:
        stamp = self._stamps[number]
        name = f"{self.path}: {self.topics.image} at {stamp} ns"
        picture = self._restamped(self._storage.read(self.topics.image, number), number)
        try:
            image = self._read(picture.message)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        planes: dict[str, np.ndarray] = {}
        for role in _LABELS:
            if number in self._matched.get(role, {}):
                topic = getattr(self.topics, role)
                raw = self._storage.read(topic, self._matched[role][number])
                name = f"{self.path}: {topic} at {stamp} ns"
                try:
                    values = plane(raw.message)
                    planes[role] = values if role == "instances" else _as_labels(values)
                except InputError as error:
                    raise InputError(f"{name}: {error}") from error
                check_size(name, planes[role].shape, "the picture", image.shape)
        own_name = timed_name(number, stamp - self._stamps[0])
        return RecordedFrame(number, stamp, own_name, image, picture, (), *map(planes.get, _LABELS))

    def _before(self, number: int, arrived: list[tuple[str, int]], given: dict[str, int]) -> Iterator[RawMessage]:
        """Reads what is known when a picture comes; what can't be deserialized is left out."""
        raws = [self._stamped(self._storage.read(topic, other)) for topic, other in arrived]
        for role in ("camera_info", "disparity"):
            other = self._matched.get(role, {}).get(number, -1)
            if other >= 0 and given.get(role) != other:  # pictures may share a disparity
                raws.append(self._restamped(self._storage.read(getattr(self.topics, role), other), number))
                given[role] = other
        for raw in raws:
            try:
                _ = raw.message
            except InputError as error:
                self._report(f"{self.path}: {error}", 0)
                continue
            yield raw

    def _restamped(self, raw: RawMessage, number: int) -> RawMessage:
        """Gives a message its picture's stamp where that is another one than was recorded."""
        new = self._stamps[number]
        return raw if self._old_stamps[number] == new or len(raw.data) < 12 else raw.with_stamp(new)

    def _stamped(self, raw: RawMessage) -> RawMessage:
        """Gives a message without a stamp the time of its recording, as pictures get it."""
        has_header = raw.kind != messages.TF_MESSAGE and len(raw.data) >= 12
        return raw.with_stamp(raw.time) if has_header and not raw.stamp else raw


def _as_labels(values: np.ndarray) -> np.ndarray:
    """Returns label values as uint8, however wide they were recorded."""
    if values.dtype == np.uint8:
        return values
    with np.errstate(invalid="ignore"):
        labels = values.astype(np.uint8)
    if not np.array_equal(labels, values):
        raise InputError(f"has the label {values[labels != values][0]}; labels are whole numbers from 0 to 255")
    return labels


def open_recording(
    path: Path,
    topics: BagTopics | None = None,
    leave_out: LeaveOut | None = None,
    tolerance: float = TOLERANCE,
    fps: float | None = None,
    read: Callable[[Any], np.ndarray] = rgb_from_message,
) -> Recording:
    """Opens a bag, a folder of pictures, one picture, a video, or a labelled set: a folder with image/ and label/.

    Args:
        path: Any of them.
        topics: Names of the topics. Of a bag the picture's must be there. Of the others those that are there are
            read, but one that is named otherwise than usual must be there as well.
        leave_out: Gets a line about what can't be used and is left out. None raises an InputError at the first.
        tolerance: Seconds that the stamps of a picture and its disparities may differ.
        fps: Frames a second of pictures (default 10) or of a video (default: its own). Those of a labelled set are
            single ones by default, so far apart that no track runs from one to the next.
        read: Makes RGB of a picture's message in a bag.

    Raises:
        InputError: It is none of them; the message says what it is. Or a bag lacks a topic, or has an fps given.
    """
    if _is_bag(path):
        if fps is not None:
            raise InputError(f"--fps {fps:g}: {path} has stamps of its own; leave --fps out")
        return BagFrames(path, topics, leave_out, tolerance, read)
    source: FrameSource
    if is_pictures(path):
        source = FolderFrames(path, fps or DEFAULT_FPS, leave_out=leave_out)
    elif is_labelled_folder(path):
        source = FolderFrames(path / "image", fps or _SINGLE_FPS, labels=path / "label", leave_out=leave_out)
    elif reason := _what_else(path):
        raise InputError(f"{path}: {reason}")
    else:
        source = VideoFrames(path, fps)
    return SourceFrames(path, source, topics, leave_out)


def is_pictures(path: Path) -> bool:
    """Whether a path is a picture or a folder of such, which need not follow each other in time."""
    if path.is_dir():
        return not _is_bag(path) and any(item.suffix.lower() in PICTURE_SUFFIXES for item in path.iterdir())
    return path.is_file() and path.suffix.lower() in PICTURE_SUFFIXES


def is_labelled_folder(path: Path) -> bool:
    """Whether a folder holds image/ and label/, anomaly labels of the pictures by their names."""
    return (path / "image").is_dir() and (path / "label").is_dir()


def _is_bag(path: Path) -> bool:
    if not path.is_file():
        return path.is_dir() and is_bag_folder(path)
    with path.open("rb") as stream:
        return stream.read(16).startswith(MAGICS) or is_recorded_file(path)


def _what_else(path: Path) -> str:
    """Returns what a path is that is neither a bag nor a folder of pictures; empty for what may be a video."""
    wanted = "give a bag, a picture, a folder of pictures or a video"
    if path.is_dir():
        items = sorted(item for item in path.iterdir() if not item.name.startswith("."))
        folders = [item.name for item in items if item.is_dir()]
        if folders:
            return f"a folder of folders ({', '.join(folders[:5])}{', ...' if folders[5:] else ''}); give one of them"
        found = f"a folder without bag or pictures ({items[0].name}, ...)" if items else "an empty folder"
        return f"{found}; {wanted}"
    if not path.is_file():
        return "no such file or folder"
    with path.open("rb") as stream:
        start = stream.read(4096)
    if not start:
        return f"an empty file; {wanted}"
    try:
        getincrementaldecoder("utf-8")().decode(start)  # which allows for a letter that is cut
    except UnicodeDecodeError:
        return ""
    return "" if b"\0" in start else f"a text file; {wanted}"
