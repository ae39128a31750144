# SPDX-License-Identifier: Apache-2.0
"""The node under a lifecycle manager that does what Nav2's does, the bond included where its messages are installed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from lifecycle_msgs.msg import Transition
from ros_peer import RosPeer

from densehybrid_ros.demo.node_process import NodeProcess
from densehybrid_ros.nodes.bond import STATUS
from densehybrid_ros.nodes.messages import is_installed, message_class

pytestmark = pytest.mark.ros


class ManagersBond:
    """The manager's side: it is formed by the node's heartbeat, and broken by the node's word or by its own."""

    def __init__(self, peer: RosPeer, topic: str) -> None:
        self._peer, self._kind = peer, message_class(STATUS)
        self.heard: list[Any] = []
        self._publisher = peer.node.create_publisher(self._kind, topic, 10)
        peer.node.create_subscription(self._kind, topic, self._hear, 100)
        self.is_broken = False

    def form(self) -> None:
        self.tell(True)
        self._peer.wait_for(lambda: any(status.active for status in self.heard), "the node's heartbeat")
        self.tell(True)

    def tell(self, active: bool) -> None:
        self._publisher.publish(self._kind(id="perception", instance_id="manager", active=active))

    def _hear(self, status: Any) -> None:
        if status.id == "perception" and status.instance_id != "manager":
            self.heard.append(status)
            self.is_broken |= not status.active


def test_a_lifecycle_manager_brings_the_node_up_and_down(start_node: Callable[..., NodeProcess]) -> None:
    with start_node(("-r", "__ns:=/front"), autostart=False) as node:
        node.wait_for_log("autostart is off")
        peer = RosPeer("/camera", prefix="/front")
        try:
            assert peer.change_state(Transition.TRANSITION_CONFIGURE)
            assert peer.state() == "inactive"
            for broken_by_manager in (False, True):
                bond = ManagersBond(peer, "/front/bond") if is_installed(STATUS) else None
                assert peer.change_state(Transition.TRANSITION_ACTIVATE)
                assert peer.state() == "active"
                if bond is not None:
                    bond.form()
                    assert not bond.is_broken
                    if broken_by_manager:
                        time.sleep(0.5)  # the node must have heard of the manager
                        bond.tell(False)
                        peer.wait_for(lambda bond=bond: bond.is_broken, "the answer to the manager's end")
                assert peer.change_state(Transition.TRANSITION_DEACTIVATE)
                if bond is not None:
                    peer.wait_for(lambda bond=bond: bond.is_broken, "the end of the bond")
            assert peer.change_state(Transition.TRANSITION_CLEANUP)
            assert peer.state() == "unconfigured"
        finally:
            peer.close()
