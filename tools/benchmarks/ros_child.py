# SPDX-License-Identifier: Apache-2.0
"""Runs the ROS half of a benchmark as a child process: the DDS profile counts from a process's start. No ROS here."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from densehybrid_ros.demo.node_process import with_this_package
from densehybrid_ros.demo.transport import private_domain, tidy_shared_memory, transport_environment
from densehybrid_ros.errors import InputError
from densehybrid_ros.files import write_text_atomically


def run_for_figures(name: str, **arguments: Any) -> dict[str, Any]:
    """Runs the file ``NAME`` beside this one, in a ROS domain of its own; its ``measure`` gets the arguments as JSON.

    Returns:
        What it answers.

    Raises:
        InputError: ROS 2 is not installed, or the child failed.
    """
    if importlib.util.find_spec("rclpy") is None:
        raise InputError("rclpy can't be imported: source your ROS 2 installation, or install ROS as the README says")
    with private_domain() as domain, tidy_shared_memory(), tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "figures.json"
        command = [sys.executable, str(Path(__file__).with_name(name)), json.dumps(arguments), str(output)]
        status = subprocess.run(command, env=with_this_package(transport_environment(domain)), check=False).returncode
        if status:
            raise InputError(f"{name} ended with status {status}")
        answered: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    if "error" in answered:
        raise InputError(answered["error"])
    return answered


def answer(measure: Callable[..., dict[str, Any]]) -> None:
    """Is the child's side of ``run_for_figures``: writes the figures of ``measure``, or what was wrong."""
    arguments, output = sys.argv[1:]
    try:
        figures = measure(**json.loads(arguments))
    except InputError as error:
        figures = {"error": str(error)}
    write_text_atomically(Path(output), json.dumps(figures))
