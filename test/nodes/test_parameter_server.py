# SPDX-License-Identifier: Apache-2.0
"""The parameter table on a node in this process."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rcl_interfaces.msg import ParameterType
from rclpy.node import Node
from rclpy.parameter import Parameter

from densehybrid_ros.errors import InputError
from densehybrid_ros.networks import ModelCard
from densehybrid_ros.nodes.parameter_server import ParameterServer
from densehybrid_ros.perception.settings import PARAMETERS, Settings

pytestmark = pytest.mark.ros


class HumbleNode(Node):
    """A node that, like Humble's, offers to validate parameters but does not tell when they are set."""

    @property
    def add_pre_set_parameters_callback(self) -> None:
        raise AttributeError

    @property
    def add_post_set_parameters_callback(self) -> None:
        raise AttributeError


@contextmanager
def made(*given: tuple[str, object], kind: type[Node] = Node) -> Iterator[Node]:
    """A node to which these parameters are given."""
    overrides = [Parameter(name, value=value) for name, value in given]
    node = kind("parameter_test", parameter_overrides=overrides, use_global_arguments=False)
    try:
        yield node
    finally:
        node.destroy_node()


@pytest.fixture(params=[Node, HumbleNode])
def node(ros: None, request: pytest.FixtureRequest) -> Iterator[Node]:
    with made(("min_hazard_area", 7), ("anomaly_threshold", 2), kind=request.param) as node:
        yield node


def test_changes_make_a_new_snapshot_and_refused_ones_leave_it(node: Node) -> None:
    server = ParameterServer(node)
    before = server.settings
    assert before == Settings(min_hazard_area=7, anomaly_threshold=2.0)
    assert node.get_parameter("anomaly_threshold").value == 2.0
    changes = [Parameter("overlay_opacity", value=0.25), Parameter("publish_overlay", value=False)]
    assert node.set_parameters_atomically(changes).successful
    after = server.settings
    assert (after.overlay_opacity, after.publish_overlay, before.overlay_opacity) == (0.25, False, 0.5)
    changes = [Parameter("roi", value=[0.0, 1.0]), Parameter("overlay_opacity", value=0.1)]
    result = node.set_parameters_atomically(changes)
    assert not result.successful
    assert result.reason.startswith("parameter roi: ")
    assert server.settings is after


def test_a_value_without_a_name_is_refused(node: Node) -> None:
    """rclpy alone would take it."""
    ParameterServer(node)
    assert not node.set_parameters_atomically([Parameter("", value=0.1)]).successful
    assert not node.has_parameter("")


def test_values_that_contradict_each_other_are_refused_unless_set_together(node: Node) -> None:
    server = ParameterServer(node)
    result = node.set_parameters_atomically([Parameter("error_distance", value=70.0)])
    assert not result.successful
    assert result.reason == "parameter error_distance: 70 exceeds warn_distance 50; raise that as well"
    both = [Parameter("error_distance", value=70.0), Parameter("warn_distance", value=90.0)]
    assert node.set_parameters_atomically(both).successful
    assert (server.settings.error_distance, server.settings.warn_distance) == (70.0, 90.0)


QOS = "qos_overrides./camera.subscription"
CARD = ModelCard("test", "light", thresholds={"low": -20.0, "high": -10.0}, default_threshold="high")


def test_threshold_has_type_and_range_of_the_card(ros: None) -> None:
    with made() as node:
        server = ParameterServer(node)
        server.take_card(CARD)
        assert server.settings.anomaly_threshold == -10.0
        descriptor = node.describe_parameter("anomaly_threshold")
        assert (descriptor.type, descriptor.dynamic_typing) == (ParameterType.PARAMETER_DOUBLE, False)
        (span,) = descriptor.floating_point_range
        assert (span.from_value, span.to_value) == (-30.0, 0.0)
        assert descriptor.additional_constraints == "-30 to 0"
        assert node.set_parameters([Parameter("anomaly_threshold", value=-25)])[0].successful
        assert not node.set_parameters([Parameter("anomaly_threshold", value=500.0)])[0].successful
        assert server.settings.anomaly_threshold == -25.0


def test_a_given_threshold_stays_in_the_range(node: Node) -> None:
    server = ParameterServer(node)
    server.take_card(CARD)
    assert server.settings.anomaly_threshold == 2.0
    (span,) = node.describe_parameter("anomaly_threshold").floating_point_range
    assert (span.from_value, span.to_value) == (-30.0, 2.0)


def test_classes_that_the_model_lacks_are_refused_live(node: Node) -> None:
    server = ParameterServer(node)
    server.take_card(CARD)
    (result,) = node.set_parameters([Parameter("drivable_classes", value=["road", "sidewlk"])])
    assert not result.successful
    assert result.reason == "parameter drivable_classes: test has no class 'sidewlk'; did you mean 'sidewalk'?"
    assert server.settings.drivable_classes == ("",)
    assert node.set_parameters([Parameter("drivable_classes", value=["road", "sidewalk"])])[0].successful


def test_an_ego_mask_that_is_none_is_refused_live(node: Node, tmp_path: Path) -> None:
    server = ParameterServer(node)
    (result,) = node.set_parameters([Parameter("ego_mask", value=str(tmp_path / "nowhere.png"))])
    assert not result.successful
    assert result.reason.startswith(f"parameter ego_mask: {tmp_path / 'nowhere.png'}")
    mask = np.zeros((4, 8), np.uint8)
    mask[3] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    assert node.set_parameters([Parameter("ego_mask", value=str(tmp_path / "mask.png"))])[0].successful
    assert server.settings.hazards.ego_mask is not None
    assert server.settings.hazards.ego_mask.own.sum() == 8


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("trigger_count", 9, "trigger_window 5 is below trigger_count 9"),
        ("min_hazard_area", "many", "min_hazard_area: 'many' is no int"),
        (f"{QOS}.reliability", "relaible", f"{QOS}.reliability: 'relaible' is not one of system_default, reliable"),
        (f"{QOS}.history", 3, f"{QOS}.history: 3 is not one of system_default, keep_last, keep_all"),
        (f"{QOS}.depth", "ten", f"{QOS}.depth: 'ten' is no number of messages"),
    ],
)
def test_wrong_given_values_are_named(ros: None, name: str, value: object, reason: str) -> None:
    with made((name, value)) as node, pytest.raises(InputError, match=re.escape(f"parameter {reason}")):
        ParameterServer(node)


def test_descriptors_tell_range_and_meaning(node: Node) -> None:
    ParameterServer(node)
    for name, row in PARAMETERS.items():
        descriptor = node.describe_parameter(name)
        assert descriptor.description == row.description
        assert descriptor.read_only == (not row.live)
    (span,) = node.describe_parameter("min_hazard_area").integer_range
    assert (span.from_value, span.to_value) == (1, 2**31 - 1)
    (reach,) = node.describe_parameter("anomaly_threshold").floating_point_range
    assert (reach.from_value, reach.to_value) == (-1000.0, 1000.0)
    assert (
        node.describe_parameter("backend").additional_constraints == "one of auto, eager, inductor, openvino, tensorrt"
    )
