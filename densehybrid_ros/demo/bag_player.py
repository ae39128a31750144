# SPDX-License-Identifier: Apache-2.0
"""Plays a recording to other nodes over DDS, at its own pace or as fast as they answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from densehybrid_ros.bags import messages
from densehybrid_ros.bags.recording import RecordedFrame, Recording
from densehybrid_ros.demo.spinning import wait_until
from densehybrid_ros.nodes.messages import is_installed, message_class

_DEPTH = 5  # a few large pictures must fit into a transport's shared memory
_TF_DEPTH = 100  # many come between two pictures, and every one counts
_SETTLE_SECONDS = 1.0  # the other side learns of a match a little later than this one


@dataclass(frozen=True)
class SentFrame:
    """A picture that was sent.

    Attributes:
        stamp: Stamp of its header in nanoseconds.
        sent: When it was handed to the transport, in nanoseconds of ``time.monotonic_ns``.
        answered: Whether an answer came in time; None where nobody waited for one.
    """

    stamp: int
    sent: int
    answered: bool | None


class BagPlayer:
    """Publishes what a node listens to of a recording, byte by byte. A context manager.

    Topics whose message type is not installed are left out.
    """

    def __init__(self, node: Node, recording: Recording) -> None:
        """Offers the topics.

        Args:
            node: The node that publishes.
            recording: What to play.
        """
        self._node, names = node, recording.topics
        self._image_topic = names.image
        picture = messages.COMPRESSED_IMAGE if recording.is_compressed else messages.IMAGE
        kinds = {
            names.image: picture,
            names.camera_info: messages.CAMERA_INFO,
            names.disparity: messages.DISPARITY_IMAGE,
            names.odometry: messages.ODOMETRY,
            "/tf": messages.TF_MESSAGE,
            "/tf_static": messages.TF_MESSAGE,
        }
        self._publishers: dict[str, Publisher] = {
            topic: node.create_publisher(message_class(kind), topic, _qos(topic))
            for topic, kind in kinds.items()
            if topic and is_installed(kind)
        }

    def __enter__(self) -> BagPlayer:
        """Returns itself."""
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Withdraws the topics."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)

    def wait_for_subscriber(self, timeout: float) -> bool:
        """Waits until somebody listens to the pictures; returns whether that was so within ``timeout`` seconds."""
        publisher = self._publishers[self._image_topic]
        matched = wait_until(lambda: publisher.get_subscription_count() > 0, timeout)
        if matched:
            time.sleep(_SETTLE_SECONDS)
        return matched

    def play(
        self,
        frames: Iterable[RecordedFrame],
        rate: float | None = None,
        answered: Callable[[int], bool] | None = None,
    ) -> Iterator[SentFrame]:
        """Publishes frames, each after what is known when it comes, and yields after every picture.

        Args:
            frames: Frames of the recording, in its order.
            rate: 1 for the times at which they were recorded, 2 for twice as fast; None for no pauses.
            answered: Called with a picture's stamp after it was sent; it returns once there is an answer (True)
                or too much time went by (False), and only then the next message is sent. If the first picture has
                no answer, the messages up to it are sent once more: on a busy machine, a subscriber may learn of
                this publisher later than ``wait_for_subscriber`` allows for, and nothing tells when.

        Yields:
            One item a picture.

        Raises:
            InputError: The recording is damaged.
        """
        began = time.monotonic()
        first_time: int | None = None
        for frame in frames:
            if first_time is None:
                first_time = frame.picture.time
            elif rate:
                _sleep_until(began + (frame.picture.time - first_time) / 1e9 / rate)
            sent = self._publish(frame)
            came = answered(frame.stamp) if answered else None
            if answered and not came and frame.picture.time == first_time:
                sent = self._publish(frame)
                came = answered(frame.stamp)
            yield SentFrame(frame.stamp, sent, came)

    def _publish(self, frame: RecordedFrame) -> int:
        for raw in frame.before:
            if raw.topic in self._publishers:
                self._publishers[raw.topic].publish(raw.data)
        sent = time.monotonic_ns()
        self._publishers[self._image_topic].publish(frame.picture.data)
        return sent


def _qos(topic: str) -> QoSProfile:
    """Reliable, which matches every subscriber."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=_TF_DEPTH if topic in ("/tf", "/tf_static") else _DEPTH,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if topic == "/tf_static" else DurabilityPolicy.VOLATILE,
    )


def _sleep_until(moment: float) -> None:
    pause = moment - time.monotonic()
    if pause > 0:
        time.sleep(pause)
