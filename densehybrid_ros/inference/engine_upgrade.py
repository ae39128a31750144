# SPDX-License-Identifier: Apache-2.0
"""Compiles the engine that the camera needs while frames go on, and goes over to it between two of them."""

from __future__ import annotations

from collections.abc import Callable

from densehybrid_ros.errors import InputError
from densehybrid_ros.inference.engine_builder import BackgroundBuild
from densehybrid_ros.inference.segmenter import Segmenter


class EngineUpgrade:
    """At most one build at a time, in a process of its own; one for each size that a camera has."""

    def __init__(self, segmenter: Segmenter, inform: Callable[[str], None], warn: Callable[[str], None]) -> None:
        """Notes what to upgrade.

        Args:
            segmenter: The model, on whatever could be had at once.
            inform: Is told when a build begins and when its engine takes over.
            warn: Is told when a build can't be had or fails.
        """
        self._segmenter, self._inform, self._warn = segmenter, inform, warn
        self._sizes: dict[int, tuple[int, int]] = {}
        self._begun: list[tuple[int, int]] = []
        self._build: BackgroundBuild | None = None
        self._told = False

    def before_frame(self, height: int, width: int, camera: int = 0) -> None:
        """Hands over what has been built, and starts to build what this camera's size needs; the worker calls it."""
        self._sizes[camera] = (height, width)
        wanted = self._sizes.values()
        if self._begun and self._begun[-1] not in wanted:
            self.close()
            self._build = None
        self._begun = [size for size in self._begun if size in wanted]
        if self._build is not None and not self._told:
            self._hand_over(self._build)
        if self._build is None or self._told:
            for size in [size for size in wanted if size not in self._begun][:1]:
                self._start(*size)

    def _hand_over(self, build: BackgroundBuild) -> None:
        if not build.finished:
            return
        self._told = True
        if build.swap_into(self._segmenter.swap):
            self._inform(f"{build.progress()}; from this frame on: {self._segmenter.describe()}")
        else:
            self._warn(f"{build.progress()}; {self._segmenter.backend} goes on")

    def progress(self) -> str:
        """Returns one line about the build; empty where nothing was built. Any thread may ask."""
        build = self._build
        return "" if build is None else build.progress()

    def close(self) -> None:
        """Ends a build that is going on."""
        if self._build is not None and not self._build.finished:
            self._build.cancel()

    def _start(self, height: int, width: int) -> None:
        self._begun.append((height, width))
        self._build, self._told = None, False
        try:
            self._build = self._segmenter.start_build(height, width)
        except InputError as error:
            self._warn(f"build_engine: {error}; {self._segmenter.backend} goes on")
            return
        if self._build is not None:
            self._inform(f"{self._build.progress()}; until then: {self._segmenter.describe()}")
