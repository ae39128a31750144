# SPDX-License-Identifier: Apache-2.0
"""What became of a camera's frames: counters, times, reasons and problems, and what /diagnostics say of them."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from densehybrid_ros.perception.alert import text_values

PERIOD = 1.0
"""Seconds between two reports."""
SECONDS_BETWEEN_WARNINGS = 5.0
"""Between two warnings of a kind."""

_TIMES_KEPT = 500
_MOST_PROBLEMS = 20
_SECONDS_KEPT = 10.0
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_RANKS = (50.0, 95.0, 99.0)
_TIMES = (
    "latency",  # from arrival in the node to the end of publishing
    "queue_age",  # in the newest-frame slot
    "inference",  # in the model
    "hazards",  # from the masks to tracked hazards
    "publish",  # filling and publishing the outputs
    "stamp_age",  # from the camera's stamp to the end of publishing, by the ROS clock
)
"""Durations that are reported as percentiles; the worker adds them to the statistics."""


@dataclass(frozen=True)
class Counts:
    """Numbers of frames since the node was activated for the first time.

    Once no frame is in work: sent = processed + dropped + rejected + failed, for one publisher and from the first
    frame that arrived.

    Attributes:
        received: Frames that reached the node.
        missed: Frames that were sent but did not reach it, by the publisher's sequence numbers where ROS gives them.
        overtaken: Received frames that a newer one replaced before the worker was free.
        processed: Frames whose results were published.
        rejected: Frames that could not be read.
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
        """Begins at zero; reasons and problems are told for ``timeout()`` seconds of the clock, 10 at least."""
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

    def lose(self, what: str, reason: str) -> None:
        """Counts a frame that was "rejected" or "failed", and keeps why."""
        self.count(what)
        with self._lock:
            self._reasons[what] = self._clock(), reason

    def add_time(self, what: str, seconds: float) -> None:
        """Keeps a duration for the percentiles; only the newest 500 of a kind are kept."""
        with self._lock:
            self._times.setdefault(what, deque(maxlen=_TIMES_KEPT)).append(seconds)

    def add_problem(self, text: str) -> None:
        """Counts a problem of an input; texts that differ only in their numbers are one problem."""
        kind = kind_of(text)
        with self._lock:
            if kind in self._problems or len(self._problems) < _MOST_PROBLEMS:
                self._problems[kind] = self._clock(), self._problems.get(kind, (0.0, 0, ""))[1] + 1, text

    def counts(self) -> Counts:
        """Returns the numbers of this moment."""
        with self._lock:
            return self._counts

    def reasons(self) -> dict[str, str]:
        """Returns the latest reason of each kind; old ones are forgotten."""
        with self._lock:
            self._reasons = {what: kept for what, kept in self._reasons.items() if self._is_new(kept[0])}
            return {what: reason for what, (_, reason) in self._reasons.items()}

    def problems(self) -> tuple[tuple[int, str], ...]:
        """Returns how many frames had each problem and its latest text, longest known first; old ones are forgotten."""
        with self._lock:
            self._problems = {kind: kept for kind, kept in self._problems.items() if self._is_new(kept[0])}
            return tuple((count, text) for _, count, text in self._problems.values())

    def percentiles(self, what: str, ranks: tuple[float, ...]) -> tuple[float, ...]:
        """Returns percentiles (ranks 0..100) of a kind of duration in seconds; nothing while there is none."""
        with self._lock:
            values = list(self._times.get(what, ()))
        return tuple(float(value) for value in np.percentile(values, ranks)) if values else ()

    def _is_new(self, moment: float) -> bool:
        return self._clock() - moment <= max(self._timeout(), _SECONDS_KEPT)


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


class DiagnosticsReport:
    """Makes the reports of one camera; it remembers the last counts to give rates."""

    def __init__(self, node_name: str, statistics: FrameStatistics) -> None:
        """``node_name`` is fully qualified and with the camera's, so that the reports of several cameras differ."""
        self._name = f"{node_name}: frames"
        self._statistics = statistics
        self._last_counts = Counts()
        self._last_time = time.monotonic()
        self._last_problems: tuple[tuple[int, str], ...] = ()

    def make(self, known: Mapping[str, Any], topic: str, silence: float | None, stamp: Any) -> DiagnosticArray:
        """Makes the report of this moment.

        Args:
            known: What the node itself tells, named: ``lifecycle_state``, and ``transport`` if images go a wrong way,
                among others.
            topic: Of the camera.
            silence: Seconds without a frame, if that is longer than the source timeout; None otherwise.
            stamp: builtin_interfaces/Time of the header.
        """
        counts, now, last = self._statistics.counts(), time.monotonic(), self._last_counts
        elapsed = max(now - self._last_time, 1e-3)
        quiet = "" if silence is None else f"no frame on {topic} for {silence:.0f} s"
        values: dict[str, Any] = {
            **known,
            "input_rate_hz": (counts.received - last.received) / elapsed,
            "output_rate_hz": (counts.processed - last.processed) / elapsed,
            "received": counts.received,
            "processed": counts.processed,
            "dropped": counts.dropped,
            "dropped_before_arrival": counts.missed,
            "rejected": counts.rejected,
            "failed": counts.failed,
        }
        for what in _TIMES:
            for rank, value in zip(_RANKS, self._statistics.percentiles(what, _RANKS), strict=False):
                values[f"{what}_p{rank:.0f}_ms"] = value * 1e3
        problems = self._statistics.problems()
        for number, (count, text) in enumerate(problems, 1):
            values[f"problem_{number}"] = f"{count} frames: {text}"
        for what, reason in self._statistics.reasons().items():
            values[f"last_{what}"] = reason
        recent = [text for count, text in problems if (count, text) not in self._last_problems]
        level, message = _judge(counts, last, quiet, [*recent, known.get("transport", "")])
        status = DiagnosticStatus(name=self._name, hardware_id=topic, level=level)
        status.message = message or known["lifecycle_state"]
        status.values = key_values(text_values(values))
        self._last_counts, self._last_time, self._last_problems = counts, now, problems
        report = DiagnosticArray(status=[status])
        report.header.stamp = stamp
        return report


def _judge(counts: Counts, last: Counts, quiet: str, problems: list[str]) -> tuple[bytes, str]:
    """Level and message; failures weigh most, then rejected frames, silence, problems."""
    if failed := counts.failed - last.failed:
        return DiagnosticStatus.ERROR, f"{failed} frames failed since the last report"
    if rejected := counts.rejected - last.rejected:
        return DiagnosticStatus.WARN, f"{rejected} frames rejected since the last report"
    text = quiet or "; ".join(filter(None, problems))
    return (DiagnosticStatus.WARN, text) if text else (DiagnosticStatus.OK, "")


def key_values(values: Mapping[str, str]) -> list[KeyValue]:
    """Turns named texts into diagnostic key-value pairs."""
    return [KeyValue(key=key, value=value) for key, value in values.items()]
