# SPDX-License-Identifier: Apache-2.0
"""What a group of the fault campaign counts, and what it says of a case that fell."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

_MOST_NOTES = 30
_MOST_FALLS, _MOST_UNANSWERED = 60, 10  # after which a group ends early
FALLS = ("crashes", "tracebacks", "unanswered", "failed", "wrong")
"""The counters that must stay zero."""


@dataclass
class Tally:
    """One row of the table.

    Attributes:
        group: Name of the group.
        tried: Damaged inputs, values or calls that were tried.
        answers: Answers to them and to the good frames between them; refusals in one line count where they are said.
        crashes: Processes that ended where none may end, or with another status than they may.
        tracebacks: Exceptions that came through as such.
        unanswered: Good frames, services and commands without an answer in time.
        failed: Frames that the node counts as failed: an error of the computer's kind, not a refusal.
        wrong: Damaged inputs that must be seen and were taken as good.
        worst_s: The longest time to an answer in seconds.
        last_s: The last such time.
        seconds: Of the whole group.
        notes: What fell, with the number of its case.
        remarks: Figures of the group.
    """

    group: str
    tried: int = 0
    answers: int = 0
    crashes: int = 0
    tracebacks: int = 0
    unanswered: int = 0
    failed: int = 0
    wrong: int = 0
    worst_s: float = 0.0
    last_s: float = 0.0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    remarks: dict[str, Any] = field(default_factory=dict)

    @property
    def fallen(self) -> int:
        """How much fell."""
        return sum(getattr(self, name) for name in FALLS)

    @property
    def is_hopeless(self) -> bool:
        """Whether so much fell that the group ends early, which is then noted."""
        ends = self.fallen >= _MOST_FALLS or self.unanswered >= _MOST_UNANSWERED
        if ends:
            self.remarks["ended early"] = f"{self.fallen} fell"
        return ends

    def fell(self, what: str, note: str) -> None:
        """Counts a fall of one of ``FALLS``, and keeps what is known about it."""
        setattr(self, what, getattr(self, what) + 1)
        self.note(f"{what}: {note}")

    def note(self, text: str) -> None:
        """Keeps a line about what fell; of many the first."""
        if len(self.notes) < _MOST_NOTES:
            self.notes.append(" ".join(text.split())[:400])

    def answered(self, seconds: float) -> None:
        """Counts an answer."""
        self.answers += 1
        self.last_s, self.worst_s = seconds, max(self.worst_s, seconds)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types."""
        return asdict(self)


@dataclass(frozen=True)
class Plan:
    """Which cases are run.

    Attributes:
        seed: A case is a function of the seed, its group and its number.
        scale: Of the number of cases.
        case: The one case to run; None: all.
    """

    seed: int
    scale: float
    case: int | None = None

    def numbers(self, count: int) -> Iterable[int]:
        """Returns the numbers of a group's cases, of ``count`` at full scale."""
        return range(max(2, round(count * self.scale))) if self.case is None else [self.case]

    def random(self, group: str, number: int) -> Random:
        """Returns what draws a case."""
        return Random(f"{self.seed}/{group}/{number}")


@contextmanager
def timed(tally: Tally) -> Iterator[Tally]:
    """Measures the seconds of a group."""
    began = time.monotonic()
    try:
        yield tally
    finally:
        tally.seconds += round(time.monotonic() - began, 1)


def within(seconds: int, action: Callable[[], Any]) -> Any:
    """Runs an action of this thread and interrupts it after some seconds.

    Raises:
        TimeoutError: It took longer.
    """

    def interrupt(*_: Any) -> None:
        raise TimeoutError(f"no answer within {seconds} s")

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(seconds)
    try:
        return action()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def flipped(random: Random, data: bytes, first: int = 0, last: int | None = None, most: int = 8) -> bytes:
    """Returns bytes of which one to ``most`` bits in [first, last) are turned."""
    end = min(len(data), last or len(data))
    damaged = bytearray(data)
    for place in random.sample(range(first, end), min(random.randint(1, most), end - first)):
        damaged[place] ^= 1 << random.randrange(8)
    return bytes(damaged)


def cut(random: Random, data: bytes, least: int = 1, kept: int = 0) -> bytes:
    """Returns bytes of which at least ``least`` are missing at the end, and at least ``kept`` are left."""
    return data[: random.randint(kept, max(len(data) - least, kept))]


def zeroed(random: Random, data: bytes, first: int = 0) -> bytes:
    """Returns bytes of which a stretch is zero."""
    begin = random.randrange(first, len(data))
    end = min(len(data), begin + random.randint(16, max(17, len(data) // 4)))
    return data[:begin] + bytes(end - begin) + data[end:]
