# SPDX-License-Identifier: Apache-2.0
"""A peer that offers what the hazard stage hears beside images, and reads its alerts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import plain_messages
from colour_node import draw
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from plain_messages import CAMERA
from ros_peer import PATIENCE, RosPeer, image_message, values_of
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from stereo_msgs.msg import DisparityImage

from densehybrid_ros.bags.messages import disparity_message, header_message, serialize
from densehybrid_ros.perception.geometry import Transform

HORIZON = 66
STALE = 3
_EPOCH, _TICK = 1_700_000_000 * 10**9, 10**8  # nanoseconds
BOX = (150, 90, 30, 20)
"""Left, top, width and height of the object in most frames; it stands on the road."""


def foot_of(box: tuple[int, int, int, int]) -> np.ndarray:
    """Where a ray through the middle of a box's lower edge meets the road: (x, y, z) in the optical frame."""
    left, top, width, height = box
    column, row = left + (width - 1) / 2, top + height - 0.5
    ray = np.array([(column - CAMERA.cx) / CAMERA.fx, (row - CAMERA.cy) / CAMERA.fy, 1.0])
    mount = Transform.of_mount(CAMERA.mount_height, CAMERA.pitch)
    return ray * (-CAMERA.mount_height / (mount.rotation @ ray)[2])


def camera_info(**changes: Any) -> bytes:
    """The serialized message of ``CAMERA``."""
    return bytes(serialize(plain_messages.camera_info(**changes)))


def disparity_image(pixels: np.ndarray, stamp: int) -> bytes:
    """The serialized message of float32 [H, W] at a stamp in nanoseconds."""
    return bytes(serialize(disparity_message(pixels, CAMERA, header_message(stamp, "optical"))))


class Alert:
    """A hazard_alert, read as a subscriber would."""

    def __init__(self, message: DiagnosticArray) -> None:
        summary, *details = message.status
        self.header = message.header
        self.level = summary.level[0]
        self.message = summary.message
        self.values = values_of(summary)
        self.levels = [status.level[0] for status in details]
        self.hazards = [values_of(status) for status in details]


class HazardPeer(RosPeer):
    """Sends drawn frames, and what belongs to them."""

    def __init__(self, topic: str = "/camera", camera: str = "") -> None:
        self.alerts: list[Alert] = []
        self.number = 0
        super().__init__(topic, camera=camera)
        self.camera_info = self.node.create_publisher(CameraInfo, f"{topic}_info", 5)
        self.disparity = self.node.create_publisher(DisparityImage, "/disparity", 5)
        self.odometry = self.node.create_publisher(Odometry, "/odometry", 5)
        self.node.create_subscription(
            DiagnosticArray, f"{self._output}/hazard_alert", lambda message: self.alerts.append(Alert(message)), 50
        )
        for name in ("hazard_points", "hazard_markers", "confidence"):
            self.received[name] = {}
            self.subscribe(name)

    def connect_hazards(self) -> None:
        """Sends frames until alert and masks arrive, so that all sides have found each other."""

        def are_connected() -> bool:
            self.send_image(draw(160, 320, HORIZON))
            return all(self.received.values())

        self.wait_for(are_connected, "the outputs")

    def answer(self, pixels: np.ndarray, encoding: str = "rgb8") -> Alert:
        """Sends a picture and waits for the alert that carries its header."""
        self.send_image(pixels, encoding)
        return Alert(self.result("hazard_alert", self.number))

    def frame(self, *boxes: tuple[int, int, int, int]) -> Alert:
        """Sends a drawn frame and waits for its alert."""
        return self.answer(draw(160, 320, HORIZON, *boxes))

    def frames(self, count: int, *boxes: tuple[int, int, int, int]) -> Alert:
        """Sends some frames, a tenth of a second apart by their stamps, and returns the last one's alert."""
        return [self.frame(*boxes) for _ in range(count)][-1]

    def frame_until(
        self, condition: Callable[[Alert], bool], *boxes: tuple[int, int, int, int], before: Callable[[], None] = int
    ) -> Alert:
        """Sends frames until an alert fulfils a condition, as it will once what ``before`` sends has arrived."""
        end = time.monotonic() + PATIENCE
        while True:
            before()
            alert = self.frame(*boxes)
            if condition(alert):
                return alert
            assert time.monotonic() < end, f"the last alert: {alert.message}, {alert.values}, {alert.hazards}"

    def send_image(self, pixels: np.ndarray, encoding: str = "rgb8") -> None:
        self.number += 1
        message = image_message(pixels, encoding)
        message.header = self.header()
        self.send(message)

    def stamp(self, ahead: float = 0.0) -> int:
        """Of the newest frame, or of one that is ``ahead`` frames later, in nanoseconds."""
        return _EPOCH + round((self.number + ahead) * _TICK)

    def header(self) -> Header:
        """Of the newest frame."""
        header = Header(frame_id="optical")
        header.stamp.sec, header.stamp.nanosec = divmod(self.stamp(), 10**9)
        return header

    def speed(self, value: float) -> None:
        message = Odometry()
        message.twist.twist.linear.x = value
        self.odometry.publish(message)

    def call(self, name: str) -> tuple[bool, str]:
        response = self.ask(Trigger, name)
        return response.success, response.message

    def wait_for_alert(self, part: str) -> Alert:
        """Waits for a new STALE alert whose message has this part."""
        known = len(self.alerts)
        self.wait_for(lambda: any(a.level == STALE and part in a.message for a in self.alerts[known:]), part)
        return next(alert for alert in self.alerts[known:] if alert.level == STALE and part in alert.message)

    def _keep(self, name: str, message: Any) -> None:
        header = message.markers[0].header if name == "hazard_markers" else message.header
        stamp = header.stamp.sec * 10**9 + header.stamp.nanosec
        self.received[name][(stamp - _EPOCH) // _TICK] = message
