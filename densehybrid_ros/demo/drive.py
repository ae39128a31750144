# SPDX-License-Identifier: Apache-2.0
"""A drive through the node: it runs as a process of its own, a bag is played to it, its answers are recorded."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter

from densehybrid_ros.bags.recording import RecordedFrame, Recording
from densehybrid_ros.bags.topics import BagTopics
from densehybrid_ros.bags.writer import RawBagWriter
from densehybrid_ros.demo.bag_player import BagPlayer, SentFrame
from densehybrid_ros.demo.bag_recorder import BagRecorder
from densehybrid_ros.demo.node_process import NodeProcess
from densehybrid_ros.demo.spinning import spinning_node, wait_until
from densehybrid_ros.demo.topics import ALERT_TOPIC, ANSWER_TOPICS, DIAGNOSTICS_TOPIC, MARKERS_TOPIC, NODE_NAME
from densehybrid_ros.demo.transport import private_domain, tidy_shared_memory, transport_environment
from densehybrid_ros.errors import InputError
from densehybrid_ros.perception.geometry import Mount
from densehybrid_ros.progress import progress

_START_SECONDS = 600.0  # compiling a network takes minutes
_DISCOVERY_SECONDS = 30.0
_ANSWER_SECONDS = 30.0
_GIVE_UP_AFTER = 3  # frames in a row without an answer
_LAST_REPORT_SECONDS = 3.0  # /diagnostics comes once a second
_CHECK_SECONDS = 0.5


@dataclass(frozen=True)
class Drive:
    """What was sent, and what came back.

    Attributes:
        sent: The pictures in order.
        alerts: When their alerts came: stamp -> nanoseconds of ``time.monotonic_ns``.
    """

    sent: list[SentFrame]
    alerts: dict[int, int]

    def latencies_ms(self) -> dict[int, float]:
        """Returns by stamp how long it took from sending a picture to receiving its alert."""
        return {
            frame.stamp: (self.alerts[frame.stamp] - frame.sent) / 1e6
            for frame in self.sent
            if frame.stamp in self.alerts
        }


@contextmanager
def running_node(
    parameters: Mapping[str, object], topics: BagTopics, log: Path, private: bool = True
) -> Iterator[NodeProcess]:
    """Runs the node.

    Args:
        parameters: Parameters of the node.
        topics: What it listens to; a topic without a name is left alone.
        log: File for what the node writes.
        private: Whether it is alone in a ROS domain that this process joins as well; else it is in this process's.

    Yields:
        The process, once the node takes frames; it ends with the block.

    Raises:
        InputError: The node did not start; with what it logged.
    """
    # The player waits for an answer to every frame, so none may be lost on the way; and recorded stamps are old.
    parameters = {**parameters, "input_reliability": "reliable", "max_age": 0.0}
    names = ("image", "camera_info", "disparity", "odometry")
    remappings = {f"~/input/{name}": getattr(topics, name) for name in names if getattr(topics, name)}
    with private_domain() if private else nullcontext() as domain, tidy_shared_memory():
        environment = transport_environment(domain)
        with (
            _environment(environment),
            NodeProcess(parameters, remappings, environment, log=log) as node,
        ):
            node.wait_until_active(_START_SECONDS)
            yield node


def drive(
    node: NodeProcess,
    recording: Recording,
    answers: Path,
    rate: float | None = None,
    mounts: Iterable[tuple[RecordedFrame, Mount | None]] | None = None,
    limit: int | None = None,
    waits: bool = True,
) -> Drive:
    """Plays a recording to the node and records its answers.

    Args:
        node: The node, as ``running_node`` yields it.
        recording: What to play.
        answers: The bag to write.
        rate: Speed in the recording's own time; None for no pauses.
        mounts: The frames with the camera's mount at each, which the node is told by its parameters because it can't
            hear transforms here; None: it is not told.
        limit: Play at most this many frames.
        waits: Whether the next frame is sent only when the node has answered; else it may drop frames.

    Raises:
        InputError: The node died or did not answer.
    """
    topics = (*ANSWER_TOPICS, MARKERS_TOPIC, DIAGNOSTICS_TOPIC)
    with (
        RawBagWriter(answers) as writer,
        spinning_node("demo") as ros_node,
        BagPlayer(ros_node, recording) as player,
    ):
        recorder = BagRecorder(ros_node, writer)
        recorder.subscribe(topics, _DISCOVERY_SECONDS, lambda: check_alive(node))
        if not player.wait_for_subscriber(_DISCOVERY_SECONDS):
            raise InputError(
                f"perception_node does not listen to {recording.topics.image}; its log: {last_lines(node)}"
            )
        waiting = _Answers(node, recorder)
        frames: Iterable[RecordedFrame] = recording if mounts is None else _mounted(ros_node, mounts)
        played = player.play(islice(frames, limit), rate, waiting.wait_for if waits else None)
        sent = list(progress(played, "driving", min(len(recording), limit or len(recording))))
        if sent and not waits:
            waiting.wait_for(sent[-1].stamp)
        _wait_for_last_report(recorder)
        return Drive(sent, recorder.received(ALERT_TOPIC))


def _mounted(ros_node: Node, mounts: Iterable[tuple[RecordedFrame, Mount | None]]) -> Iterator[RecordedFrame]:
    """Yields frames once the node has the camera's height and pitch at each."""
    client = ros_node.create_client(SetParameters, f"/{NODE_NAME}/set_parameters")
    if not client.wait_for_service(_DISCOVERY_SECONDS):
        raise InputError(f"perception_node does not offer its parameters within {_DISCOVERY_SECONDS:g} s")
    told = (0.0, 0.0)
    for recorded, mount in mounts:
        wanted = (mount.to_base.height, mount.to_base.pitch) if mount else (0.0, 0.0)
        if wanted != told:
            pairs = zip(("camera_height", "camera_pitch"), wanted, strict=True)
            values = [Parameter(name, value=value).to_parameter_msg() for name, value in pairs]
            future = client.call_async(SetParameters.Request(parameters=values))
            if not wait_until(future.done, _ANSWER_SECONDS):
                raise InputError("perception_node does not take its camera_height and camera_pitch")
            told = wanted
        yield recorded


