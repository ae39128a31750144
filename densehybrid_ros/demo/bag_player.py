"""Plays a bag to other nodes over DDS, at its own pace or as fast as they answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import Connection, ConnectionExtRosbag2, QosDurability

from densehybrid_ros.bags.messages import header_stamp_ns
from densehybrid_ros.bags.reader import open_bag, read_raw_messages, topic_types
from densehybrid_ros.demo.spinning import wait_until
from densehybrid_ros.errors import InputError
from densehybrid_ros.nodes.messages import is_installed, message_class

_DEPTH = 5  # a few large pictures must fit into a transport's shared memory
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
    """Publishes the messages of a bag, byte by byte as they are in the bag. A context manager.

    Topics whose message type is not installed are left out; ``skipped`` names them.
    """

    def __init__(self, node: Node, bag: Path, image_topic: str, leave_out: Collection[str] = ()) -> None:
        """Opens the bag and offers its topics.

        Args:
            node: The node that publishes.
            bag: The bag (rosbag1 messages are converted).
            image_topic: The topic whose messages are the frames, as the bag names it.
            leave_out: Topics that are not played, such as those that the node under test publishes itself.

        Raises:
            InputError: There is no such bag or topic, or the bag is damaged.
        """
        self._node, self._bag, self._image_topic = node, bag, image_topic
        self._opened = open_bag(bag)
        self._reader = self._opened.__enter__()
        types = topic_types(self._reader)
        if image_topic not in types:
            self._opened.__exit__(None, None, None)
            raise InputError(f"{bag}: no topic {image_topic}; it has: {', '.join(types) or 'none'}")
        self.skipped = tuple(topic for topic, kind in types.items() if not is_installed(kind))
        self._publishers: dict[str, Publisher] = {
            topic: node.create_publisher(message_class(kind), topic, _qos(self._connection(topic)))
            for topic, kind in types.items()
            if topic not in self.skipped and topic not in leave_out
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
        """Withdraws the topics and closes the bag."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._opened.__exit__(None, None, None)

    def wait_for_subscriber(self, timeout: float) -> bool:
        """Waits until somebody listens to the pictures; returns whether that was so within ``timeout`` seconds."""
        publisher = self._publishers[self._image_topic]
        matched = wait_until(lambda: publisher.get_subscription_count() > 0, timeout)
        if matched:
            time.sleep(_SETTLE_SECONDS)
        return matched

    def play(self, rate: float | None = None, answered: Callable[[int], bool] | None = None) -> Iterator[SentFrame]:
        """Publishes the bag and yields after every picture.

        Args:
            rate: 1 for the times at which the bag was recorded, 2 for twice as fast; None for no pauses.
            answered: Called with a picture's stamp after it was sent; it returns once there is an answer (True)
                or too much time went by (False), and only then the next message is sent. If the first picture has
                no answer, the messages up to it are sent once more: on a busy machine, a subscriber may learn of
                this publisher later than ``wait_for_subscriber`` allows for, and nothing tells when.

        Yields:
            One item a picture.

        Raises:
            InputError: The bag is truncated or damaged.
        """
        began = time.monotonic()
        first_time: int | None = None
        opening: list[tuple[str, bytes]] | None = [] if answered else None
        for connection, recorded, data in read_raw_messages(self._reader, list(self._publishers)):
            if first_time is None:
                first_time = recorded
            if rate:
                _sleep_until(began + (recorded - first_time) / 1e9 / rate)
            if opening is not None:
                opening.append((connection.topic, data))
            sent = time.monotonic_ns()
            self._publishers[connection.topic].publish(data)
            if connection.topic != self._image_topic:
                continue
            stamp = header_stamp_ns(data)
            came = answered(stamp) if answered else None
            if answered and opening and not came:
                for topic, earlier in opening:
                    sent = time.monotonic_ns()
                    self._publishers[topic].publish(earlier)
                came = answered(stamp)
            opening = None
            yield SentFrame(stamp, sent, came)

    def _connection(self, topic: str) -> Connection:
        return next(c for c in self._reader.connections if c.topic == topic)


def _qos(connection: Connection) -> QoSProfile:
    """Reliable, which matches every subscriber; latched where the bag says so."""
    extension: Any = connection.ext
    offered = extension.offered_qos_profiles if isinstance(extension, ConnectionExtRosbag2) else []
    latched = any(qos.durability is QosDurability.TRANSIENT_LOCAL for qos in offered)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=_DEPTH,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def _sleep_until(moment: float) -> None:
    pause = moment - time.monotonic()
    if pause > 0:
        time.sleep(pause)
