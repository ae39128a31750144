"""Every request to a node's services gets an answer."""

from __future__ import annotations

from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node


def answer_always(node: Node) -> None:
    """Lets the node's services say no where rclpy raises, which leaves the one who asks without an answer.

    rclpy does so on an unknown or forbidden transition (its issue 1209) and on an unknown type of parameter.
    """
    for service in node.services:
        service.callback = _answering(service, node)


def _answering(service: Any, node: Node) -> Any:
    ask = service.callback

    def answer(request: Any, response: Any) -> Any:
        try:
            return ask(request, response)
        except Exception as error:
            reason = str(error).partition(", at ")[0]  # of a file of rcl
        node.get_logger().error(f"{service.srv_name}: {reason}")
        refused = SetParametersResult(successful=False, reason=reason)
        if service.srv_type is SetParameters:  # it has set those before this one
            rest = SetParameters.Request(parameters=request.parameters[len(response.results) + 1 :])
            response.results = [*response.results, refused, *answer(rest, SetParameters.Response()).results]
        elif hasattr(response, "result"):  # set_parameters_atomically
            response.result = refused
        return response

    return answer