def check_alive(node: NodeProcess) -> None:
    """Checks that the node's process runs.

    Raises:
        InputError: It has ended; with the end of its log.
    """
    status = node.process.poll()
    if status is not None:
        raise InputError(f"perception_node ended with status {status}; its log: {last_lines(node)}")


def last_lines(node: NodeProcess, number: int = 3) -> str:
    """Returns the end of the node's log as one line."""
    return " | ".join(node.log().strip().splitlines()[-number:]) or "empty"


class _Answers:
    """Waits for all that the node publishes about a frame."""

    def __init__(self, node: NodeProcess, recorder: BagRecorder) -> None:
        self._node, self._recorder = node, recorder
        self._missing = 0

    def wait_for(self, stamp: int) -> bool:
        """Returns whether all came in time; raises an InputError if the node seems to be lost."""
        deadline = time.monotonic() + _ANSWER_SECONDS
        for topic in ANSWER_TOPICS:
            while not self._recorder.wait_for(topic, stamp, _CHECK_SECONDS):
                check_alive(self._node)
                if time.monotonic() > deadline:
                    return self._missed()
        self._missing = 0
        return True

    def _missed(self) -> bool:
        self._missing += 1
        if self._missing == _GIVE_UP_AFTER:
            frames = f"{_GIVE_UP_AFTER} frames in a row"
            raise InputError(f"perception_node did not answer {frames}; its log: {last_lines(self._node)}")
        return False


def _wait_for_last_report(recorder: BagRecorder) -> None:
    """Waits for counts of the node that include the last frame."""
    now = time.monotonic_ns()

    def reported() -> bool:
        return any(came > now for came in recorder.received(DIAGNOSTICS_TOPIC).values())

    wait_until(reported, _LAST_REPORT_SECONDS)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Gives this process the transport of the node's; DDS reads it when a context is made."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
