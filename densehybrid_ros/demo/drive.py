"""A drive through the node: it runs as a process of its own, a bag is played to it, its answers are recorded."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from densehybrid_ros.bags.messages import COMPRESSED_IMAGE
from densehybrid_ros.bags.reader import open_bag, topic_types
from densehybrid_ros.bags.topics import BagTopics
from densehybrid_ros.bags.writer import RawBagWriter
from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.demo.bag_player import BagPlayer, SentFrame
from densehybrid_ros.demo.bag_recorder import BagRecorder
from densehybrid_ros.demo.node_process import NodeProcess
from densehybrid_ros.demo.spinning import spinning_node, wait_until
from densehybrid_ros.demo.topics import ALERT_TOPIC, DIAGNOSTICS_TOPIC, IMAGE_TOPIC, MARKERS_TOPIC, PICTURE_TOPICS
from densehybrid_ros.demo.transport import private_domain, tidy_shared_memory, transport_environment
from densehybrid_ros.errors import InputError
from densehybrid_ros.progress import progress

_START_SECONDS = 600.0  # compiling a network takes minutes
_DISCOVERY_SECONDS = 30.0
_ANSWER_SECONDS = 30.0
_GIVE_UP_AFTER = 3  # frames in a row without an answer
_LAST_REPORT_SECONDS = 3.0  # /diagnostics comes once a second
_CHECK_SECONDS = 0.5
_USUAL_TOPICS = BagTopics()


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


@dataclass(frozen=True)
class PictureTopic:
    """Where pictures come from.

    Attributes:
        name: The topic.
        transport: "raw" for sensor_msgs/Image, "compressed" for CompressedImage.
    """

    name: str = IMAGE_TOPIC
    transport: str = "raw"


def picture_topic(bag: Path, name: str) -> PictureTopic:
    """Looks up how a topic of a bag holds pictures.

    Args:
        bag: The bag.
        name: The topic, as the bag names it (see ``BagFrames.topics``).

    Raises:
        InputError: There is no such bag, or it is damaged.
    """
    with open_bag(bag) as reader:
        kind = topic_types(reader).get(name)
    return PictureTopic(name, "compressed" if kind == COMPRESSED_IMAGE else "raw")


@contextmanager
def running_node(
    model: str,
    backend: str,
    threshold: float | None,
    log: Path,
    warm_up_size: tuple[int, int] = (0, 0),
    pictures: PictureTopic = PictureTopic(),
    device: str = "auto",
    camera: Camera | None = None,
    topics: BagTopics = _USUAL_TOPICS,
) -> Iterator[NodeProcess]:
    """Runs the node, alone in a ROS domain that this process joins as well.

    Args:
        model: A shipped model's name or a ``.safetensors`` file.
        backend: How the network is run.
        threshold: Anomaly threshold in nats; None for the model card's.
        log: File for what the node writes.
        warm_up_size: (height, width) of the frames, so that a compilation belongs to the start and not to the first
            frame; zeros for no warm-up.
        pictures: What the node listens to.
        device: Where the network runs: auto, cpu, cuda or cuda:N.
        camera: Its mounting height and pitch are told to the node; None: unknown.
        topics: Of camera_info, disparity and odometry; one without a name is not listened to.

    Yields:
        The process, once the node takes frames; it ends with the block.

    Raises:
        InputError: The node did not start; with what it logged.
    """
    parameters: dict[str, object] = {
        "model": model,
        "backend": backend,
        "device": device,
        "warm_up_size": list(warm_up_size),
        # The player waits for an answer to every frame, so none may be lost on the way.
        "input_reliability": "reliable",
        "input_transport": pictures.transport,
    }
    if camera is not None and camera.mount_height > 0:
        parameters |= {"camera_height": camera.mount_height, "camera_pitch": camera.pitch}
    if threshold is not None:
        parameters["anomaly_threshold"] = threshold
    remappings = {"~/input/image": pictures.name}
    for name in ("camera_info", "disparity", "odometry"):
        if getattr(topics, name):
            remappings[f"~/input/{name}"] = getattr(topics, name)
    with private_domain() as domain, tidy_shared_memory():
        environment = transport_environment(domain)
        with (
            _environment(environment),
            NodeProcess(parameters, remappings, environment, log=log) as node,
        ):
            node.wait_until_active(_START_SECONDS)
            yield node


def drive(
    node: NodeProcess,
    bag: Path,
    recording: Path,
    total: int,
    rate: float | None = None,
    image_topic: str = IMAGE_TOPIC,
) -> Drive:
    """Plays a bag to the node and records its answers.

    Args:
        node: The node, as ``running_node`` yields it.
        bag: What to play.
        recording: The bag to write.
        total: Number of pictures, for the progress bar.
        rate: Speed in the bag's own time, at which the node may drop frames; None to send the next frame when the
            node has answered.
        image_topic: The topic of the pictures, which the node listens to.

    Raises:
        InputError: The node died or did not answer.
    """
    topics = (ALERT_TOPIC, *PICTURE_TOPICS, MARKERS_TOPIC, DIAGNOSTICS_TOPIC)
    with (
        RawBagWriter(recording) as writer,
        spinning_node("demo") as ros_node,
        # A bag recorded beside a running node holds answers already; they must not mix with this node's.
        BagPlayer(ros_node, bag, image_topic, leave_out=topics) as player,
    ):
        recorder = BagRecorder(ros_node, writer)
        recorder.subscribe(topics, _DISCOVERY_SECONDS, lambda: check_alive(node))
        if not player.wait_for_subscriber(_DISCOVERY_SECONDS):
            raise InputError(f"perception_node does not listen to {image_topic}; its log: {last_lines(node)}")
        answers = _Answers(node, recorder)
        frames = player.play(rate, None if rate else answers.wait_for)
        sent = list(progress(frames, "driving", total))
        if rate:
            answers.wait_for(sent[-1].stamp)
        _wait_for_last_report(recorder)
        return Drive(sent, recorder.received(ALERT_TOPIC))


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
        for topic in (ALERT_TOPIC, *PICTURE_TOPICS):
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
