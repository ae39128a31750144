# SPDX-License-Identifier: Apache-2.0
"""The node's output topics. An output is filled only if it is switched on and somebody subscribes to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from std_msgs.msg import Float64MultiArray, Header, MultiArrayDimension, MultiArrayLayout
from visualization_msgs.msg import MarkerArray

from densehybrid_ros.datasets.taxonomy import SemanticClass
from densehybrid_ros.errors import InputError
from densehybrid_ros.hazards.hazard import HazardFrame, Level
from densehybrid_ros.hazards.road import find_ground, road_hazard
from densehybrid_ros.nodes import hazard_messages, messages
from densehybrid_ros.nodes.hazard_messages import DETECTIONS, LABEL_INFO
from densehybrid_ros.nodes.inputs import CameraFrame
from densehybrid_ros.nodes.messages import OVERRIDABLE, Picture, PicturePublisher, is_installed, message_class, qos
from densehybrid_ros.perception.ground import ground_class_confidence, ground_open_set, ground_points
from densehybrid_ros.perception.overlay import SCORE_OFFSET, SCORE_SCALE, score_steps
from densehybrid_ros.perception.settings import Settings

# Reliable publishers match every subscriber. Two frames, so that one that is still on its way survives the next.
IMAGE_DEPTH, _HAZARD_DEPTH = 2, 10

HAZARD_OUTPUTS = ("hazard_alert", "hazard_points", "hazard_markers", "hazards")
"""Those that need the hazard stage; the alert has a topic of its own (``alert_topic``)."""

_CODECS = {"png": (".png", [cv2.IMWRITE_PNG_COMPRESSION, 1]), "jpeg": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 90])}
_NO_HAZARDS = HazardFrame(0.0, (), (), (), Level.OK, "", (), 0)


class PublishError(RuntimeError):
    """Some outputs of a frame could not be made or published; it names them."""


@dataclass(frozen=True)
class Output:
    """How one output is made: ``compute`` makes what it shows, ``fill`` the message of that, or the picture."""

    kind: type
    depth: int
    compute: Callable[[CameraFrame], Any]
    fill: Callable[[CameraFrame, Any], Any]

    def make(self, frame: CameraFrame) -> Any:
        """Makes the message of a frame, or the picture."""
        return self.fill(frame, self.compute(frame))


def _image(encoding: str | None, compute: Callable[[CameraFrame], np.ndarray]) -> Output:
    """An image; without an encoding that of the score."""

    def fill(frame: CameraFrame, pixels: np.ndarray) -> Picture:
        return Picture(frame.header, pixels, encoding or frame.settings.score_encoding)

    return Output(Image, IMAGE_DEPTH, compute, fill)


def _compressed(wire_format: str, compute: Callable[[CameraFrame], np.ndarray]) -> Output:
    """A CompressedImage as image_transport's plugin ``compressed`` makes it: "ENCODING; CODEC compressed ..."."""
    codec = wire_format.split()[1]

    def encode(frame: CameraFrame) -> np.ndarray:
        pixels = compute(frame)
        swapped = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels
        suffix, options = _CODECS[codec]
        return cv2.imencode(suffix, swapped, options)[1]

    def fill(frame: CameraFrame, data: np.ndarray) -> CompressedImage:
        message = CompressedImage(header=frame.header, format=wire_format)
        messages.fill_data(message, data)
        return message

    return Output(CompressedImage, IMAGE_DEPTH, encode, fill)


def _hazards(kind: type, fill: Callable[[CameraFrame, HazardFrame], Any]) -> Output:
    """Of the hazards; none where the hazard stage failed, which the alert says."""
    return Output(kind, _HAZARD_DEPTH, lambda frame: frame.perceived.hazards or _NO_HAZARDS, fill)


def _score(frame: CameraFrame) -> np.ndarray:
    return _encoded(frame, frame.perceived.masks.anomaly_score)


def _road_hazard(frame: CameraFrame) -> np.ndarray:
    perceived, settings = frame.perceived, frame.settings.hazards
    ground = find_ground(perceived.masks.semantic, perceived.classes, settings.drivable_classes)
    nats = settings.road_prior if settings.on_road_only else 0.0
    return _encoded(frame, road_hazard(perceived.masks.anomaly_score, ground, nats))


def _encoded(frame: CameraFrame, score: np.ndarray) -> np.ndarray:
    return score if frame.settings.score_encoding == "32FC1" else score_steps(score)


_MASKS: dict[str, Callable[[CameraFrame], np.ndarray]] = {
    "semantic": lambda frame: frame.perceived.masks.semantic,
    "open_set": lambda frame: frame.perceived.masks.open_set,
    "confidence": lambda frame: frame.perceived.masks.confidence,
}

