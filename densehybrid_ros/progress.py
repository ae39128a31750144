"""Progress for people: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
_SECONDS_BETWEEN_LINES = 10.0


def progress(items: Iterable[T], description: str, total: int | None = None, unit: str = "frame") -> Iterator[T]:
    """Passes ``items`` through and shows on stderr how far it is.

    Args:
        items: What is worked through.
        description: What is being done, in two or three words.
        total: Number of items; taken from ``len(items)`` when it has one.
        unit: Name of one item.
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    if sys.stderr.isatty():
        yield from tqdm(items, desc=description, total=total, unit=unit, dynamic_ncols=True, leave=True)
        return
    started = last = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES:
            last = now
            print(f"{description}: {done}/{total or '?'} {unit}s", file=sys.stderr, flush=True)
    print(f"{description}: {done} {unit}s in {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
