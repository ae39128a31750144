# SPDX-License-Identifier: Apache-2.0
"""A ROS node that spins in a thread of its own, for code that waits for the graph."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from densehybrid_ros.host_memory import keep_freed_memory

_POLL_SECONDS = 0.02


@contextmanager
def spinning_node(name: str, domain_id: int | None = None) -> Iterator[Node]:
    """Yields a node whose callbacks run in a thread of their own, in a context of its own; freed memory is kept.

    Without a ``domain_id`` it is in the DDS domain of the environment.
    """
    keep_freed_memory()
    context = Context()
    rclpy.init(args=[], context=context, domain_id=domain_id)
    node = Node(name, context=context, use_global_arguments=False)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = Thread(target=_spin, args=(executor,), name=f"{name} executor")
    thread.start()
    try:
        yield node
    finally:
        # In this order: shutting the context down under a thread that still spins aborts the process.
        executor.shutdown()
        thread.join()
        node.destroy_node()
        rclpy.try_shutdown(context=context)


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Polls a condition that another thread or process makes true; returns whether it did within ``timeout`` s."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _spin(executor: SingleThreadedExecutor) -> None:
    with suppress(ExternalShutdownException):  # an interrupt may shut the context down first
        executor.spin()
