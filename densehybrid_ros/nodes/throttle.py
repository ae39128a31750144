"""Warnings that come again and again: one of a kind within some seconds is enough."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

SECONDS_BETWEEN_WARNINGS = 5.0
"""Between two warnings of a kind."""

_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def kind_of(text: str) -> str:
    """Returns what texts that differ only in their numbers share."""
    return _NUMBER.sub("#", text)


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
