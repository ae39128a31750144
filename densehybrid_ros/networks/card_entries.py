# SPDX-License-Identifier: Apache-2.0
"""Entries of a model card, read one by one: each is what it must be, or is named with what is wrong with it."""

from __future__ import annotations

import math
from typing import Any

from densehybrid_ros.errors import InputError

_SHOWN = 60  # characters of a wrong value


class Entries:
    """A mapping within a card.

    Attributes:
        values: The mapping.
        where: Its own name in the card, such as ``confidence``; empty for the card as a whole.
    """

    def __init__(self, values: Any, where: str = "") -> None:
        """Takes the mapping.

        Raises:
            InputError: It is none.
        """
        if not isinstance(values, dict):
            raise InputError(f"{where or 'card'}: {shown(values)} is no mapping")
        self.values, self.where = values, where

    def name(self, key: object) -> str:
        """Returns the full name of an entry, such as ``confidence.scale``."""
        return f"{self.where}.{key}" if self.where else str(key)

    def needed(self, key: str) -> Any:
        """Returns a value of any kind.

        Raises:
            InputError: There is none.
        """
        if key not in self.values:
            raise InputError(f"{self.name(key)}: is missing")
        return self.values[key]

    def text(self, key: str) -> str:
        """Returns a text that is not empty.

        Raises:
            InputError: There is none.
        """
        return text(self.needed(key), self.name(key))

    def number(self, key: str, low: float, high: float) -> float:
        """Returns a number within ``low..high``.

        Raises:
            InputError: There is none, or another.
        """
        return number(self.needed(key), self.name(key), low, high)

    def whole(self, key: str, low: int, high: int) -> int:
        """Returns a whole number within ``low..high``.

        Raises:
            InputError: There is none, or another.
        """
        return whole(self.needed(key), self.name(key), low, high)

    def block(self, key: str) -> Entries | None:
        """Returns the mapping of this name; None where there is none, or null.

        Raises:
            InputError: It is something else.
        """
        value = self.values.get(key)
        return None if value is None else Entries(value, self.name(key))


def text(value: Any, name: str) -> str:
    """Returns ``value`` if it is a text of one line that is not empty.

    Raises:
        InputError: It is not.
    """
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise InputError(f"{name}: {shown(value)} is no text of one line")
    return value


def number(value: Any, name: str, low: float, high: float) -> float:
    """Returns ``value`` if it is a number within ``low..high``; YAML takes ``1e-3``, without a point, for a text.

    Raises:
        InputError: It is not.
    """
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError
        found = float(value)
    except (ValueError, OverflowError):
        raise InputError(f"{name}: {shown(value)} is no number") from None
    if not math.isfinite(found):
        raise InputError(f"{name}: {found} is not finite")
    if not low <= found <= high:
        raise InputError(f"{name}: {found:g} is outside {low:g}..{high:g}")
    return found


def whole(value: Any, name: str, low: int, high: int) -> int:
    """Returns ``value`` if it is a whole number within ``low..high``.

    Raises:
        InputError: It is not.
    """
    found = number(value, name, low, high)
    if not found.is_integer():
        raise InputError(f"{name}: {found:g} is no whole number")
    return int(found)


def items(value: Any, name: str) -> list[Any]:
    """Returns ``value`` if it is a list.

    Raises:
        InputError: It is not.
    """
    if not isinstance(value, list):
        raise InputError(f"{name}: {shown(value)} is no list")
    return value


def shown(value: Any) -> str:
    """Writes a value of any kind in a few characters."""
    if isinstance(value, int) and abs(value) > 10**_SHOWN:  # Python refuses to write the largest
        return "a number of many digits"
    written = repr(value)
    return written if len(written) <= _SHOWN else f"{written[:_SHOWN]}..."
