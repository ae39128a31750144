# SPDX-License-Identifier: Apache-2.0
"""Requests that rclpy raises on get an answer, and the node lives on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.node import Node

from densehybrid_ros.demo.node_process import NodeProcess
from densehybrid_ros.demo.spinning import spinning_node, wait_until

pytestmark = pytest.mark.ros

RIGHT = Parameter(name="source_timeout", value=ParameterValue(type=3, double_value=7.0))
WRONG = Parameter(name="source_timeout", value=ParameterValue(type=99))


@pytest.fixture(scope="module")
def client(start_node: Callable[..., NodeProcess]) -> Iterator[Node]:
    with start_node(autostart=False) as process, spinning_node("client") as node:
        process.wait_for_log("autostart is off")
        yield node
        assert process.stop() == 0, process.log()


def ask(client: Node, name: str, kind: type, **fields: Any) -> Any:
    service = client.create_client(kind, f"/perception/{name}")
    assert service.wait_for_service(60)
    future = service.call_async(kind.Request(**fields))
    assert wait_until(future.done, 60), f"{name} has not answered"
    return future.result()


@pytest.mark.parametrize("transition", [Transition(id=200), Transition(label="nonsense"), Transition(id=3)])
def test_an_unknown_or_forbidden_transition_is_refused(client: Node, transition: Transition) -> None:
    assert not ask(client, "change_state", ChangeState, transition=transition).success
    assert ask(client, "get_state", GetState).current_state.label == "unconfigured"


def test_an_unknown_type_is_refused_and_the_other_parameters_are_set(client: Node) -> None:
    answer = ask(client, "set_parameters", SetParameters, parameters=[WRONG, RIGHT, WRONG, WRONG, RIGHT])
    assert [result.successful for result in answer.results] == [False, True, False, False, True]
    assert answer.results[0].reason == "99 is not a valid Parameter.Type"


def test_an_unknown_type_is_refused_with_all_that_go_with_it(client: Node) -> None:
    result = ask(client, "set_parameters_atomically", SetParametersAtomically, parameters=[RIGHT, WRONG]).result
    assert not result.successful
    assert result.reason == "99 is not a valid Parameter.Type"
