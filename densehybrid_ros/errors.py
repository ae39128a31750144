# SPDX-License-Identifier: Apache-2.0
"""The errors of this package: what a user can mend, and what a model makes of good input."""

from __future__ import annotations

from collections.abc import Collection

_SHOWN = 4


class InputError(ValueError):
    """Bad input or wrong usage: one line that names the file or option and the mend.

    The command line prints it without a traceback and exits with status 2; a node counts it, reports it and
    lives on.
    """


class ComputationError(RuntimeError):
    """A model's numbers can't be used, though its input is good. The frame has no result."""


class OutputError(InputError):
    """A file can't be written, and so neither can those after it; what leaves out single frames does not catch it."""


def first_line(error: BaseException) -> str:
    """Returns what an error of another library says, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def kind_and_line(error: BaseException) -> str:
    """Returns the kind of such an error as well: ``OSError: no such file``."""
    return f"{type(error).__name__}: {first_line(error)}"


def shown(text: str, most: int = 120) -> str:
    """Writes a text that came from outside, such as a message's: printable characters, at most ``most`` of them."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in text[: most + 1])
    return plain if len(plain) <= most else plain[: most - 3] + "..."


def name_some(found: Collection[object]) -> str:
    """Writes the first few of ``found`` and how many there are beside them."""
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(str(item) for item in list(found)[:_SHOWN]) + more
