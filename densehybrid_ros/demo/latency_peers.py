# SPDX-License-Identifier: Apache-2.0
"""Camera, listener and bare relay of the latency measurement; ``latency`` runs each as a process of its own.

The prefix of the topics is the perception node's name, with that of the camera where it has several.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from densehybrid_ros.bags.messages import header_stamp_ns
from densehybrid_ros.demo import transport
from densehybrid_ros.demo.spinning import spinning_node, wait_until
from densehybrid_ros.errors import InputError
from densehybrid_ros.nodes.messages import Picture, PicturePublisher, image_message, qos
from densehybrid_ros.nodes.outputs import IMAGE_DEPTH

_MASKS = {
    transport.SEMANTIC_TOPIC: ("mono8", np.uint8),
    transport.OPEN_SET_TOPIC: ("mono8", np.uint8),
    transport.SCORE_TOPIC: ("32FC1", np.float32),
}
_WATCHED = (transport.ALERT_TOPIC, *_MASKS)
_QOS = qos(5)
_DISCOVERY_SECONDS, _SETTLE_SECONDS, _WARM_UP_SECONDS = 30.0, 1.0, 2.0
_PICTURES = 4


def _send(node: Node, prefix: str, size: Sequence[int], rate: float, seconds: float) -> dict[str, Any]:
    """Sends pictures of (width, height) at a rate in Hz once all sides have found each other.

    Returns ``{"stamps": [...]}`` in nanoseconds of the clock, without those of the first two seconds.
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

    Returns:
        Topic of a node with one camera -> [[stamp, arrival], ...] in nanoseconds of the clock, and ``diagnostics``, the
        camera's last report.
    """
    heard: dict[str, Any] = {topic: [] for topic in _WATCHED} | {"diagnostics": {}}

    def note(topic: str, data: bytes) -> None:
        heard[topic].append((header_stamp_ns(data), time.time_ns()))

    def report(message: DiagnosticArray) -> None:
        for status in message.status:
            if status.hardware_id == f"{prefix}/input/image":
                heard["diagnostics"] = {pair.key: pair.value for pair in status.values}

    node.create_subscription(DiagnosticArray, transport.DIAGNOSTICS_TOPIC, report, 10)
    for topic in _WATCHED:
        kind = DiagnosticArray if topic == transport.ALERT_TOPIC else Image
        node.create_subscription(kind, _of(prefix, topic), partial(note, topic), _QOS, raw=True)
    _wait_for_interrupt()
    return heard


def _relay(node: Node) -> dict[str, Any]:
    """Answers every image with an empty alert and empty masks of its size until SIGINT: what rclpy costs by itself."""
    alerts = node.create_publisher(DiagnosticArray, transport.ALERT_TOPIC, 10)
    masks = {topic: node.create_publisher(Image, topic, qos(IMAGE_DEPTH)) for topic in _MASKS}

    def answer(message: Image) -> None:
        alerts.publish(DiagnosticArray(header=message.header))
        for topic, (encoding, dtype) in _MASKS.items():
            pixels = np.zeros((message.height, message.width), dtype)
            masks[topic].publish(image_message(Picture(message.header, pixels, encoding)))

    node.create_subscription(Image, f"/{transport.NODE_NAME}/input/image", answer, qos(1, reliable=False))
    node.get_logger().info("active: relay")
    _wait_for_interrupt()
    return {}


def _wait_for_interrupt() -> None:
    end = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: end.set())
    end.wait()


def _of(prefix: str, topic: str) -> str:
    return topic.replace(f"/{transport.NODE_NAME}", prefix, 1)


def _is_complete(node: Node, prefix: str) -> bool:
    topics = [_of(prefix, topic) for topic in _WATCHED]
    heard = all(node.count_subscribers(topic) and node.count_publishers(topic) for topic in topics)
    return heard and node.count_subscribers(f"{prefix}/input/image") > 0


_ROLES: dict[str, Callable[..., dict[str, Any]]] = {"camera": _send, "listener": listen, "relay": _relay}


def main() -> int:
    """Is what the first argument names, with the options of the second; prints what it has found, both in JSON."""
    role, options = sys.argv[1], json.loads(sys.argv[2])
    with spinning_node(f"latency_{role}") as node:
        try:
            found = _ROLES[role](node, **options)
        except InputError as error:
            found = {"error": str(error)}
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
