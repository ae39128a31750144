# SPDX-License-Identifier: Apache-2.0
"""Compiles the engine that a camera needs in another process while frames go on, and goes over to it between two."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from densehybrid_ros.errors import InputError
from densehybrid_ros.inference.cache import usable_folder
from densehybrid_ros.inference.engine_cache import EngineCache
from densehybrid_ros.inference.engines import Engine, EngineSpec
from densehybrid_ros.inference.input_policy import size_text
from densehybrid_ros.inference.segmenter import Segmenter
from densehybrid_ros.processes import ends_with_this_process

COMPILE_PROGRAM = (
    *(("nice", "-n", "10") if shutil.which("nice") else ()),
    *(sys.executable, "-m", "densehybrid_ros", "compile"),
)
_SECONDS_TO_END = 5.0


class BackgroundBuild:
    """One build, by ``densehybrid compile`` in a process of its own, at low priority.

    The engine goes into the cache, or into a temporary folder where the cache can't be used.

    Attributes:
        engine: The engine, loaded; None while there is none.
        error: One line that says why it failed; empty while it runs and where it went well.
        thread: What follows the process; alive until there is nothing left to wait for.
    """

    def __init__(self, cache: EngineCache, spec: EngineSpec, model: Path) -> None:
        """Starts the process for a model's weights file, with its card beside it, and the thread that follows it.

        Raises:
            OutputError: There is no room for a temporary folder.
        """
        self._spec = spec
        self._cache = replace(cache, directory=usable_folder(cache.files.directory))
        self._step = ""
        self._started, self._ended = time.monotonic(), 0.0
        self.engine: Engine | None = None
        self.error = ""
        options = {
            "--model": model,
            "--size": size_text(spec.size),
            "--precision": spec.precision,
            "--backend": spec.backend,
            "--device": cache.device,
            "--cache": self._cache.directory,
        }
        command = [*COMPILE_PROGRAM, *(str(part) for pair in options.items() for part in pair)]
        self._process = subprocess.Popen(
            ends_with_this_process(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # so that its compilers end with it
        )
        self.thread = threading.Thread(target=self._follow, name="engine_build", daemon=True)
        self.thread.start()

    def progress(self) -> str:
        """Returns one line for people: what the build is doing, and for how long."""
        seconds = (self._ended or time.monotonic()) - self._started
        what = f"the {self._spec.backend} {self._spec.precision} engine for {size_text(self._spec.size)}"
        if self.thread.is_alive():
            return f"building {what}, {seconds:.0f} s: {self._step or 'starting'}"
        if self.error:
            return f"building {what} failed after {seconds:.0f} s: {self.error}"
        return f"built {what} in {seconds:.0f} s"

    def cancel(self) -> None:
        """Ends the process and all that it started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(self._process.pid, number)
                self._process.wait(_SECONDS_TO_END)
                return

    def _follow(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in filter(str.strip, lines):
                self._step = line.strip()
        status = self._process.wait()
        reason = self._step or f"exit status {status}"
        if status == 0:  # loaded here: only the swap itself is between two frames
            self.engine, reason = self._cache.find(self._spec)
        self._ended = time.monotonic()
        self.error = "" if self.engine else reason


class EngineUpgrade:
    """At most one build at a time; one for each size that a camera has."""

    def __init__(self, segmenter: Segmenter, inform: Callable[[str], None], warn: Callable[[str], None]) -> None:
        """Notes what to upgrade; ``inform`` is told of begun and finished builds, ``warn`` of those that fail."""
        self._segmenter, self._inform, self._warn = segmenter, inform, warn
        self._sizes: dict[int, tuple[int, int]] = {}
        self._begun: list[tuple[int, int]] = []
        self._build: BackgroundBuild | None = None
        self._busy = False

    def before_frame(self, height: int, width: int, camera: int = 0) -> None:
        """Hands over what has been built, and starts to build what this camera's size needs; the worker calls it."""
        self._sizes[camera] = (height, width)
        wanted = self._sizes.values()
        if self._begun and self._begun[-1] not in wanted:
            self.close()
            self._build, self._busy = None, False
        self._begun = [size for size in self._begun if size in wanted]
        if self._build is not None and self._busy and not self._build.thread.is_alive():
            self._hand_over(self._build)
        if not self._busy:
            for size in [size for size in wanted if size not in self._begun][:1]:
                self._start(*size)

    def progress(self) -> str:
        """Returns one line about the build; empty where nothing was built. Any thread may ask."""
        build = self._build
        return "" if build is None else build.progress()

    def close(self) -> None:
        """Ends a build that is going on."""
        if self._build is not None and self._build.thread.is_alive():
            self._build.cancel()

    def _hand_over(self, build: BackgroundBuild) -> None:
        self._busy = False
        if build.engine is None:
            self._warn(f"{build.progress()}; {self._segmenter.backend} goes on")
            return
        self._segmenter.swap(build.engine)
        self._inform(f"{build.progress()}; from this frame on: {self._segmenter.describe()}")

    def _start(self, height: int, width: int) -> None:
        self._begun.append((height, width))
        self._build = None
        try:
            spec = self._segmenter.missing_engine(height, width)
            if spec is None:
                return
            self._build = BackgroundBuild(self._segmenter.engines, spec, self._segmenter.model.path)
        except InputError as error:
            self._warn(f"build_engine: {error}; {self._segmenter.backend} goes on")
            return
        self._busy = True
        self._inform(f"{self._build.progress()}; until then: {self._segmenter.describe()}")
