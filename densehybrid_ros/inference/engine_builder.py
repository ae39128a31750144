# SPDX-License-Identifier: Apache-2.0
"""Builds an engine in another process while frames go on; for a node that must not look dead."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from densehybrid_ros.files import writing
from densehybrid_ros.inference.engine_cache import EngineCache
from densehybrid_ros.inference.engines import Engine, EngineSpec
from densehybrid_ros.inference.input_policy import size_text
from densehybrid_ros.processes import ends_with_this_process

COMPILE_PROGRAM = (
    *(("nice", "-n", "10") if shutil.which("nice") else ()),
    *(sys.executable, "-m", "densehybrid_ros", "compile"),
)
_KEPT_LINES = 20
_SECONDS_TO_END = 5.0


class BackgroundBuild:
    """One build, by ``densehybrid compile`` in a process of its own, at low priority.

    The engine goes into the cache, or into a temporary folder where the cache can't be used. Only ``wait`` and
    ``cancel`` take time; all methods may be called from any thread.
    """

    def __init__(
        self, cache: EngineCache, spec: EngineSpec, model: Path, program: Sequence[str] = COMPILE_PROGRAM
    ) -> None:
        """Starts the process.

        Args:
            cache: The model's engines.
            spec: What to build.
            model: The model's weights file, with its card beside it.
            program: The command to which the options of ``densehybrid compile`` are given.

        Raises:
            OutputError: There is no room for a temporary folder.
        """
        self._spec = spec
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        directory = cache.files.directory
        if cache.files.problem or not _can_be_written(directory):
            with writing("temporary folder"):
                self._folder = tempfile.TemporaryDirectory(prefix="densehybrid_engines_")
            directory = Path(self._folder.name)
        self._cache = replace(cache, directory=directory)
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._started = time.monotonic()
        self._seconds: float | None = None
        self._engine: Engine | None = None
        self._error = ""
        self._taken = False
        self._process = subprocess.Popen(
            ends_with_this_process([*program, *self._options(model, directory)]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # so that its compilers end with it
        )
        self._thread = threading.Thread(target=self._follow, name="engine_build", daemon=True)
        self._thread.start()

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to wait for: an engine, or an error."""
        return self._seconds is not None

    @property
    def error(self) -> str:
        """One line that says why it failed; empty while it runs and where it went well."""
        return self._error

    def progress(self) -> str:
        """Returns one line for people: what the build is doing, and for how long."""
        seconds = self._seconds if self._seconds is not None else time.monotonic() - self._started
        what = f"{self._spec.backend} {self._spec.precision} engine for {size_text(self._spec.size)}"
        if self._error:
            return f"building the {what} failed after {seconds:.0f} s: {self._error}"
        if self.finished:
            return f"built the {what} in {seconds:.0f} s"
        step = self._lines[-1] if self._lines else "starting"
        return f"building the {what}, {seconds:.0f} s: {step}"

    def result(self) -> Engine | None:
        """Returns the engine, loaded; None while there is none."""
        return self._engine if self.finished else None

    def swap_into(self, swap: Callable[[Engine], None]) -> bool:
        """Hands the engine over once it is there; to be called between two frames, by the segmenter's thread.

        Returns:
            Whether it was handed over now.
        """
        engine = self.result()
        if engine is None or self._taken:
            return False
        self._taken = True
        swap(engine)
        return True

    def cancel(self) -> None:
        """Ends the process and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits at most so many seconds; returns whether it has finished."""
        self._thread.join(timeout)
        return self.finished

    def _options(self, model: Path, directory: Path) -> list[str]:
        values = {
            "--model": model,
            "--size": size_text(self._spec.size),
            "--precision": self._spec.precision,
            "--backend": self._spec.backend,
            "--device": self._cache.device,
            "--cache": directory,
        }
        return [str(part) for pair in values.items() for part in pair]

    def _follow(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                if line.strip():
                    self._lines.append(line.strip())
        status = self._process.wait()
        problem = self._lines[-1] if self._lines else ""
        if status == 0:
            # Loading belongs here too: only the swap itself happens between two frames.
            self._engine, problem = self._cache.find(self._spec)
        if self._engine is None:
            self._error = problem or f"exit status {status}"
        self._seconds = time.monotonic() - self._started


def _can_be_written(directory: Path) -> bool:
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    return os.access(existing, os.W_OK | os.X_OK)
