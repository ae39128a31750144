"""The node's output topics. An output is filled only if it is switched on and somebody subscribes to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from densehybrid_ros.datasets.taxonomy import SemanticClass
from densehybrid_ros.hazards.regions import Region, find_regions, polygon_mask
from densehybrid_ros.nodes.hazard_alert import hazard_alert
from densehybrid_ros.nodes.messages import image_message
from densehybrid_ros.nodes.overlay import compose_overlay
from densehybrid_ros.nodes.parameters import Settings

if TYPE_CHECKING:
    from densehybrid_ros.inference import FrameResult  # PyTorch is imported when the node configures, not before

# Reliable publishers match every subscriber. Two frames, so that one that is still on its way survives the next.
IMAGE_QOS = QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE)
ALERT_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)


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
    """

    header: Header
    image: np.ndarray
    result: FrameResult
    classes: tuple[SemanticClass, ...]
    threshold: float
    settings: Settings


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


def _regions(frame: ProcessedFrame) -> tuple[Region, ...]:
    score, settings = frame.result.anomaly_score, frame.settings
    unknown = frame.result.open_set == len(frame.classes)
    return find_regions(unknown, score, settings.min_hazard_area, polygon_mask(settings.roi, *score.shape))


def _alert(frame: ProcessedFrame, node_name: str, regions: tuple[Region, ...]) -> DiagnosticArray:
    return hazard_alert(frame.header, regions, node_name, frame.threshold, frame.result.anomaly_score.shape)


def _overlay(frame: ProcessedFrame) -> np.ndarray:
    return compose_overlay(frame.image, frame.result.open_set, frame.classes, frame.settings.overlay_opacity)


OUTPUTS: dict[str, Output] = {
    # The alert first: it is what somebody may have to act on.
    "hazard_alert": Output(DiagnosticArray, ALERT_QOS, _regions, _alert),
    "semantic": _image("mono8", lambda frame: frame.result.semantic),
    "open_set": _image("mono8", lambda frame: frame.result.open_set),
    "anomaly_score": _image("32FC1", lambda frame: frame.result.anomaly_score),
    "overlay": _image("rgb8", _overlay),
}
"""Name of the topic under ``~/output/`` -> how it is made, in the order of publishing."""


class Outputs:
    """The publishers of all outputs. They publish while the node is active."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._publishers = {
            name: node.create_lifecycle_publisher(output.kind, f"~/output/{name}", output.qos)
            for name, output in OUTPUTS.items()
        }

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
        return switched_on and self._publishers[name].get_subscription_count() > 0

    def fill(self, name: str, frame: ProcessedFrame, content: Any) -> Any:
        """Makes the message of one output of what its ``compute`` returned."""
        return OUTPUTS[name].fill(frame, self._node.get_name(), content)

    def send(self, name: str, message: Any) -> None:
        """Publishes a message on one output."""
        self._publishers[name].publish(message)

    def destroy(self) -> None:
        """Removes the publishers from the node."""
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
