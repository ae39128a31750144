# SPDX-License-Identifier: Apache-2.0
"""A bare relay in the node's place, to measure it against: what rclpy costs where nothing is computed."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from densehybrid_ros.demo.topics import NODE_NAME
from densehybrid_ros.nodes.messages import Picture, image_message
from densehybrid_ros.nodes.outputs import IMAGE_QOS
from densehybrid_ros.nodes.runner import run

_MASKS = {"semantic": ("mono8", np.uint8), "open_set": ("mono8", np.uint8), "anomaly_score": ("32FC1", np.float32)}


class Relay(Node):
    """Answers every image with an empty alert and empty masks of its size: typed messages, in the executor's thread."""

    def __init__(self, **options: Any) -> None:
        super().__init__(NODE_NAME, **options)
        self._alert = self.create_publisher(DiagnosticArray, "~/output/hazard_alert", 10)
        self._images = {name: self.create_publisher(Image, f"~/output/{name}", IMAGE_QOS) for name in _MASKS}
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.create_subscription(Image, "~/input/image", self._answer, qos)

    def start(self) -> bool:
        """Says that it takes images."""
        self.get_logger().info("active: relay")
        return True

    def stop(self, timeout: float | None) -> bool:
        """Has nothing to end."""
        return True

    def _answer(self, message: Image) -> None:
        self._alert.publish(DiagnosticArray(header=message.header))
        for name, (encoding, dtype) in _MASKS.items():
            pixels = np.zeros((message.height, message.width), dtype)
            self._images[name].publish(image_message(Picture(message.header, pixels, encoding)))


if __name__ == "__main__":
    sys.exit(run(Relay))
