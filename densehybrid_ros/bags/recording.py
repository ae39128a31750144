# SPDX-License-Identifier: Apache-2.0
"""What a replay reads: pictures with their labels and with the messages that are known when they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from densehybrid_ros.bags.messages import serialize
from densehybrid_ros.bags.sources import FrameSource
from densehybrid_ros.bags.storage import RawMessage
from densehybrid_ros.bags.topics import BagTopics
from densehybrid_ros.bags.writer import frame_messages
from densehybrid_ros.errors import InputError

LeaveOut = Callable[[str, int], None]
"""Gets one line about what can't be used, and how many frames that costs."""


@dataclass(frozen=True)
class RecordedFrame:
    """A picture of a recording with what belongs to it."""

    number: int  # Place among the pictures, from 0
    stamp: int  # Of the picture in nanoseconds, unique within the recording
    # What files about it are called: the picture's own name, or "frame_NUMBER_SECONDS" since the first picture
    name: str
    image: np.ndarray  # uint8 RGB [H, W, 3]
    picture: RawMessage  # The picture's message
    # Camera info, disparities, odometry and transforms that are known when the picture comes, and were not known
    # at the frame before, in the order in which they came. The first frame's hold all static transforms
    before: tuple[RawMessage, ...] = ()
    labels: np.ndarray | None = None  # Anomaly labels, uint8 [H, W]
    semantic: np.ndarray | None = None  # Semantic labels, uint8 [H, W]
    instances: np.ndarray | None = None  # Ids of unknown objects, [H, W]


def timed_name(number: int, nanoseconds: int) -> str:
    """Names a frame by its place and the time since the first: ``frame_000012_3.40s``."""
    return f"frame_{number:06d}_{nanoseconds / 1e9:.2f}s"


class Recording(Protocol):
    """Frames in the order in which they were recorded.

    Attributes:
        path: Where they come from.
        topics: Names of the topics; empty for what the recording does not hold.
        period: Nanoseconds from a picture to the next, in the median; 0: unknown.
        is_compressed: Whether the pictures are CompressedImage.
    """

    path: Path
    topics: BagTopics
    period: int
    is_compressed: bool

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[RecordedFrame]: ...


class SourceFrames:
    """Pictures or a video as if recorded: with the messages that a bag of them would hold. A Recording."""

    is_compressed = False

    def __init__(
        self, path: Path, source: FrameSource, topics: BagTopics | None = None, leave_out: LeaveOut | None = None
    ) -> None:
        """Notes what to read, and who gets a line about frames that can't be; None raises an InputError."""
        self.path, self._source, self._leave_out = path, source, leave_out
        self.period = source.period
        self._names = topics or BagTopics()
        self.topics = BagTopics(self._names.image, *[""] * 6)

    def __len__(self) -> int:
        """Number of frames, a video's as its header promises."""
        return len(self._source)

    def __iter__(self) -> Iterator[RecordedFrame]:
        """Reads the frames one by one."""
        try:
            first = 0
            for number, frame in enumerate(self._source):
                first = first or frame.stamp
                made = [
                    RawMessage(topic, message.__msgtype__, frame.stamp, bytes(serialize(message)))
                    for topic, message in frame_messages(frame, self._names)
                ]
                truth = (self._names.labels, self._names.semantic, self._names.instances)
                before = tuple(message for message in made[:-1] if message.topic not in truth)
                name = frame.name or timed_name(number, frame.stamp - first)
                planes = frame.labels, frame.semantic, frame.instances
                yield RecordedFrame(number, frame.stamp, name, frame.image, made[-1], before, *planes)
        except InputError as error:
            if self._leave_out is None:
                raise
            self._leave_out(str(error), 1)
