# SPDX-License-Identifier: Apache-2.0
"""The perception node as a child process, for the demo, benchmarks and tests. ROS is not imported here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from densehybrid_ros.errors import InputError
from densehybrid_ros.files import writing
from densehybrid_ros.perception.settings import PARAMETERS
from densehybrid_ros.processes import ends_with_this_process

if TYPE_CHECKING:
    from typing import Self  # Python 3.11

_POLL = 0.05
_ACTIVE = "]: active: "
_LAST_LINES = 3  # of a log without errors
_ROS_LEVELS = ("[FATAL]", "[ERROR]")


class ModuleProcess:
    """Runs a Python module in a process group of its own; a context manager that ends it at the end."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        """Starts the process; its output goes to ``log``, or else to a temporary file."""
        self._own_log = log is None
        self.log_path = log or _temporary_log()
        with writing(self.log_path):
            output = self.log_path.open("wb")
        with output:
            self.process = subprocess.Popen(
                ends_with_this_process([sys.executable, "-m", module, *arguments]),
                env=with_this_package(environment if environment is not None else os.environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A shell's background job ignores SIGINT, and so would its children; and a group can be ended whole.
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._own_log:
            self.log_path.unlink(missing_ok=True)

    def log(self) -> str:
        """Returns what the process has written so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def wait_for_log(self, text: str, timeout: float = 60.0) -> None:
        """Waits until the process has written ``text``.

        Raises:
            InputError: It ended before, or did not within ``timeout`` seconds; with the errors it has logged.
        """
        end = time.monotonic() + timeout
        while text not in self.log():
            if self.process.poll() is not None and text not in self.log():
                self.check_alive()
            if time.monotonic() > end:
                raise InputError(f"perception_node has not logged {text!r} within {timeout:.0f} s: {self.errors()}")
            time.sleep(_POLL)

    def wait_until_active(self, timeout: float = 120.0) -> None:
        """Waits until the model is loaded and the node takes frames.

        Raises:
            InputError: It did not come to that; with the errors that the node has logged.
        """
        self.wait_for_log(_ACTIVE, timeout)

    def check_alive(self) -> None:
        """Checks that the process runs; an InputError with the errors it has logged if it has ended."""
        if (status := self.process.poll()) is not None:
            raise InputError(f"perception_node ended with status {status}: {self.errors()}")

    def stop(self, number: int = signal.SIGINT, timeout: float = 10.0) -> int:
        """Ends the process with a signal, or kills it and its children ``timeout`` s later; returns its status."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            return self.process.wait()

    def errors(self) -> str:
        """Returns the errors that the process has logged, or else its last lines, as one line."""
        lines = self.log().strip().splitlines()
        # "[ERROR] [time] [node]: text"
        errors = [line.partition("]: ")[2] or line for line in lines if line.startswith(_ROS_LEVELS)]
        if not lines:
            return "it has written nothing"
        return " | ".join(errors) or f"its log ends: {' | '.join(lines[-_LAST_LINES:])}"


class NodeProcess(ModuleProcess):
    """Runs ``perception_node``."""

    def __init__(
        self,
        parameters: Mapping[str, Any] | None = None,
        remappings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        extra_arguments: Sequence[str] = (),
        log: Path | None = None,
        module: str = "densehybrid_ros.nodes",
    ) -> None:
        """Starts the node with parameters (``-p``), remappings (``-r``) and more ROS arguments."""
        arguments = ["--ros-args", *extra_arguments]
        for name, value in (parameters or {}).items():
            arguments += ["-p", f"{name}:={_parameter_text(name, value)}"]
        for name, target in (remappings or {}).items():
            arguments += ["-r", f"{name}:={target}"]
        super().__init__(module, arguments, environment, log)


def with_this_package(environment: Mapping[str, str]) -> dict[str, str]:
    """Lets a child import this package from where this process has it, also where it is not installed."""
    paths = [str(Path(__file__).resolve().parents[2]), *filter(None, [environment.get("PYTHONPATH")])]
    return {**environment, "PYTHONPATH": os.pathsep.join(paths)}


def _temporary_log() -> Path:
    with tempfile.NamedTemporaryFile(prefix="perception_node_", suffix=".log", delete=False) as file:
        return Path(file.name)


def _parameter_text(name: str, value: Any) -> str:
    """Writes a value as JSON, which is YAML too. Strings are quoted, so that a path or ``off`` stays a string."""
    return json.dumps(PARAMETERS[name].coerce(value) if name in PARAMETERS else value, ensure_ascii=False)
