"""A place for the newest frame between the executor's thread and the worker's."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class FrameSlot(Generic[T]):
    """Holds at most one frame: a newer one takes the place of one that nobody has taken yet."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._frame: T | None = None
        self._closed = False

    def put(self, frame: T) -> bool:
        """Stores a frame.

        Returns:
            Whether a frame was lost by it: an older one, or this one because the slot is closed.
        """
        with self._condition:
            if self._closed:
                return True
            overtaken = self._frame is not None
            self._frame = frame
            self._condition.notify()
            return overtaken

    def take(self) -> T | None:
        """Waits for a frame and takes it out; None once the slot is closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._frame is not None or self._closed)
            frame, self._frame = self._frame, None
            return frame

    def close(self) -> bool:
        """Lets no more frames in and wakes who waits for one.

        Returns:
            Whether a frame that waited here is lost by it.
        """
        with self._condition:
            waiting = self._frame is not None
            self._frame = None
            self._closed = True
            self._condition.notify_all()
            return waiting
