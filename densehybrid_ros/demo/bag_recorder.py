# SPDX-License-Identifier: Apache-2.0
"""Records what nodes publish into a bag, byte by byte as it came."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from functools import partial
from threading import Condition

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from densehybrid_ros.bags.messages import header_stamp_ns
from densehybrid_ros.bags.writer import RawBagWriter, qos_profile
from densehybrid_ros.demo.spinning import wait_until
from densehybrid_ros.errors import InputError
from densehybrid_ros.nodes.messages import message_class

_DEPTH = 10


class BagRecorder:
    """Subscribes to topics and writes every message into a bag.

    The node's executor must spin in another thread. All recorded messages begin with a header.
    """

    def __init__(self, node: Node, writer: RawBagWriter) -> None:
        """Notes where to write.

        Args:
            node: The node that subscribes.
            writer: An open bag.
        """
        self._node, self._writer = node, writer
        self._changed = Condition()
        self._received: dict[str, dict[int, int]] = {}
        self._error: Exception | None = None

    def subscribe(self, topics: Collection[str], timeout: float, gone: Callable[[], None] | None = None) -> None:
        """Waits until every topic has a publisher and subscribes with the quality of service it offers.

        Args:
            topics: Names of the topics.
            timeout: Seconds to wait for all of them.
            gone: Called while waiting; raises if the publisher can't come any more.

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
        """Waits for the message with a stamp; returns whether it came within ``timeout`` seconds.

        Raises:
            Exception: What went wrong while a message was written.
        """
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
        profile = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=_DEPTH,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )
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
                self._writer.write(topic, time.time_ns(), data)
                self._received[topic][header_stamp_ns(data)] = now
            except Exception as error:  # the executor would swallow it; who waits gets it
                self._error = error
            self._changed.notify_all()
