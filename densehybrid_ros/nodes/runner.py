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
from typing import Any, Protocol

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


class RunnableNode(Protocol):
    """What the runner asks of a node beyond being an ``rclpy.node.Node``."""

    def start(self) -> bool:
        """Is called once in the executor's thread; returns whether the process should go on."""

    def stop(self, timeout: float) -> bool:
        """Ends the node's own threads; returns whether they ended within ``timeout`` seconds."""


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


def run(create_node: Callable[[], Node], arguments: list[str] | None = None) -> int:
    """Runs a node until a signal comes.

    Args:
        create_node: Makes the node, which is also a ``RunnableNode``.
        arguments: ROS arguments; None: those of the command line.

    Returns:
        Exit status: 0 after a signal, 1 where the node did not start, 2 where an argument or parameter is wrong.
        Where a computation can't be interrupted in time, the process ends here with that status.
    """
    keep_freed_memory()
    sys.setswitchinterval(_SWITCH_SECONDS)
    stop = _StopRequest()
    freed = remove_dead_segments()
    # rclpy's own handlers would invalidate the context before the last frame is published.
    try:
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # a parameter file that is missing or malformed, among others
        print(f"[FATAL] {str(error).partition(', at ')[0]}", file=sys.stderr)
        return 2
    try:
        node = create_node()
    except InputError as error:
        get_logger("densehybrid_ros").fatal(str(error))
        rclpy.try_shutdown()
        return 2
    except rclpy_implementation.RCLError as error:  # keys of an enclave are missing, or the DDS knows no security
        print(f"[FATAL] {' '.join(str(error).partition(', at ')[0].split())}", file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    if freed >> 20:
        node.get_logger().info(f"freed {freed >> 20} MiB of shared memory that killed processes had left")
    answer_always(node)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    spinner = _Spinner(executor, node, stop)
    stop.wait()
    deadline = time.monotonic() + _SECONDS_TO_FINISH
    ended = spinner.end(deadline)
    executor.shutdown(timeout_sec=0.0)
    node.destroy_node()
    rclpy.try_shutdown()
    if not ended:
        # A thread is in the middle of a computation. Interpreter shutdown under it would abort the process.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(spinner.status)
    return spinner.status


class _Spinner:
    """Spins the executor in a thread of its own."""

    def __init__(self, executor: SingleThreadedExecutor, node: Node, stop: _StopRequest) -> None:
        self.status = 0
        self._executor = executor
        self._node: RunnableNode = node  # type: ignore[assignment]
        self._logger = node.get_logger()
        self._stop = stop
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="executor", daemon=True)
        executor.create_task(self._start)
        self._thread.start()

    def end(self, deadline: float) -> bool:
        """Ends spinning, then the node's threads; returns whether all ended before ``deadline`` (monotonic)."""
        self._ending = True
        # A task, because waking the executor does not make spin_once return.
        self._executor.create_task(lambda: None)
        self._thread.join(max(0.0, deadline - time.monotonic()))
        node_ended = self._node.stop(max(0.0, deadline - time.monotonic()))
        return node_ended and not self._thread.is_alive()

    def _start(self) -> None:
        if not self._node.start():
            self.status = 1
            self._stop.set()

    def _run(self) -> None:
        while not self._ending:
            try:
                self._executor.spin_once()
            except ExternalShutdownException:
                self._stop.set()
                return
            except Exception as error:
                self._logger.error(f"{type(error).__name__}: {error}")
                time.sleep(0.01)


def answer_always(node: Node) -> None:
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
            reason = str(error).partition(", at ")[0]  # of a file of rcl
        node.get_logger().error(f"{service.srv_name}: {reason}")
        refused = SetParametersResult(successful=False, reason=reason)
        if service.srv_type is SetParameters:  # it has set those before this one
            rest = SetParameters.Request(parameters=request.parameters[len(response.results) + 1 :])
            response.results = [*response.results, refused, *answer(rest, SetParameters.Response()).results]
        elif hasattr(response, "result"):  # set_parameters_atomically
            response.result = refused
        return response

    return answer
