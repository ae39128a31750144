# SPDX-License-Identifier: Apache-2.0
"""Measures the memory of a real node process over many frames; ``memory.py`` runs it."""

from __future__ import annotations

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

from densehybrid_ros.demo.node_process import NodeProcess
from densehybrid_ros.demo.spinning import spinning_node, wait_until
from densehybrid_ros.errors import InputError
from densehybrid_ros.nodes.messages import Picture, image_message
from densehybrid_ros.nodes.outputs import OUTPUTS
from densehybrid_ros.progress import progress
from ros_child import answer

_TOPIC = "/benchmark/image"
_SAMPLES = 10
_REST = 0.5  # seconds before a sample, in which the node frees what the last frame needed
_RESEND = 30.0  # seconds after which a frame counts as lost on the way
_PATIENCE = 300.0  # seconds to wait for the answer to a frame


class _Sender:
    """Sends frames one after another and waits until each has been answered."""

    def __init__(self, node: Node, width: int, height: int) -> None:
        self._clock = node.get_clock()
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        self._publisher = node.create_publisher(Image, _TOPIC, qos)
        self._answered = ""
        # Only the alert is looked at; the others are taken so that the node fills them.
        node.create_subscription(DiagnosticArray, "/perception/output/hazard_alert", self._note_answer, qos)
        for name, output in OUTPUTS.items():
            node.create_subscription(output.kind, f"/perception/output/{name}", _ignore, qos, raw=True)
        random = np.random.default_rng(0)
        self._pictures = [random.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(4)]

    def send(self, number: int) -> None:
        """Sends frame ``number`` and waits for its answer; once in a while again, in case it was lost on the way.

        Raises:
            InputError: No answer came.
        """
        message = image_message(Picture(Header(), self._pictures[number % len(self._pictures)], "rgb8"))
        message.header.frame_id = str(number)
        message.header.stamp = self._clock.now().to_msg()
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            self._publisher.publish(message)
            if wait_until(partial(self._is_answered, number), timeout=_RESEND):
                return
        raise InputError(f"the node has not answered frame {number} within {_PATIENCE:.0f} s")

    def _is_answered(self, number: int) -> bool:
        return self._answered == str(number)

    def _note_answer(self, message: DiagnosticArray) -> None:
        self._answered = message.header.frame_id


def _ignore(message: bytes) -> None:
    """Takes a message."""


def resident_mebibytes(process_id: int) -> float:
    """Returns the resident memory of a process in MiB, without what it shares through /dev/shm.

    Shared memory belongs to the DDS transport, has a fixed size, and is counted in every process that looks at it.
    """
    kibibytes = {}
    for line in Path(f"/proc/{process_id}/status").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key in ("RssAnon", "RssFile"):
            kibibytes[key] = int(value.split()[0])
    return sum(kibibytes.values()) / 1024


def measure(model: str, width: int, height: int, frames: int, warm_up: int) -> dict[str, Any]:
    """Lets a node process frames and returns its resident memory from time to time.

    Args:
        model: Model of the node.
        width: Columns of a frame.
        height: Rows of a frame.
        frames: Number of frames after the warm-up.
        warm_up: Frames before the first sample, in which libraries allocate what they keep.
    """
    samples = []
    parameters = {"model": model, "input_reliability": "reliable"}
    with NodeProcess(parameters, {"~/input/image": _TOPIC}) as process, spinning_node("benchmark") as node:
        process.wait_until_active()
        sender = _Sender(node, width, height)
        for number in range(warm_up):
            sender.send(number)
        began = time.monotonic()
        interval = max(1, frames // _SAMPLES)
        for number in progress(range(frames + 1), "frames", frames + 1):
            if number % interval == 0:
                time.sleep(_REST)
                samples.append({"frames": number, "rss_mib": round(resident_mebibytes(process.process.pid), 2)})
            if number < frames:
                sender.send(warm_up + number)
        seconds = time.monotonic() - began
    return {
        "model": model,
        "width": width,
        "height": height,
        "warm_up": warm_up,
        "seconds": round(seconds, 1),
        "samples": samples,
    }


if __name__ == "__main__":
    answer(measure)
