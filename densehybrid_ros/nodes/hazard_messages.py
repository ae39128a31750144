# SPDX-License-Identifier: Apache-2.0
"""The hazards of a frame as points for costmaps, markers for RViz, and vision_msgs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from densehybrid_ros.datasets.taxonomy import SemanticClass
from densehybrid_ros.hazards.hazard import Hazard, HazardFrame, Level, State
from densehybrid_ros.nodes.messages import message_class, point_cloud

DETECTIONS = "vision_msgs/msg/Detection2DArray"
LABEL_INFO = "vision_msgs/msg/LabelInfo"
UNKNOWN_NAME = "unknown"

_POINT_SPACING = 0.1  # metres; finer than a costmap's usual 0.05 to 0.1 m cells would only repeat them
_MOST_POINTS = 64  # a hazard
_SMALLEST_SIDE = 0.1  # metres, of a marker
_LETTER_HEIGHT = 0.5  # metres
_COLORS = {Level.OK: (0.2, 0.7, 0.3), Level.WARN: (1.0, 0.75, 0.0), Level.ERROR: (0.9, 0.1, 0.1)}
_CANDIDATE_COLOR = (0.6, 0.6, 0.6)

_POINT = np.dtype([*((name, np.float32) for name in ("x", "y", "z", "distance_std", "probability")), ("id", np.uint32)])


def points(header: Header, hazards: Sequence[Hazard]) -> PointCloud2:
    """Makes points on the ground, in the frame of the header, across the width of every hazard with a position.

    Fields: x, y, z and distance_std in metres, probability 0..1, and the id of the hazard.
    """
    rows = [row for hazard in hazards for row in _points_across(hazard)]
    return point_cloud(header, np.array(rows, dtype=_POINT))


def _points_across(hazard: Hazard) -> Iterator[tuple[float, ...]]:
    if hazard.position is None:
        return
    x, y, z = hazard.position
    width = hazard.width or 0.0
    count = min(_MOST_POINTS, 1 + math.ceil(width / _POINT_SPACING))
    std = math.nan if hazard.distance_std is None else hazard.distance_std
    for offset in np.linspace(-width / 2, width / 2, count) if count > 1 else (0.0,):
        yield x + offset, y, z, std, hazard.probability, hazard.id


def markers(header: Header, frame: HazardFrame, lifetime: float) -> MarkerArray:
    """Makes a box and a label for every hazard with a position; candidates are grey and have no label.

    A box is as wide as the hazard and as deep as two standard deviations of its distance. The first marker removes
    those of the frame before; after ``lifetime`` seconds RViz removes the others by itself.
    """
    made = [Marker(header=header, action=Marker.DELETEALL)]
    for hazard in (*frame.hazards, *frame.candidates):
        if hazard.position is None:
            continue
        x, y, z = map(float, hazard.position)
        width = max(hazard.width or 0.0, _SMALLEST_SIDE)
        height = max(width * hazard.region.height / max(hazard.region.width, 1), _SMALLEST_SIDE)  # as in the picture
        depth = max(2.0 * (hazard.distance_std or 0.0), _SMALLEST_SIDE)
        is_candidate = hazard.state is State.CANDIDATE
        color = _CANDIDATE_COLOR if is_candidate else _COLORS[Level(hazard.level)]
        box = _marker(header, "hazards", hazard.id, Marker.CUBE, lifetime)
        box.pose = _pose(x, y - height / 2, z)
        box.scale = Vector3(x=width, y=height, z=depth)
        box.color = ColorRGBA(r=color[0], g=color[1], b=color[2], a=0.3 if is_candidate else 0.7)
        made.append(box)
        if is_candidate:
            continue
        label = _marker(header, "labels", hazard.id, Marker.TEXT_VIEW_FACING, lifetime)
        label.pose = _pose(x, y - height - _LETTER_HEIGHT, z)
        label.scale.z = _LETTER_HEIGHT
        label.color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
        label.text = _label(hazard)
        made.append(label)
    return MarkerArray(markers=made)


def _marker(header: Header, namespace: str, number: int, kind: int, lifetime: float) -> Marker:
    marker = Marker(header=header, ns=namespace, id=number % 2**31, type=kind, action=Marker.ADD)
    marker.lifetime.sec, marker.lifetime.nanosec = divmod(round(lifetime * 1e9), 10**9)
    return marker


def _pose(x: float, y: float, z: float) -> Pose:
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=0.0, y=0.0, z=0.0, w=1.0))


def _label(hazard: Hazard) -> str:
    spread = "" if hazard.distance_std is None else f" ± {hazard.distance_std:.1f}"
    text = f"#{hazard.id}  {hazard.distance:.1f}{spread} m  {100 * hazard.probability:.0f} %"
    return text if hazard.time_to_reach is None else f"{text}  {hazard.time_to_reach:.1f} s"


def detections(header: Header, hazards: Sequence[Hazard]) -> Any:
    """Makes a vision_msgs/Detection2DArray (vision_msgs 4): boxes in pixels, the pose in the optical frame if known.

    Raises:
        InputError: vision_msgs is not installed.
    """
    one = message_class("vision_msgs/msg/Detection2D")
    hypothesis_type = message_class("vision_msgs/msg/ObjectHypothesisWithPose")
    found = []
    for hazard in hazards:
        region = hazard.region
        detection = one(header=header, id=str(hazard.id))
        detection.bbox.center.position.x = region.left + (region.width - 1) / 2
        detection.bbox.center.position.y = region.top + (region.height - 1) / 2
        detection.bbox.size_x, detection.bbox.size_y = float(region.width), float(region.height)
        result = hypothesis_type()
        result.hypothesis.class_id, result.hypothesis.score = UNKNOWN_NAME, float(hazard.probability)
        if hazard.position is not None:
            result.pose.pose = _pose(*map(float, hazard.position))
            covariance = [0.0] * 36
            covariance[2 * 6 + 2] = (hazard.distance_std or 0.0) ** 2  # of z
            result.pose.covariance = covariance
        detection.results = [result]
        found.append(detection)
    return message_class(DETECTIONS)(header=header, detections=found)


def label_info(classes: Sequence[SemanticClass], header: Header) -> Any:
    """Makes the vision_msgs/LabelInfo (vision_msgs 4) of the open-set mask: the classes, then "unknown".

    Raises:
        InputError: vision_msgs is not installed.
    """
    kind = message_class("vision_msgs/msg/VisionClass")
    names = [*(item.name for item in classes), UNKNOWN_NAME]
    entries = [kind(class_id=number, class_name=name) for number, name in enumerate(names)]
    return message_class(LABEL_INFO)(header=header, class_map=entries)
