# SPDX-License-Identifier: Apache-2.0
"""One parameter of a node: its type, what values it may have, and what people must know about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from densehybrid_ros.errors import InputError


@dataclass(frozen=True)
class Parameter:
    """One row of the table."""

    name: str
    kind: str  # ``bool``, ``int``, ``float``, ``str``, ``int[]``, ``float[]`` or ``str[]``
    default: Any  # Default; None where the parameter stays unset until the model is loaded
    description: str  # One or two sentences
    group: str  # Heading under which it is listed
    live: bool  # Whether it may change while the node runs; it then counts from the next frame on
    span: tuple[float, float] | None = None  # Smallest and largest value; None: any
    choices: tuple[str, ...] = ()  # The values that a string may have; empty: any
    problem: Callable[[Any], str | None] | None = None  # Says what else is wrong with a value, or None

    @property
    def constraint(self) -> str:
        """What values are allowed, in words; empty where all of the type are."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        return " to ".join(map(_plain, self.span)) if self.span else ""

    def check(self, value: Any) -> None:
        """Checks type, range and, for some parameters, meaning.

        Raises:
            InputError: The value is not allowed.
        """
        problem = None
        if not _has_kind(value, self.kind):
            problem = f"{value!r} is no {self.kind}"
        elif self.choices and value not in self.choices:
            problem = f"{value!r} is not {self.constraint}"
        elif self.span and not self.span[0] <= value <= self.span[1]:
            problem = f"{value} is not in {self.constraint}"
        elif self.problem:
            problem = self.problem(value)
        if problem:
            raise InputError(f"parameter {self.name}: {problem}")

    def coerce(self, value: Any) -> Any:
        """Turns integers into floating-point numbers where the parameter needs those; other values pass unchanged.

        ROS types are strict, so ``anomaly_threshold: 1`` would otherwise be refused where ``1.0`` is meant.
        """
        if self.kind == "float" and _is_integer(value):
            return float(value)
        if self.kind == "float[]" and _is_list(value) and any(map(_is_integer, value)):
            return [float(item) if _is_integer(item) else item for item in value]
        return value

    def taken(self, value: Any) -> Any:
        """Returns a value that was given, as from YAML, as ``Settings`` holds it.

        Raises:
            InputError: The value is not allowed.
        """
        if self.kind == "float" and isinstance(value, str):
            with suppress(ValueError):
                value = float(value)  # YAML takes 1e-3 for text
        value = self.coerce(value)
        self.check(value)
        return frozen(value)


def parameter(default: Any, description: str, live: bool = False, **row: Any) -> Any:
    """Makes a field of a table whose rows become ``Parameter``; ``row`` has span, choices and problem."""
    return field(default=default, metadata={"description": description, "live": live, **row})


def rows(table: type, groups: dict[str, str]) -> dict[str, Parameter]:
    """Returns name -> row of a dataclass whose fields were made by ``parameter``, in its order.

    Args:
        table: The dataclass.
        groups: First parameter of each group -> the group's heading.
    """
    found, group = {}, ""
    for item in fields(table):
        assert item.default is not MISSING
        assert isinstance(item.type, str)  # annotations are strings where they are postponed
        group = groups.get(item.name, group)
        kind = item.type.removesuffix(" | None").removeprefix("tuple[").replace(", ...]", "[]")
        found[item.name] = Parameter(item.name, kind, item.default, group=group, **item.metadata)
    return found


def frozen(value: Any) -> Any:
    """Returns lists of any kind as tuples, all else as it is."""
    return tuple(value) if _is_list(value) else value


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes))


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _has_kind(value: Any, kind: str) -> bool:
    if kind.endswith("[]"):
        return _is_list(value) and all(_has_kind(item, kind[:-2]) for item in value)
    if kind == "int":
        return _is_integer(value)
    return isinstance(value, {"bool": bool, "float": float, "str": str}[kind])


def _plain(number: float) -> str:
    return str(int(number)) if math.isfinite(number) and float(number).is_integer() else str(number)