OUTPUTS: dict[str, Output] = {
    "hazard_points": _hazards(PointCloud2, lambda frame, known: hazard_messages.points(frame.header, known.hazards)),
    "hazard_markers": _hazards(
        MarkerArray, lambda frame, known: hazard_messages.markers(frame.header, known, frame.settings.source_timeout)
    ),
    **{name: _image("mono8", compute) for name, compute in _MASKS.items()},
    "anomaly_score": _image(None, _score),
    "road_hazard": _image(None, _road_hazard),
    "ground_points": Output(
        PointCloud2,
        IMAGE_DEPTH,
        lambda frame: ground_points(frame.perceived, frame.settings),
        lambda frame, points: messages.point_cloud(frame.header, points),
    ),
    "ground_open_set": _image("mono8", lambda frame: ground_open_set(frame.perceived, frame.settings)),
    "ground_class_confidence": _image("mono8", lambda frame: ground_class_confidence(frame.perceived, frame.settings)),
    "overlay": _image("rgb8", lambda frame: frame.overlay),
    **{f"{name}/compressed": _compressed("mono8; png compressed", compute) for name, compute in _MASKS.items()},
    "overlay/compressed": _compressed("rgb8; jpeg compressed bgr8", lambda frame: frame.overlay),
}
"""Name of the topic under ``~/output/`` -> how it is made, in the order of publishing."""

if is_installed(DETECTIONS):
    OUTPUTS["hazards"] = _hazards(
        message_class(DETECTIONS), lambda frame, known: hazard_messages.detections(frame.header, known.hazards)
    )


def needs_hazards(settings: Settings) -> bool:
    """Whether one of the hazard stage's outputs is switched on; heard or not, since tracks need every frame."""
    return any(getattr(settings, f"publish_{name}") for name in HAZARD_OUTPUTS)


class Outputs:
    """The publishers of all outputs of a camera but the alert. They publish while the node is active."""

    def __init__(self, node: LifecycleNode, prefix: str = "~") -> None:
        """Creates the publishers; ``prefix`` is that of the camera's topics."""
        self._node, self._prefix = node, prefix
        self._publishers = {
            name: node.create_lifecycle_publisher(
                output.kind, f"{prefix}/output/{name}", qos(output.depth), qos_overriding_options=OVERRIDABLE
            )
            for name, output in OUTPUTS.items()
        }
        self._labels: Any = None
        self._pictures = PicturePublisher()
        self._scale = node.create_publisher(
            Float64MultiArray, f"{prefix}/output/anomaly_score_scale", qos(1, latched=True)
        )

    def offer_labels(self, classes: tuple[SemanticClass, ...]) -> None:
        """Publishes the names of the classes once, for all who subscribe later too; only where vision_msgs is."""
        if self._labels is None and is_installed(LABEL_INFO):
            kind, topic = message_class(LABEL_INFO), f"{self._prefix}/output/label_info"
            profile = qos(1, latched=True)
            self._labels = self._node.create_publisher(kind, topic, profile, qos_overriding_options=OVERRIDABLE)
            header = Header(stamp=self._node.get_clock().now().to_msg())
            self._labels.publish(hazard_messages.label_info(classes, header))

    def offer_scale(self, settings: Settings) -> None:
        """Publishes (scale, offset), with which a value of the score becomes nats: nats = scale * value + offset."""
        values = (1.0, 0.0) if settings.score_encoding == "32FC1" else (SCORE_SCALE, SCORE_OFFSET)
        layout = MultiArrayLayout(dim=[MultiArrayDimension(label="scale, offset", size=2, stride=2)])
        self._scale.publish(Float64MultiArray(layout=layout, data=values))

    def publish(self, frame: CameraFrame) -> list[str]:
        """Makes and publishes what is wanted.

        Returns:
            Why some are left out for this frame, because an input does not tell what they need: "NAME: what" each.

        Raises:
            PublishError: Some could not be; all others were.
        """
        failures, problems = [], []
        for name in OUTPUTS:
            if not self.is_wanted(name, frame.settings):
                continue
            try:
                self.send(name, OUTPUTS[name].make(frame))
            except InputError as error:
                problems.append(f"{name}: not published: {error}")
            except Exception as error:
                failures.append(f"output {name}: {type(error).__name__}: {error}")
        if failures:
            raise PublishError("; ".join(failures))
        return problems

    def is_wanted(self, name: str, settings: Settings) -> bool:
        """Whether an output is switched on and has a subscriber."""
        switched_on = bool(getattr(settings, f"publish_{name.removesuffix('/compressed')}"))
        return switched_on and self._publishers[name].get_subscription_count() > 0

    def send(self, name: str, message: Any) -> None:
        """Publishes a message or a picture on one output."""
        if not isinstance(message, Picture):
            self._publishers[name].publish(message)
        elif self._publishers[name].is_activated:
            self._pictures.publish(self._publishers[name], message)

    def destroy(self) -> None:
        """Removes the publishers from the node."""
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        self._node.destroy_publisher(self._scale)
        if self._labels is not None:
            self._node.destroy_publisher(self._labels)
