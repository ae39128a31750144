# SPDX-License-Identifier: Apache-2.0
"""Progress for people: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
_SECONDS_BETWEEN_LINES = 10.0


def progress(
    items: Iterable[T],
    description: str,
    total: int | None = None,
    unit: str = "frame",
    status: Callable[[], str] | None = None,
) -> Iterator[T]:
    """Passes ``items`` through and shows on stderr how far it is.

    Args:
        items: What is worked through.
        description: What is being done, in two or three words.
        total: Number of items; taken from ``len(items)`` when it has one.
        unit: Name of one item.
        status: Says what else is to be shown, a few words.
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    if sys.stderr.isatty():
        bar = tqdm(items, desc=description, total=total, unit=unit, dynamic_ncols=True, leave=True)
        for item in bar:
            yield item
            if status is not None:
                bar.set_postfix_str(status(), refresh=False)
        return
    started = last = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES:
            last = now
            more = f", {status()}" if status is not None else ""
            print(f"{description}: {done}/{total or '?'} {unit}s{more}", file=sys.stderr, flush=True)
    print(f"{description}: {done} {unit}s in {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)


@contextmanager
def steps(name: str) -> Iterator[Callable[[str], None]]:
    """Yields a function that says which step has begun, for work whose length nobody knows.

    On a terminal the step stands in one line with the time that it has taken; elsewhere it is printed, and again every
    ten seconds with its time.
    """
    step, since, stop = "", time.monotonic(), threading.Event()
    on_terminal = sys.stderr.isatty()
    line = tqdm(bar_format="{desc} [{elapsed}]", dynamic_ncols=True, leave=True, disable=not on_terminal)

    def report(text: str) -> None:
        nonlocal step, since
        step, since = text, time.monotonic()
        line.set_description_str(f"{name}: {text}")
        if not on_terminal:
            print(f"{name}: {text}", file=sys.stderr, flush=True)

    def repeat() -> None:
        while not stop.wait(1.0 if on_terminal else _SECONDS_BETWEEN_LINES):
            if on_terminal:
                line.refresh()
            else:
                print(f"{name}: {step}, {time.monotonic() - since:.0f} s so far", file=sys.stderr, flush=True)

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield report
    finally:
        stop.set()
        thread.join()
        line.close()
