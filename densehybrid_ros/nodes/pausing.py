"""The services ``~/pause`` and ``~/resume``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from std_srvs.srv import Trigger


def offer_pausing(node: Node, pause: Callable[[], str], resume: Callable[[], str]) -> None:
    """Offers both services.

    Args:
        node: The node.
        pause: Pauses the node; returns why it can't, or an empty text.
        resume: Ends the pause; likewise.
    """
    for name, action in (("pause", pause), ("resume", resume)):
        node.create_service(Trigger, f"~/{name}", _answer(action))


def _answer(action: Callable[[], str]) -> Callable[[Any, Any], Any]:
    def answer(_: Any, response: Any) -> Any:
        problem = action()
        response.success, response.message = not problem, problem
        return response

    return answer
