# SPDX-License-Identifier: Apache-2.0
"""The camera and the listener of the latency measurement; ``latency`` runs each as a process of its own."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from densehybrid_ros.bags.messages import header_stamp_ns
from densehybrid_ros.demo.spinning import spinning_node, wait_until
from densehybrid_ros.demo.topics import (
    ALERT_TOPIC,
    DIAGNOSTICS_TOPIC,
    NODE_NAME,
    OPEN_SET_TOPIC,
    SCORE_TOPIC,
    SEMANTIC_TOPIC,
)
from densehybrid_ros.errors import InputError
from densehybrid_ros.files import write_text_atomically
from densehybrid_ros.nodes.messages import Picture, PicturePublisher

WATCHED = (ALERT_TOPIC, SEMANTIC_TOPIC, OPEN_SET_TOPIC, SCORE_TOPIC)
_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
_DISCOVERY_SECONDS, _SETTLE_SECONDS, _WARM_UP_SECONDS = 30.0, 1.0, 2.0
_PICTURES = 4


def send(node: Node, prefix: str, size: tuple[int, int], rate: float, seconds: float) -> dict[str, Any]:
    """Sends pictures at a rate once all sides have found each other; the first two seconds are not counted.

    Args:
        node: Spins in another thread.
        prefix: Of the topics: the perception node's name, and that of the camera where it has several.
        size: (width, height) of the pictures.
        rate: Pictures a second.
        seconds: How long pictures are counted.

    Returns:
        ``{"stamps": [...]}`` of the counted ones, nanoseconds of the clock.

    Raises:
        InputError: Nobody listens.
    """
    publisher, sender = node.create_publisher(Image, f"{prefix}/input/image", _QOS), PicturePublisher()
    if not wait_until(partial(_is_complete, node, prefix), _DISCOVERY_SECONDS):
        raise InputError(f"not all sides were found within {_DISCOVERY_SECONDS:.0f} s")
    time.sleep(_SETTLE_SECONDS)
    shape = (_PICTURES, size[1], size[0], 3)
    pictures = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    stamps, warm_up, began = [], round(_WARM_UP_SECONDS * rate), time.monotonic()
    for number in range(warm_up + round(seconds * rate)):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        stamp = time.time_ns()
        header = Header(frame_id="camera")
        header.stamp.sec, header.stamp.nanosec = divmod(stamp, 10**9)
        sender.publish(publisher, Picture(header, pictures[number % _PICTURES], "rgb8"))
        if number >= warm_up:
            stamps.append(stamp)
    return {"stamps": stamps}


def listen(node: Node, prefix: str) -> dict[str, Any]:
    """Notes until SIGINT when the outputs come, without unpacking them.

    Args:
        node: Spins in another thread.
        prefix: As of ``send``.

    Returns:
        Topic of a node with one camera -> [[stamp, arrival], ...] in nanoseconds of the clock, and ``diagnostics``, the
        camera's last report.
    """
    heard: dict[str, Any] = {topic: [] for topic in WATCHED} | {"diagnostics": {}}

    def note(topic: str, data: bytes) -> None:
        heard[topic].append((header_stamp_ns(data), time.time_ns()))

    def report(message: DiagnosticArray) -> None:
        for status in message.status:
            if status.hardware_id == f"{prefix}/input/image":
                heard["diagnostics"] = {pair.key: pair.value for pair in status.values}

    end = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: end.set())
    node.create_subscription(DiagnosticArray, DIAGNOSTICS_TOPIC, report, 10)
    for topic in WATCHED:
        kind = DiagnosticArray if topic == ALERT_TOPIC else Image
        node.create_subscription(kind, _of(prefix, topic), partial(note, topic), _QOS, raw=True)
    end.wait()
    return heard


def _of(prefix: str, topic: str) -> str:
    return topic.replace(f"/{NODE_NAME}", prefix, 1)


def _is_complete(node: Node, prefix: str) -> bool:
    topics = [_of(prefix, topic) for topic in WATCHED]
    heard = all(node.count_subscribers(topic) and node.count_publishers(topic) for topic in topics)
    return heard and node.count_subscribers(f"{prefix}/input/image") > 0


def main() -> int:
    """Is the camera if it is given a rate, else the listener."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--width", type=int)
    parser.add_argument("--height", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    with spinning_node("latency_camera" if args.rate else "latency_listener") as node:
        try:
            if args.rate:
                found = send(node, args.prefix, (args.width, args.height), args.rate, args.seconds)
            else:
                found = listen(node, args.prefix)
        except InputError as error:
            found = {"error": str(error)}
    write_text_atomically(args.output, json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
