"""The node's output topics. An output is filled only if it is switched on and somebody subscribes to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from densehybrid_ros.datasets.taxonomy import SemanticClass
from densehybrid_ros.hazards.hazard import HazardFrame, Level
from densehybrid_ros.nodes.alert_watch import AlertTopic
from densehybrid_ros.nodes.hazard_alert import hazard_alert
from densehybrid_ros.nodes.hazard_messages import (
    DETECTIONS,
    LABEL_INFO,
    detections,
    hazard_markers,
    hazard_points,
    label_info,
)
from densehybrid_ros.nodes.hazard_stage import HazardReport
from densehybrid_ros.nodes.message_types import is_installed, message_class
from densehybrid_ros.nodes.messages import image_message
from densehybrid_ros.perception.overlay import compose_overlay
from densehybrid_ros.perception.settings import Settings

if TYPE_CHECKING:
    from densehybrid_ros.inference import FrameResult  # PyTorch is imported when the node configures, not before

# Reliable publishers match every subscriber. Two frames, so that one that is still on its way survives the next.
IMAGE_QOS = QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE)
HAZARD_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
LATCHED_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)

ALERT = "hazard_alert"
HAZARD_OUTPUTS = (ALERT, "hazard_points", "hazard_markers", "hazards")
"""Those that need the hazard stage."""


@dataclass(frozen=True)
class ProcessedFrame:
    """All that an output may be made of.

    Attributes:
        header: The camera's header.
        image: uint8 RGB [H, W, 3], any strides.
        result: Masks and score of the frame.
        classes: Class table of the model.
        threshold: Anomaly threshold used, in nats.
        settings: Parameters used.
        hazards: What the hazard stage says; it may be None while none of ``HAZARD_OUTPUTS`` is wanted.
    """

    header: Header
    image: np.ndarray
    result: FrameResult
    classes: tuple[SemanticClass, ...]
    threshold: float
    settings: Settings
    hazards: HazardReport | None


@dataclass(frozen=True)
class Output:
    """How one output is made.

    Attributes:
        kind: Its message class.
        qos: Its quality of service.
        compute: Makes what it shows; nothing is left to do where that is one of the masks.
        fill: Makes the message of it. The second argument is the node's name.
    """

    kind: type
    qos: QoSProfile
    compute: Callable[[ProcessedFrame], Any]
    fill: Callable[[ProcessedFrame, str, Any], Any]


def _image(encoding: str, compute: Callable[[ProcessedFrame], np.ndarray]) -> Output:
    return Output(Image, IMAGE_QOS, compute, lambda frame, _, pixels: image_message(frame.header, pixels, encoding))


def _hazards(kind: type, fill: Callable[[ProcessedFrame, HazardFrame], Any]) -> Output:
    """An output of the hazards; it stays empty where the stage failed, which the alert says."""
    return Output(kind, HAZARD_QOS, _known_hazards, lambda frame, _, known: fill(frame, known))


def _known_hazards(frame: ProcessedFrame) -> HazardFrame:
    known = frame.hazards.frame if frame.hazards else None
    return known or HazardFrame(0.0, (), (), (), Level.OK, "", (), 0)


def _alert(frame: ProcessedFrame, node_name: str, report: HazardReport) -> DiagnosticArray:
    return hazard_alert(frame.header, report, node_name, frame.threshold, frame.result.anomaly_score.shape)


def _overlay(frame: ProcessedFrame) -> np.ndarray:
    return compose_overlay(frame.image, frame.result.open_set, frame.classes, frame.settings.overlay_opacity)


OUTPUTS: dict[str, Output] = {
    # The alert first: it is what somebody may have to act on.
    ALERT: Output(DiagnosticArray, HAZARD_QOS, lambda frame: frame.hazards, _alert),
    "hazard_points": _hazards(PointCloud2, lambda frame, known: hazard_points(frame.header, known.hazards)),
    "hazard_markers": _hazards(
        MarkerArray, lambda frame, known: hazard_markers(frame.header, known, frame.settings.source_timeout)
    ),
    "semantic": _image("mono8", lambda frame: frame.result.semantic),
    "open_set": _image("mono8", lambda frame: frame.result.open_set),
    "anomaly_score": _image("32FC1", lambda frame: frame.result.anomaly_score),
    "confidence": _image("mono8", lambda frame: frame.result.confidence),
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
    """The publishers of all outputs. They publish while the node is active."""

    def __init__(self, node: LifecycleNode, alert: AlertTopic) -> None:
        """Creates the publishers.

        Args:
            node: The node.
            alert: The alert's publisher, which outlives the others.
        """
        self._node = node
        self._alert = alert
        self._managed = {
            name: node.create_lifecycle_publisher(output.kind, f"~/output/{name}", output.qos)
            for name, output in OUTPUTS.items()
            if name != ALERT
        }
        self._labels: Any = None

    def offer_labels(self, classes: tuple[SemanticClass, ...]) -> None:
        """Publishes the names of the classes once, for all who subscribe later too; only where vision_msgs is."""
        if self._labels is None and is_installed(LABEL_INFO):
            self._labels = self._node.create_publisher(message_class(LABEL_INFO), "~/output/label_info", LATCHED_QOS)
            header = Header(stamp=self._node.get_clock().now().to_msg())
            self._labels.publish(label_info(classes, header))

    def publish(self, frame: ProcessedFrame) -> list[str]:
        """Makes and publishes what is wanted.

        Returns:
            Names of the outputs that were published.
        """
        names = [name for name in OUTPUTS if self.is_wanted(name, frame.settings)]
        for name in names:
            self.send(name, self.fill(name, frame, OUTPUTS[name].compute(frame)))
        return names

    def is_wanted(self, name: str, settings: Settings) -> bool:
        """Whether an output is switched on and has a subscriber."""
        switched_on = bool(getattr(settings, f"publish_{name}"))
        return switched_on and self._publisher(name).get_subscription_count() > 0

    def fill(self, name: str, frame: ProcessedFrame, content: Any) -> Any:
        """Makes the message of one output of what its ``compute`` returned."""
        return OUTPUTS[name].fill(frame, self._node.get_name(), content)

    def send(self, name: str, message: Any) -> None:
        """Publishes a message on one output."""
        self._publisher(name).publish(message)

    def destroy(self) -> None:
        """Removes the publishers from the node, but for the alert's."""
        for publisher in self._managed.values():
            self._node.destroy_lifecycle_publisher(publisher)
        if self._labels is not None:
            self._node.destroy_publisher(self._labels)

    def _publisher(self, name: str) -> Any:
        return self._alert if name == ALERT else self._managed[name]
