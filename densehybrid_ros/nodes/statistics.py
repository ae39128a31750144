# SPDX-License-Identifier: Apache-2.0
"""What became of the frames: counters, times and reasons, and warnings, of which one of a kind is enough."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

_TIMES_KEPT = 500
_LARGEST_GAP = 1000
_MOST_PROBLEMS = 20
_SECONDS_KEPT = 10.0
_NUMBER = re.compile(r"-?\d+(\.\d+)?")

SECONDS_BETWEEN_WARNINGS = 5.0
"""Between two warnings of a kind."""


@dataclass(frozen=True)
class Counts:
    """Numbers of frames since the node was activated for the first time.

    Once no frame is in work: sent = processed + dropped + rejected + failed, for one publisher and from the first
    frame that arrived.

    Attributes:
        received: Frames that reached the node.
        missed: Frames that were sent but did not reach it (lost or overtaken in the middleware), by the publisher's
            sequence numbers where ROS gives them.
        overtaken: Received frames that a newer one replaced before the worker was free.
        processed: Frames whose results were published.
        rejected: Frames that could not be read: encoding, size, corrupt data.
        failed: Frames on which the model or publishing raised an error.
    """

    received: int = 0
    missed: int = 0
    overtaken: int = 0
    processed: int = 0
    rejected: int = 0
    failed: int = 0

    @property
    def dropped(self) -> int:
        """Frames that were sent and not looked at because newer ones came."""
        return self.missed + self.overtaken


class FrameStatistics:
    """Counts frames, and keeps the latest times and reasons. All methods may be called from any thread."""

    def __init__(self, timeout: Callable[[], float] = lambda: 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        """Begins at zero.

        Args:
            timeout: Returns for how many seconds reasons and problems are told, 10 at least.
            clock: Tells seconds.
        """
        self._timeout, self._clock = timeout, clock
        self._lock = threading.Lock()
        self._counts = Counts()
        self._times: dict[str, deque[float]] = {}
        self._reasons: dict[str, tuple[float, str]] = {}
        self._problems: dict[str, tuple[float, int, str]] = {}

    def count(self, what: str, number: int = 1) -> None:
        """Adds to one of the fields of ``Counts``."""
        with self._lock:
            self._counts = replace(self._counts, **{what: getattr(self._counts, what) + number})

    def add_time(self, what: str, seconds: float) -> None:
        """Keeps a duration for the percentiles; only the newest 500 of a kind are kept."""
        with self._lock:
            self._times.setdefault(what, deque(maxlen=_TIMES_KEPT)).append(seconds)

    def set_reason(self, what: str, reason: str) -> None:
        """Keeps the latest reason of a kind, such as why a frame was rejected."""
        with self._lock:
            self._reasons[what] = self._clock(), reason

    def counts(self) -> Counts:
        """Returns the numbers of this moment."""
        with self._lock:
            return self._counts

    def reasons(self) -> dict[str, str]:
        """Returns the latest reason of each kind; old ones are forgotten."""
        with self._lock:
            self._reasons = {what: kept for what, kept in self._reasons.items() if self._is_new(kept[0])}
            return {what: reason for what, (_, reason) in self._reasons.items()}

    def add_problem(self, text: str) -> None:
        """Counts a problem of an input; texts that differ only in their numbers are one problem."""
        kind = kind_of(text)
        with self._lock:
            if kind in self._problems or len(self._problems) < _MOST_PROBLEMS:
                self._problems[kind] = self._clock(), self._problems.get(kind, (0.0, 0, ""))[1] + 1, text

    def problems(self) -> tuple[tuple[int, str], ...]:
        """Returns how many frames had each problem and its latest text, longest known first; old ones are forgotten."""
        with self._lock:
            self._problems = {kind: kept for kind, kept in self._problems.items() if self._is_new(kept[0])}
            return tuple((count, text) for _, count, text in self._problems.values())

    def _is_new(self, moment: float) -> bool:
        return self._clock() - moment <= max(self._timeout(), _SECONDS_KEPT)

    def mean_and_largest(self, what: str) -> tuple[float, float] | None:
        """Returns mean and largest of the kept durations of a kind in seconds; None while there is none."""
        with self._lock:
            values = list(self._times.get(what, ()))
        return (float(np.mean(values)), float(np.max(values))) if values else None

    def percentiles(self, what: str, ranks: tuple[float, ...]) -> tuple[float, ...] | None:
        """Returns percentiles (ranks 0..100) of a kind of duration in seconds; None while there is none."""
        with self._lock:
            values = list(self._times.get(what, ()))
        return tuple(float(value) for value in np.percentile(values, ranks)) if values else None


class SequenceGaps:
    """Finds frames that did not arrive, by the sequence numbers that a publisher gives its messages."""

    def __init__(self) -> None:
        self._last: int | None = None

    def missing_before(self, sequence: int | None) -> int:
        """Returns how many messages are missing between the last one and this one.

        A number that is not larger, or larger by more than 1000, belongs to another publisher: nothing is missing.
        """
        last, self._last = self._last, sequence
        if last is None or sequence is None or not 0 < sequence - last <= _LARGEST_GAP:
            return 0
        return sequence - last - 1


class Throttle:
    """Passes a text on, unless one of its kind went before in the last seconds."""

    def __init__(self, log: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        """Begins; ``log`` gets the texts, ``clock`` tells seconds."""
        self._log, self._clock = log, clock
        self._passed: dict[str, float] = {}

    def __call__(self, text: str) -> None:
        """Takes a text."""
        now, kind = self._clock(), kind_of(text)
        self._passed = {key: at for key, at in self._passed.items() if now - at < SECONDS_BETWEEN_WARNINGS}
        if kind not in self._passed:
            self._passed[kind] = now
            self._log(text)


def kind_of(text: str) -> str:
    """Returns what texts that differ only in their numbers share."""
    return _NUMBER.sub("#", text)
