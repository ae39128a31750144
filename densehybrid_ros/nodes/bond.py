# SPDX-License-Identifier: Apache-2.0
"""The node's side of a bond, the heartbeat by which Nav2's lifecycle manager watches an active node.

It needs the messages of the package ``bond`` alone, which come with Nav2. Without them, the manager is to be given
``bond_timeout: 0.0``.
"""

from __future__ import annotations

import uuid
from typing import Any

from rclpy.clock import Clock
from rclpy.node import Node
from rclpy.timer import Timer

from densehybrid_ros.nodes.messages import is_installed, message_class

STATUS = "bond/msg/Status"

_PERIOD = 0.1  # seconds between two heartbeats, as of Nav2's own nodes
_TIMEOUT = 4.0  # seconds, which the message tells; the manager goes by its own bond_timeout


class Bond:
    """Beats in the executor's thread from ``begin`` to ``end``; it does nothing where the messages are missing."""

    def __init__(self, node: Node, clock: Clock) -> None:
        """Opens the topic ``bond`` in the node's namespace; the id is the node's name, the heartbeat ``clock``'s."""
        self._node, self._clock = node, clock
        self._instance = self._manager = ""
        self._timer: Timer | None = None
        self._kind: Any = message_class(STATUS) if is_installed(STATUS) else None
        if self._kind is not None:
            self._publisher = node.create_publisher(self._kind, "bond", 10)
            node.create_subscription(self._kind, "bond", self._hear, 100)

    def begin(self) -> None:
        """Starts a new bond, as when the node is activated."""
        if self._kind is not None:
            self._instance, self._manager = str(uuid.uuid4()), ""
            self._timer = self._node.create_timer(_PERIOD, lambda: self._tell(True), clock=self._clock)

    def end(self) -> None:
        """Breaks the bond and says so; nothing is left to do where it is broken already."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None
            self._tell(False)

    def _hear(self, status: Any) -> None:
        """Answers the manager when it breaks this bond, for which it waits; the end of an earlier one is passed by."""
        if status.id != self._node.get_name() or status.instance_id == self._instance:
            return
        if status.active:
            self._manager = status.instance_id
        elif status.instance_id == self._manager:
            self.end()

    def _tell(self, active: bool) -> None:
        status = self._kind(id=self._node.get_name(), instance_id=self._instance, active=active)
        status.header.stamp = self._node.get_clock().now().to_msg()
        status.heartbeat_timeout, status.heartbeat_period = _TIMEOUT, _PERIOD
        self._publisher.publish(status)
