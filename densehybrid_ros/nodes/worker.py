"""The one thread that runs the model and publishes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from densehybrid_ros.nodes.frame_slot import FrameSlot

T = TypeVar("T")


class Worker(Generic[T]):
    """Takes frames out of a slot and processes them one after another until the slot is closed."""

    def __init__(self, slot: FrameSlot[T], process: Callable[[T], None]) -> None:
        """Starts the thread.

        Args:
            slot: Where frames come from.
            process: Is called with each frame in the worker's thread; it must not raise.
        """
        self._slot = slot
        self._process = process
        # A daemon, so that a computation that can't be interrupted never keeps the process alive.
        self._thread = threading.Thread(target=self._run, name="perception_worker", daemon=True)
        self._thread.start()

    def join(self, timeout: float | None = None) -> bool:
        """Waits until the thread has ended; the slot has to be closed first.

        Args:
            timeout: Seconds to wait at most; None: as long as the frame in work takes.

        Returns:
            Whether it has ended.
        """
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (frame := self._slot.take()) is not None:
            self._process(frame)
