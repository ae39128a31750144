# SPDX-License-Identifier: Apache-2.0
"""Names of the topics of a bag."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace

from densehybrid_ros.errors import InputError

COMPRESSED_SUFFIX = "/compressed"
"""What image_transport appends to the topic of compressed pictures."""

_TOPIC = re.compile(r"(/[A-Za-z_][A-Za-z0-9_]*)+")  # of ROS 2's rules for names, what matters to a bag


@dataclass(frozen=True)
class BagTopics:
    """Under which name a bag holds what."""

    # Pictures, sensor_msgs/Image, or CompressedImage at this name or this name + `/compressed`
    image: str = "/camera/image"
    camera_info: str = "/camera/camera_info"  # sensor_msgs/CameraInfo
    disparity: str = "/camera/disparity"  # stereo_msgs/DisparityImage
    labels: str = "/camera/labels"  # Anomaly labels, mono8
    semantic: str = "/camera/semantic_labels"  # Semantic labels, mono8
    instances: str = "/camera/instances"  # Ids of unknown objects, mono16
    odometry: str = "/odometry"  # nav_msgs/Odometry of the vehicle, whose speed along its axis is used


def parse_topics(text: str) -> BagTopics:
    """Reads ``image=/left/image_rect,disparity=/stereo/disparity``; what is not named keeps its usual name.

    Raises:
        InputError: An entry is malformed, its key is none of BagTopics', or ROS can't have such names.
    """
    known = [field.name for field in fields(BagTopics)]
    named: dict[str, str] = {}
    for entry in filter(None, text.split(",")):
        key, separator, topic = entry.strip().partition("=")
        if not separator or key not in known or not topic:
            raise InputError(f"--topics {entry!r}: write KEY=/topic with KEY one of {', '.join(known)}")
        named[key] = topic if topic.startswith("/") else f"/{topic}"
        if not _TOPIC.fullmatch(named[key]):
            raise InputError(f"--topics {entry!r}: no name that a ROS topic can have; write such as /camera/image")
    topics = replace(BagTopics(), **named)
    names = [getattr(topics, key) for key in known]
    for key in named:
        if names.count(named[key]) > 1:
            raise InputError(f"--topics {key}={named[key]}: two topics of one name; give each its own")
    return topics
