# SPDX-License-Identifier: Apache-2.0
"""Runs a node as a process that ends cleanly, within two seconds of a signal, and answers every request."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from densehybrid_ros.errors import InputError
from densehybrid_ros.host_memory import keep_freed_memory
from densehybrid_ros.shared_memory import remove_dead_segments

_SECONDS_TO_FINISH = 1.2
_SWITCH_SECONDS = 0.0005  # that a thread waits for Python at most while another computes in it; the default is 0.005


class _StopRequest:
    """Lets the main thread sleep until a signal comes or another thread wants the process to end.

    The main thread does nothing else, so that a signal is answered even while a model is compiled. It is woken through
    a socket, which, unlike an event, a signal handler can't deadlock.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)

    def wait(self) -> None:
        self._reader.recv(1)

    def set(self) -> None:
        self._writer.send(b"\0")


def run(create_node: Callable[[], Any], arguments: list[str] | None = None) -> int:
    """Runs a node until a signal comes.

    Args:
        create_node: Makes the node. Its ``start()`` is called once in the executor's thread and returns whether the
            process should go on; ``stop(timeout)`` ends its own threads and returns whether they ended in time.
        arguments: ROS arguments; None: those of the command line.

    Returns:
        Exit status: 0 after a signal, 1 where the node did not start, 2 where an argument or parameter is wrong.
        Where a computation can't be interrupted in time, the process ends here with that status.
    """
    keep_freed_memory()
    sys.setswitchinterval(_SWITCH_SECONDS)
    stop = _StopRequest()
    freed = remove_dead_segments()
    try:
        # rclpy's own handlers would invalidate the context before the last frame is published.
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # a parameter file that is missing or malformed, among others
        print(f"[FATAL] {_without_place(error)}", file=sys.stderr)
        return 2
    try:
        node = create_node()
    except InputError as error:
        get_logger("densehybrid_ros").fatal(str(error))
        rclpy.try_shutdown()
        return 2
    except rclpy_implementation.RCLError as error:  # keys of an enclave are missing, or the DDS knows no security
        print(f"[FATAL] {' '.join(_without_place(error).split())}", file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    if freed >> 20:
        node.get_logger().info(f"freed {freed >> 20} MiB of shared memory that killed processes had left")
    _answer_always(node)
    return _spin(node, stop)


def _spin(node: Any, stop: _StopRequest) -> int:
    """Spins in a thread of its own until the end is asked for; returns the exit status."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    is_ending, status = threading.Event(), 0

    def start() -> None:
        nonlocal status
        if not node.start():
            status = 1
            stop.set()

    def spin() -> None:
        while not is_ending.is_set():
            try:
                executor.spin_once()
            except ExternalShutdownException:
                stop.set()
                return
            except Exception as error:
                node.get_logger().error(f"{type(error).__name__}: {error}")
                time.sleep(0.01)

    executor.create_task(start)
    thread = threading.Thread(target=spin, name="executor", daemon=True)
    thread.start()
    stop.wait()
    deadline = time.monotonic() + _SECONDS_TO_FINISH
    is_ending.set()
    executor.create_task(lambda: None)  # because waking the executor does not make spin_once return
    thread.join(_SECONDS_TO_FINISH)
    ended = node.stop(max(0.0, deadline - time.monotonic())) and not thread.is_alive()
    executor.shutdown(timeout_sec=0.0)
    node.destroy_node()
    rclpy.try_shutdown()
    if not ended:
        # A thread is in the middle of a computation. Interpreter shutdown under it would abort the process.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def _answer_always(node: Node) -> None:
    """Lets the node's services say no where rclpy raises, which leaves the one who asks without an answer.

    rclpy does so on an unknown or forbidden transition (its issue 1209) and on an unknown type of parameter.
    """
    for service in node.services:
        service.callback = _answering(service, node)


def _answering(service: Any, node: Node) -> Any:
    ask = service.callback

    def answer(request: Any, response: Any) -> Any:
        try:
            return ask(request, response)
        except Exception as error:
            reason = _without_place(error)
        node.get_logger().error(f"{service.srv_name}: {reason}")
        refused = SetParametersResult(successful=False, reason=reason)
        if service.srv_type is SetParameters:  # it has set those before this one
            rest = SetParameters.Request(parameters=request.parameters[len(response.results) + 1 :])
            response.results = [*response.results, refused, *answer(rest, SetParameters.Response()).results]
        elif hasattr(response, "result"):  # set_parameters_atomically
            response.result = refused
        return response

    return answer


def _without_place(error: Exception) -> str:
    """What rcl says, without the file of rcl in which it says so."""
    return str(error).partition(", at ")[0]
