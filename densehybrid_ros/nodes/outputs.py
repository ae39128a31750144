"""The node's output topics. An output is filled only if it is switched on and somebody subscribes to it."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from densehybrid_ros.datasets.taxonomy import SemanticClass
from densehybrid_ros.hazards.hazard import HazardFrame
from densehybrid_ros.nodes.frame import CameraFrame
from densehybrid_ros.nodes.hazard_messages import (
    DETECTIONS,
    LABEL_INFO,
    detections,
    hazard_markers,
    hazard_points,
    label_info,
)
from densehybrid_ros.nodes.messages import image_message, is_installed, message_class
from densehybrid_ros.perception.overlay import compose_overlay
from densehybrid_ros.perception.settings import Settings

# Reliable publishers match every subscriber. Two frames, so that one that is still on its way survives the next.
IMAGE_QOS = QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE)
HAZARD_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
LATCHED_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)

_OVERRIDABLE = QoSOverridingOptions.with_default_policies()

HAZARD_OUTPUTS = ("hazard_alert", "hazard_points", "hazard_markers", "hazards")
"""Those that need the hazard stage; the alert has a topic of its own (``alert_topic``)."""


@dataclass(frozen=True)
class Output:
    """How one output is made.

    Attributes:
        kind: Its message class.
        qos: Its quality of service.
        compute: Makes what it shows; nothing is left to do where that is one of the masks.
        fill: Makes the message of it.
    """

    kind: type
    qos: QoSProfile
    compute: Callable[[CameraFrame], Any]
    fill: Callable[[CameraFrame, Any], Any]


def _image(encoding: str, compute: Callable[[CameraFrame], np.ndarray]) -> Output:
    return Output(Image, IMAGE_QOS, compute, lambda frame, pixels: image_message(frame.header, pixels, encoding))


def _hazards(kind: type, fill: Callable[[CameraFrame, HazardFrame], Any]) -> Output:
    return Output(kind, HAZARD_QOS, lambda frame: frame.hazards, fill)


def _overlay(frame: CameraFrame) -> np.ndarray:
    perceived, opacity = frame.perceived, frame.settings.overlay_opacity
    return compose_overlay(frame.image, perceived.masks.open_set, perceived.classes, opacity)


OUTPUTS: dict[str, Output] = {
    "hazard_points": _hazards(PointCloud2, lambda frame, known: hazard_points(frame.header, known.hazards)),
    "hazard_markers": _hazards(
        MarkerArray, lambda frame, known: hazard_markers(frame.header, known, frame.settings.source_timeout)
    ),
    "semantic": _image("mono8", lambda frame: frame.perceived.masks.semantic),
    "open_set": _image("mono8", lambda frame: frame.perceived.masks.open_set),
    "anomaly_score": _image("32FC1", lambda frame: frame.perceived.masks.anomaly_score),
    "confidence": _image("mono8", lambda frame: frame.perceived.masks.confidence),
    "overlay": _image("rgb8", _overlay),
}
"""Name of the topic under ``~/output/`` -> how it is made, in the order of publishing."""

if is_installed(DETECTIONS):
    OUTPUTS["hazards"] = _hazards(
        message_class(DETECTIONS), lambda frame, known: detections(frame.header, known.hazards)
    )


def needs_hazards(settings: Settings) -> bool:
    """Whether the hazard stage has to run: where one of its outputs is switched on, heard or not.

    Tracks need every frame, and whoever subscribes next is to find them.
    """
    return any(getattr(settings, f"publish_{name}") for name in HAZARD_OUTPUTS)


class Outputs:
    """The publishers of all outputs but the alert. They publish while the node is active."""

    def __init__(self, node: LifecycleNode) -> None:
        """Creates the publishers."""
        self._node = node
        # Of each profile a copy, because ``qos_overrides`` change it.
        self._publishers = {
            name: node.create_lifecycle_publisher(
                output.kind, f"~/output/{name}", copy(output.qos), qos_overriding_options=_OVERRIDABLE
            )
            for name, output in OUTPUTS.items()
        }
        self._labels: Any = None

    def offer_labels(self, classes: tuple[SemanticClass, ...]) -> None:
        """Publishes the names of the classes once, for all who subscribe later too; only where vision_msgs is."""
        if self._labels is None and is_installed(LABEL_INFO):
            kind, topic = message_class(LABEL_INFO), "~/output/label_info"
            self._labels = self._node.create_publisher(
                kind, topic, copy(LATCHED_QOS), qos_overriding_options=_OVERRIDABLE
            )
            header = Header(stamp=self._node.get_clock().now().to_msg())
            self._labels.publish(label_info(classes, header))

    def publish(self, frame: CameraFrame) -> list[str]:
        """Makes and publishes what is wanted.

        Returns:
            Names of the outputs that were published.
        """
        names = [name for name in OUTPUTS if self.is_wanted(name, frame.settings)]
        for name in names:
            self.send(name, OUTPUTS[name].fill(frame, OUTPUTS[name].compute(frame)))
        return names

    def is_wanted(self, name: str, settings: Settings) -> bool:
        """Whether an output is switched on and has a subscriber."""
        switched_on = bool(getattr(settings, f"publish_{name}"))
        return switched_on and self._publishers[name].get_subscription_count() > 0

    def send(self, name: str, message: Any) -> None:
        """Publishes a message on one output."""
        self._publishers[name].publish(message)

    def destroy(self) -> None:
        """Removes the publishers from the node."""
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        if self._labels is not None:
            self._node.destroy_publisher(self._labels)
