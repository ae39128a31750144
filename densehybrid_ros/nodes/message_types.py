"""ROS message classes by name."""

from __future__ import annotations

import importlib
from typing import Any

from densehybrid_ros.errors import InputError


def message_class(name: str) -> Any:
    """Returns the class of a message type such as ``sensor_msgs/msg/Image``.

    Raises:
        InputError: The package is not installed or has no such message.
    """
    package, _, message = name.replace("/msg/", "/").partition("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), message)
    except (ImportError, AttributeError) as error:
        raise InputError(f"message type {name}: not installed; install the ROS package {package}") from error


def is_installed(name: str) -> bool:
    """Whether the class of a message type can be imported."""
    try:
        message_class(name)
    except InputError:
        return False
    return True
