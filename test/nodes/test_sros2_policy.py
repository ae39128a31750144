# SPDX-License-Identifier: Apache-2.0
"""The SROS2 policy allows what the node really does, and nothing beside."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.parameter import Parameter

from densehybrid_ros.nodes.bond import STATUS
from densehybrid_ros.nodes.hazard_messages import DETECTIONS
from densehybrid_ros.nodes.messages import is_installed
from densehybrid_ros.nodes.perception_node import PerceptionNode
from densehybrid_ros.resources import resource_path

pytestmark = pytest.mark.ros

OPTIONAL = {
    "vision_msgs": (DETECTIONS, {"/perception/output/hazards", "/perception/output/label_info"}),
    "bond": (STATUS, {"/bond"}),
    "tf2_msgs": ("tf2_msgs/msg/TFMessage", {"/tf", "/tf_static"}),
}
"""Package -> one of its messages, and topics that are there only with it."""
LATER = {"/perception/get_type_description"}
"""Since Iron."""


@pytest.fixture(scope="module")
def node(ros: None, seeded_model: Path) -> Iterator[PerceptionNode]:
    given = {
        "model": str(seeded_model),
        "device": "cpu",
        "backend": "eager",
        "base_frame": "base",
        "use_sim_time": True,
    }
    overrides = [Parameter(name, value=value) for name, value in given.items()]
    node = PerceptionNode(parameter_overrides=overrides, use_global_arguments=False)
    assert node.start()
    yield node
    node.stop(timeout=None)
    node.destroy_node()


def allowed(kind: str, way: str) -> set[str]:
    """The names of this kind that the policy allows to use this way, in full."""
    profile = ElementTree.parse(resource_path("config/sros2/policy.xml")).getroot().find(".//profile")
    assert profile is not None
    own = f"{profile.get('ns')}{profile.get('node')}"
    texts = [item.text or "" for group in profile.findall(f"{kind}s[@{way}='ALLOW']") for item in group.iter(kind)]
    return {text.replace("~", own) if text[0] in "~/" else f"{profile.get('ns')}{text}" for text in texts}


@pytest.mark.parametrize(
    ("kind", "way", "asked"),
    [
        ("topic", "publish", "get_publisher_names_and_types_by_node"),
        ("topic", "subscribe", "get_subscriber_names_and_types_by_node"),
        ("service", "reply", "get_service_names_and_types_by_node"),
        ("service", "request", "get_client_names_and_types_by_node"),
    ],
)
def test_policy_is_what_the_node_does(node: PerceptionNode, kind: str, way: str, asked: str) -> None:
    done = {name for name, _ in getattr(node, asked)(node.get_name(), node.get_namespace())}
    policy = allowed(kind, way)
    missing = {name for message, names in OPTIONAL.values() if not is_installed(message) for name in names}
    assert done <= policy
    assert policy - missing - LATER <= done
