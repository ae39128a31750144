"""Runs a ROS benchmark as a child process, because the DDS profile counts from a process's start. No ROS here."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from densehybrid_ros.demo.transport import private_domain, tidy_shared_memory, transport_environment
from densehybrid_ros.errors import InputError


def require_ros() -> None:
    """Checks that ROS 2 can be imported.

    Raises:
        InputError: It can't.
    """
    if importlib.util.find_spec("rclpy") is None:
        raise InputError("rclpy can't be imported: source your ROS 2 installation, or install ROS as the README says")


def with_this_package(environment: Mapping[str, str]) -> dict[str, str]:
    """Lets a child import this package from where this process has it, also where it is not installed."""
    paths = [str(Path(__file__).resolve().parents[2]), *filter(None, [environment.get("PYTHONPATH")])]
    return {**environment, "PYTHONPATH": os.pathsep.join(paths)}


def run_for_figures(module: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Runs ``python -m MODULE ARGUMENTS --output FILE`` in a ROS domain of its own and reads what it answers.

    Raises:
        InputError: ROS 2 is not installed, or the child failed.
    """
    require_ros()
    with private_domain() as domain, tidy_shared_memory(), tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "figures.json"
        command = [sys.executable, "-m", module, *arguments, "--output", str(output)]
        status = subprocess.run(command, env=with_this_package(transport_environment(domain)), check=False).returncode
        if status:
            raise InputError(f"{module} ended with status {status}")
        answered: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    if "error" in answered:
        raise InputError(answered["error"])
    return answered


def answer(output: Path, measure: Callable[[], dict[str, Any]]) -> None:
    """Is the child's side of ``run_for_figures``: writes the figures, or what was wrong, to ``output``."""
    try:
        figures = measure()
    except InputError as error:
        figures = {"error": str(error)}
    output.write_text(json.dumps(figures), encoding="utf-8")
