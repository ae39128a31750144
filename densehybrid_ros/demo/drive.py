# SPDX-License-Identifier: Apache-2.0
"""A drive through the node: it runs as a process of its own, a recording is played to it, its answers are recorded."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter

from densehybrid_ros.bags.messages import TF_MESSAGE
from densehybrid_ros.bags.recording import LeaveOut, RecordedFrame, Recording
from densehybrid_ros.bags.topics import BagTopics
from densehybrid_ros.bags.writer import RawBagWriter
from densehybrid_ros.demo import transport
from densehybrid_ros.demo.answers import answered_frames
from densehybrid_ros.demo.node_process import NodeProcess
from densehybrid_ros.demo.play_and_record import BagPlayer, BagRecorder
from densehybrid_ros.demo.spinning import spinning_node, wait_until
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.replay import Answer, known_frames
from densehybrid_ros.nodes.messages import is_installed
from densehybrid_ros.perception.perception import Frame
from densehybrid_ros.perception.settings import Settings
from densehybrid_ros.progress import progress

_START_SECONDS = 600.0  # compiling a network takes minutes
_DISCOVERY_SECONDS = 30.0
_ANSWER_SECONDS = 30.0
_GIVE_UP_AFTER = 3  # frames in a row without an answer
_LAST_REPORT_SECONDS = 3.0  # /diagnostics comes once a second
_CHECK_SECONDS = 0.5


@contextmanager
def running_node(
    parameters: Mapping[str, object], topics: BagTopics, log: Path, private: bool = True
) -> Iterator[NodeProcess]:
    """Runs the node with these parameters until the block ends, and yields it once it takes frames.

    Args:
        parameters: Parameters of the node.
        topics: What it listens to; a topic without a name is left alone.
        log: File for what the node writes.
        private: Whether it is alone in a ROS domain that this process joins as well; else it is in this process's.

    Raises:
        InputError: The node did not start; with what it logged.
    """
    # The player waits for an answer to every frame, so none may be lost on the way; and recorded stamps are old.
    parameters = {**parameters, "input_reliability": "reliable", "max_age": 0.0}
    names = ("image", "camera_info", "disparity", "odometry")
    remappings = {f"~/input/{name}": getattr(topics, name) for name in names if getattr(topics, name)}
    with transport.private_domain() if private else nullcontext() as domain, transport.tidy_shared_memory():
        environment = transport.transport_environment(domain)
        with _environment(environment), NodeProcess(parameters, remappings, environment, log=log) as node:
            node.wait_until_active(_START_SECONDS)
            yield node


def drive(
    node: NodeProcess,
    recording: Recording,
    answers: Path,
    rate: float | None = None,
    known: Iterable[tuple[RecordedFrame, Frame]] | None = None,
    limit: int | None = None,
    waits: bool = True,
) -> tuple[int, dict[int, float]]:
    """Plays a recording to the node and records its answers.

    Args:
        node: The node, as ``running_node`` yields it.
        recording: What to play.
        answers: The bag to write.
        rate: Speed in the recording's own time; None for no pauses.
        known: The frames with what is known at each: the node gets the camera's mount by its parameters, because it
            can't hear transforms here; None: it does not.
        limit: Play at most this many frames.
        waits: Whether the next frame is sent only when the node has answered; else it may drop frames.

    Returns:
        The number of pictures, and by stamp the milliseconds from sending a picture to receiving its alert.

    Raises:
        InputError: The node died or did not answer.
    """
    missing = 0  # frames in a row

    def answered(stamp: int) -> bool:
        """Waits for all that the node publishes about a frame; raises an InputError if the node seems to be lost."""
        nonlocal missing
        deadline = time.monotonic() + _ANSWER_SECONDS
        for topic in transport.ANSWER_TOPICS:
            while not recorder.wait_for(topic, stamp, _CHECK_SECONDS):
                node.check_alive()
                if time.monotonic() > deadline:
                    missing += 1
                    if missing == _GIVE_UP_AFTER:
                        raise InputError(f"perception_node did not answer {missing} frames in a row: {node.errors()}")
                    return False
        missing = 0
        return True

    with RawBagWriter(answers) as writer, spinning_node("demo") as ros_node:
        player, recorder = BagPlayer(ros_node, recording), BagRecorder(ros_node, writer)
        heard = (*transport.ANSWER_TOPICS, transport.MARKERS_TOPIC, transport.DIAGNOSTICS_TOPIC)
        recorder.subscribe(heard, _DISCOVERY_SECONDS, node.check_alive)
        if not player.wait_for_subscriber(_DISCOVERY_SECONDS):
            raise InputError(f"perception_node does not listen to {recording.topics.image}: {node.errors()}")
        frames: Iterable[RecordedFrame] = recording if known is None else _mounted(ros_node, known)
        played = player.play(islice(frames, limit), rate, answered if waits else None)
        sent = dict(progress(played, "driving", min(len(recording), limit or len(recording))))
        if sent and not waits:
            answered(next(reversed(sent)))
        now = time.monotonic_ns()  # the node's counts include the last frame in reports from now on
        reports = partial(recorder.received, transport.DIAGNOSTICS_TOPIC)
        wait_until(lambda: any(came > now for came in reports().values()), _LAST_REPORT_SECONDS)
        alerts = recorder.received(transport.ALERT_TOPIC)
    return len(sent), {stamp: (alerts[stamp] - when) / 1e6 for stamp, when in sent.items() if stamp in alerts}


def node_answers(
    recording: Recording,
    settings: Settings,
    num_classes: int,
    leave_out: LeaveOut,
    limit: int | None = None,
    live: bool = False,
) -> Iterator[Answer]:
    """Plays a recording to the node, one frame after the answer to the one before, and yields what it answered.

    Args:
        recording: What to play.
        settings: The parameters. The node is given every one, not the file that they come from: what a file says of
            one node by name would count before a ``-p``. What is read back is published in any case.
        num_classes: Number of the model's classes; the id of unknown.
        leave_out: Gets a line about frames that were not answered.
        limit: Play at most this many frames.
        live: Play at the recorded pace at most, in the ROS domain of this process, so that viewers can watch.

    Raises:
        InputError: The node did not start, died or did not answer.
    """
    hears_transforms = is_installed(TF_MESSAGE)
    parameters = {name: value for name, value in asdict(settings).items() if value is not None}
    parameters |= dict.fromkeys((f"publish_{topic.rpartition('/')[2]}" for topic in transport.ANSWER_TOPICS), True)
    parameters |= {"autostart": True, "input_transport": "compressed" if recording.is_compressed else "raw"}
    parameters["score_encoding"] = "32FC1"  # what is read back are nats
    if not hears_transforms:
        parameters["base_frame"] = ""
    with tempfile.TemporaryDirectory() as folder:
        answers, log = Path(folder) / "answers", Path(folder) / "node.log"
        with running_node(parameters, recording.topics, log, private=not live) as node:
            told = known_frames(recording, settings) if settings.base_frame and not hears_transforms else None
            _, latencies = drive(node, recording, answers, 1.0 if live else None, told, limit)
        for answered in answered_frames(islice(known_frames(recording, settings), limit), answers):
            recorded, alert, overlay = answered.frame, answered.alert, answered.overlay
            semantic, score, open_set = answered.semantic, answered.score, answered.open_set
            if semantic is None or score is None or open_set is None or alert is None or overlay is None:
                moment = f"{recording.path}: {recording.topics.image} at {recorded.stamp} ns"
                leave_out(f"{moment}: the node did not answer", 1)
                continue
            masks, latency = (semantic, score, open_set == num_classes), latencies.get(recorded.stamp, float("nan"))
            yield Answer(recorded, answered.known, *masks, alert, latency, partial(np.asarray, overlay))


def _mounted(ros_node: Node, frames: Iterable[tuple[RecordedFrame, Frame]]) -> Iterator[RecordedFrame]:
    """Yields frames once the node has the camera's height and pitch at each."""
    client = ros_node.create_client(SetParameters, f"/{transport.NODE_NAME}/set_parameters")
    if not client.wait_for_service(_DISCOVERY_SECONDS):
        raise InputError(f"perception_node does not offer its parameters within {_DISCOVERY_SECONDS:g} s")
    told = (0.0, 0.0)
    for recorded, known in frames:
        wanted = (known.mount.to_base.height, known.mount.to_base.pitch) if known.mount else (0.0, 0.0)
        if wanted != told:
            pairs = zip(("camera_height", "camera_pitch"), wanted, strict=True)
            values = [Parameter(name, value=value).to_parameter_msg() for name, value in pairs]
            future = client.call_async(SetParameters.Request(parameters=values))
            if not wait_until(future.done, _ANSWER_SECONDS):
                raise InputError("perception_node does not take its camera_height and camera_pitch")
            told = wanted
        yield recorded


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Gives this process the transport of the node's; DDS reads it when a context is made."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values.keys() - before.keys():
            os.environ.pop(name, None)
        os.environ.update(before)
