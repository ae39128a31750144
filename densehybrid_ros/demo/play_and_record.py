# SPDX-License-Identifier: Apache-2.0
"""Plays a recording to other nodes over DDS, and records what they publish, byte by byte."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from threading import Condition

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from densehybrid_ros.bags import messages
from densehybrid_ros.bags.recording import RecordedFrame, Recording
from densehybrid_ros.bags.writer import RawBagWriter, qos_profile
from densehybrid_ros.demo.spinning import wait_until
from densehybrid_ros.errors import InputError
from densehybrid_ros.nodes.messages import is_installed, message_class, qos

_SENT_DEPTH = 5  # a few large pictures must fit into a transport's shared memory
_TF_DEPTH = 100  # many come between two pictures, and every one counts
_HEARD_DEPTH = 10
_SETTLE_SECONDS = 1.0  # the other side learns of a match a little later than this one


class BagPlayer:
    """Publishes what a node listens to of a recording, byte by byte.

    Topics whose message type is not installed are left out.
    """

    def __init__(self, node: Node, recording: Recording) -> None:
        names = recording.topics
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
            topic: node.create_publisher(message_class(kind), topic, _sent_qos(topic))
            for topic, kind in kinds.items()
            if topic and is_installed(kind)
        }

    def wait_for_subscriber(self, timeout: float) -> bool:
        """Waits until somebody listens to the pictures; returns whether that was so within ``timeout`` seconds."""
        matched = wait_until(lambda: self._publishers[self._image_topic].get_subscription_count() > 0, timeout)
        if matched:
            time.sleep(_SETTLE_SECONDS)
        return matched

    def play(
        self, frames: Iterable[RecordedFrame], rate: float | None = None, answered: Callable[[int], bool] | None = None
    ) -> Iterator[tuple[int, int]]:
        """Publishes frames, each after what is known when it comes.

        Yields after every picture its stamp, and when it was sent (``time.monotonic_ns``).

        Args:
            frames: Frames of the recording, in its order.
            rate: 1 for the times at which they were recorded, 2 for twice as fast; None for no pauses.
            answered: Waits for the answer to a picture's stamp, and returns whether it came. If the first has none,
                it is sent once more: on a busy machine a subscriber may learn of this publisher late.

        Raises:
            InputError: The recording is damaged.
        """
        began = time.monotonic()
        first_time: int | None = None
        for frame in frames:
            if first_time is None:
                first_time = frame.picture.time
            elif rate:
                time.sleep(max(0.0, began + (frame.picture.time - first_time) / 1e9 / rate - time.monotonic()))
            sent = self._publish(frame)
            if answered and not answered(frame.stamp) and frame.picture.time == first_time:
                sent = self._publish(frame)
                answered(frame.stamp)
            yield frame.stamp, sent

    def _publish(self, frame: RecordedFrame) -> int:
        for raw in frame.before:
            if raw.topic in self._publishers:
                self._publishers[raw.topic].publish(raw.data)
        sent = time.monotonic_ns()
        self._publishers[self._image_topic].publish(frame.picture.data)
        return sent


class BagRecorder:
    """Subscribes to topics and writes every message into a bag.

    The node's executor must spin in another thread. All recorded messages begin with a header.
    """

    def __init__(self, node: Node, writer: RawBagWriter) -> None:
        self._node, self._writer = node, writer
        self._changed = Condition()
        self._received: dict[str, dict[int, int]] = {}
        self._error: Exception | None = None

    def subscribe(self, topics: Collection[str], timeout: float, gone: Callable[[], None] | None = None) -> None:
        """Waits until every topic has a publisher, ``timeout`` seconds in all, and subscribes with the QoS it offers.

        ``gone`` is called meanwhile, and raises if the publisher can't come any more.

        Raises:
            InputError: A topic has no publisher within the time, or its type can't be recorded.
        """
        deadline = time.monotonic() + timeout
        for topic in topics:
            if not wait_until(partial(self._is_offered, topic, gone), deadline - time.monotonic()):
                raise InputError(f"{topic}: nobody published this topic within {timeout:g} s")
            self._subscribe(topic)

    def received(self, topic: str) -> dict[int, int]:
        """Returns when the messages of a topic came: stamp of the header -> ``time.monotonic_ns``."""
        with self._changed:
            return dict(self._received.get(topic, {}))

    def wait_for(self, topic: str, stamp: int, timeout: float) -> bool:
        """Waits for the message with a stamp; returns whether it came; raises what went wrong while writing one."""
        with self._changed:
            came = self._changed.wait_for(lambda: self._error or stamp in self._received[topic], timeout)
            if self._error:
                raise self._error
            return bool(came)

    def _is_offered(self, topic: str, gone: Callable[[], None] | None) -> bool:
        if gone:
            gone()
        return self._node.count_publishers(topic) > 0 and bool(self._node.get_publishers_info_by_topic(topic))

    def _subscribe(self, topic: str) -> None:
        offers = self._node.get_publishers_info_by_topic(topic)
        latched = all(o.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for o in offers)
        reliable = all(o.qos_profile.reliability == ReliabilityPolicy.RELIABLE for o in offers)
        profile = qos(_HEARD_DEPTH, reliable, latched)
        message_type = offers[0].topic_type
        with self._changed:
            self._received[topic] = {}
            self._writer.add_topic(topic, message_type, qos_profile(latched))
        callback = partial(self._store, topic)
        self._node.create_subscription(message_class(message_type), topic, callback, profile, raw=True)

    def _store(self, topic: str, data: bytes) -> None:
        now = time.monotonic_ns()
        with self._changed:
            try:
                self._writer.write_raw(topic, time.time_ns(), data)
                self._received[topic][messages.header_stamp_ns(data)] = now
            except Exception as error:  # the executor would swallow it; who waits gets it
                self._error = error
            self._changed.notify_all()


def _sent_qos(topic: str) -> QoSProfile:
    """Reliable, which matches every subscriber."""
    return qos(_TF_DEPTH if topic in ("/tf", "/tf_static") else _SENT_DEPTH, latched=topic == "/tf_static")
