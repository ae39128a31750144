# SPDX-License-Identifier: Apache-2.0
"""The other side of the graph in tests: sends frames to the node process, keeps what it publishes."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from densehybrid_ros.demo.spinning import spinning_node
from densehybrid_ros.nodes.messages import fill_data, qos

KINDS = {
    "hazard_alert": DiagnosticArray,
    "hazard_points": PointCloud2,
    "hazard_markers": MarkerArray,
    "ground_points": PointCloud2,
}
"""Message classes of the outputs that are no images."""
IMAGE_OUTPUTS = ("semantic", "anomaly_score", "open_set", "overlay")
DTYPES = {"mono8": np.uint8, "32FC1": np.float32, "rgb8": np.uint8}
PATIENCE = 60.0  # seconds after which a test gives up; nothing is expected to take so long


def image_message(pixels: np.ndarray, encoding: str, padding: int = 0, number: int = 1) -> Image:
    """Makes a frame whose header no two numbers share."""
    rows = pixels.reshape(pixels.shape[0], -1).view(np.uint8)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=padded.shape[1])
    message.header.stamp.sec, message.header.stamp.nanosec = 1_700_000_000 + number, 123_456_789 + number
    message.header.frame_id = f"camera/optical_frame é {number}"
    fill_data(message, np.ascontiguousarray(padded))
    return message


def late_header(frame_id: str = "camera é") -> Header:
    """A header with the last stamp that there is."""
    header = Header(frame_id=frame_id)
    header.stamp.sec, header.stamp.nanosec = 2**31 - 1, 999_999_999
    return header


def values_of(status: Any) -> dict[str, str]:
    """The named values of a status."""
    return {item.key: item.value for item in status.values}


def pixels_of(message: Image) -> np.ndarray:
    """Reads an output image."""
    values = np.frombuffer(message.data, dtype=DTYPES[message.encoding])
    channels = 3 if message.encoding == "rgb8" else 1
    assert message.step == message.width * channels * values.itemsize
    return values.reshape(
        (message.height, message.width, channels) if channels > 1 else (message.height, message.width)
    )


class RosPeer:
    """A node that spins in a thread of its own; ``close`` ends it."""

    def __init__(
        self, topic: str, kind: type = Image, reliable: bool = True, prefix: str = "", camera: str = ""
    ) -> None:
        self._name = f"{prefix}/perception"
        self._output = f"{self._name}/{camera}/output" if camera else f"{self._name}/output"
        self._stack = ExitStack()
        self.node = self._stack.enter_context(spinning_node("test_peer"))
        self.publisher = self.node.create_publisher(kind, topic, qos(20, reliable))
        self.received: dict[str, dict[int, Any]] = {name: {} for name in (*IMAGE_OUTPUTS, "hazard_alert")}
        self.diagnostics: dict[str, str] = {}
        self.diagnostic_name = ""
        self.diagnostic_levels: list[bytes] = []
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._keep_diagnostics, 10)
        for name in self.received:
            self.subscribe(name)

    def subscribe(self, name: str) -> None:
        self.node.create_subscription(
            KINDS.get(name, Image), f"{self._output}/{name}", partial(self._keep, name), qos(5)
        )

    def close(self) -> None:
        self._stack.close()

    def send(self, message: Image | CompressedImage) -> None:
        self.publisher.publish(message)

    def result(self, name: str, number: int) -> Any:
        """Waits for an output of the frame of this number."""
        self.wait_for(lambda: number in self.received[name], f"{name} of frame {number}")
        return self.received[name][number]

    def connect(self, outputs: tuple[str, ...] = (*IMAGE_OUTPUTS, "hazard_alert")) -> None:
        """Sends small frames until every output has arrived, so that all sides have found each other."""
        number = 10_000
        while not all(any(key >= 10_000 for key in self.received[name]) for name in outputs):
            number += 1
            assert number < 10_000 + PATIENCE * 5, "the node does not answer"
            self.send(image_message(np.zeros((32, 64, 3), np.uint8), "rgb8", number=number))
            time.sleep(0.2)
        self.settle()

    def settle(self) -> dict[str, int]:
        """Waits until the node has no frame in work, and returns its counters."""

        def is_settled() -> bool:
            numbers = self.counters()
            ended = sum(numbers[key] for key in ("processed", "dropped", "rejected", "failed"))
            is_current = len(self.diagnostic_levels) >= marked + 2
            return numbers["received"] + numbers["dropped_before_arrival"] == ended and is_current

        marked = len(self.diagnostic_levels)
        self.wait_for(is_settled, "the node to finish its frames")
        return self.counters()

    def counters(self) -> dict[str, int]:
        names = ("received", "processed", "dropped", "dropped_before_arrival", "rejected", "failed")
        return {name: int(self.diagnostics.get(name, 0)) for name in names}

    def set_parameter(self, name: str, value: Any) -> tuple[bool, str]:
        given = [Parameter(name, value=value).to_parameter_msg()]
        result = self.ask(SetParameters, "set_parameters", parameters=given).results[0]
        return result.successful, result.reason

    def get_parameter(self, name: str) -> Any:
        message = Parameter(name).to_parameter_msg()
        message.value = self.ask(GetParameters, "get_parameters", names=[name]).values[0]
        return Parameter.from_parameter_msg(message).value

    def state(self) -> str:
        return self.ask(GetState, "get_state").current_state.label

    def change_state(self, transition: int) -> bool:
        return bool(self.ask(ChangeState, "change_state", transition=Transition(id=transition)).success)

    def wait_for(self, condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
        end = time.monotonic() + patience
        while not condition():
            assert time.monotonic() < end, f"waited in vain for {what}; diagnostics: {self.diagnostics}"
            time.sleep(0.02)

    def ask(self, kind: type, name: str, **fields: Any) -> Any:
        """Calls a service of the node."""
        client = self.node.create_client(kind, f"{self._name}/{name}")
        try:
            assert client.wait_for_service(PATIENCE)
            future = client.call_async(kind.Request(**fields))
            self.wait_for(future.done, f"an answer of {name}")
            return future.result()
        finally:
            self.node.destroy_client(client)

    def _keep(self, name: str, message: Any) -> None:
        self.received[name][message.header.stamp.sec - 1_700_000_000] = message

    def _keep_diagnostics(self, message: DiagnosticArray) -> None:
        status = message.status[0]
        if status.hardware_id != self.publisher.topic_name:
            return  # another node's
        self.diagnostic_name = status.name
        self.diagnostics = values_of(status) | {"message": status.message}
        self.diagnostic_levels.append(status.level)
