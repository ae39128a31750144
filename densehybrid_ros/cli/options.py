# SPDX-License-Identifier: Apache-2.0
"""Kinds of values that several commands' options take."""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO, TypeVar

from densehybrid_ros.errors import InputError
from densehybrid_ros.files import without_nan, write_text_atomically, writing

_Value = TypeVar("_Value")
_LONGEST_SIDE = 16384  # pixels; more than a camera has
_NO_NAMES = ("nan", "inf", "infinity")  # which float() reads


def size(text: str) -> tuple[int, int]:
    """Reads ``1024x512`` as (width, height)."""
    first, _, second = text.lower().partition("x")
    if not (first.isdecimal() and second.isdecimal() and int(first) > 0 and int(second) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write WIDTHxHEIGHT, such as 1024x512")
    if max(int(first), int(second)) > _LONGEST_SIDE:
        raise argparse.ArgumentTypeError(f"{text!r}: sides are at most {_LONGEST_SIDE} pixels")
    return int(first), int(second)


def network_size(text: str) -> tuple[int, int]:
    """Reads ``1024x512`` as (height, width) of the network's input, and refuses one that is taller than wide."""
    width, height = size(text)
    if height > width:  # cameras of vehicles are not taller than wide: who writes such a size means (height, width)
        raise argparse.ArgumentTypeError(f"{text}: sizes are WIDTHxHEIGHT; did you mean {height}x{width}?")
    return height, width


def count(text: str, least: int = 1) -> int:
    """Reads a number of at least 1."""
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least {least}")
    return int(text)


def seed(text: str) -> int:
    """Reads the seed of a random sequence: a number of at least 0."""
    return count(text, 0)


def _number(text: str, what: str, is_right: Callable[[float], bool]) -> float:
    with suppress(ValueError):
        if math.isfinite(value := float(text)) and is_right(value):
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a {what}")


def finite(text: str) -> float:
    """Reads a finite number."""
    return _number(text, "finite number", lambda value: True)


def positive(text: str) -> float:
    """Reads a finite number above 0."""
    return _number(text, "number above 0", lambda value: value > 0)


def not_negative(text: str) -> float:
    """Reads a finite number of at least 0."""
    return _number(text, "number of at least 0", lambda value: value >= 0)


def share(text: str) -> float:
    """Reads a number of 0 to 1."""
    return _number(text, "share of 0 to 1", lambda value: 0 <= value <= 1)


def threshold(text: str) -> float | str:
    """Reads an anomaly threshold, as ``ModelCard.threshold`` takes it: finite nats, or a name such as ``default``."""
    try:
        return finite(text)
    except argparse.ArgumentTypeError:
        if re.fullmatch(r"[A-Za-z_][\w.+-]*", text) and text.lower() not in _NO_NAMES:
            return text
        message = f"{text!r} is no threshold; give a finite number of nats, or a name in the model card"
        raise argparse.ArgumentTypeError(message) from None


def several(read: Callable[[str], _Value]) -> Callable[[str], list[_Value]]:
    """Makes what reads values with commas between them of what reads one."""
    return lambda text: [read(part.strip()) for part in text.split(",")]


def join_negative_values(words: Sequence[str]) -> list[str]:
    """Joins ``--threshold -60,-80`` to ``--threshold=-60,-80``, whose value argparse takes for an option."""
    joined: list[str] = []
    for word in words:
        if joined and re.match(r"-\.?\d", word) and re.fullmatch(r"--[a-z][a-z-]*", joined[-1]):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def output_file(text: str) -> Path:
    """Reads the name of a file to write, and refuses what can't be one before any work is done."""
    if Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder; name a file")
    return _writable(Path(text))


def output_video(text: str) -> Path:
    """Reads the name of a video to write; its ending says the kind."""
    from densehybrid_ros.datasets.video_file import CODECS  # imports OpenCV, which few commands need

    path = output_file(text)
    if path.suffix.lower() not in CODECS:
        raise argparse.ArgumentTypeError(f"{text}: the name of a video ends in {' or '.join(CODECS)}")
    return path


def output_folder(text: str) -> Path:
    """Reads the name of a folder to write into, and refuses what can't be one before any work is done."""
    if Path(text).exists() and not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a file; name a folder")
    return _writable(Path(text))


def _writable(path: Path) -> Path:
    place = next(parent for parent in path.absolute().parents if parent.exists())
    if not place.is_dir():
        raise argparse.ArgumentTypeError(f"{path}: {place.name} is a file, no folder; name another place")
    if not os.access(place, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"{path}: {place} can't be written to; name another place")
    return path


class JsonOutput:
    """Where ``--json`` writes: a file, or ``-``, which is standard output; it then holds nothing else.

    Attributes:
        path: The file; None for standard output.
    """

    def __init__(self, text: str) -> None:
        self.path = None if text == "-" else output_file(text)
        self._stream = sys.stdout  # ``main`` sends what else is printed to standard error

    def write(self, figures: object) -> None:
        """Writes plain types; numbers that are not finite become null.

        Raises:
            OutputError: They can't be written.
        """
        text = json.dumps(without_nan(figures), indent=2, allow_nan=False) + "\n"
        if self.path is not None:
            write_text_atomically(self.path, text)
            return
        with writing("standard output"):
            self._stream.write(text)
            self._stream.flush()


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds ``--json``, the same in every command that finds figures; ``args.json.write(figures)`` writes them."""
    what = "write the figures as JSON; - prints them, and nothing else"
    parser.add_argument("--json", type=JsonOutput, metavar="FILE", help=what)


def add_report(parser: argparse.ArgumentParser) -> None:
    """Adds ``--report`` of the commands that evaluate."""
    what = "folder for report.html, report.json, report.csv"
    parser.add_argument("--report", type=output_folder, metavar="DIR", help=what)


def check_model_output(output: Path) -> None:
    """Refuses a name that no model can have: an InputError."""
    if output.suffix != ".safetensors":
        raise InputError(f"--output {output}: the name must end in .safetensors")


def flush_output() -> None:
    """Writes out what is printed while an OutputError can still say that there is no room for it."""
    try:
        with writing("standard output"):
            print(end="", flush=True)
    except InputError:
        discard(sys.stdout)
        raise


def discard(*streams: TextIO) -> None:
    """Sends what the streams still hold nowhere: Python would try again at its end."""
    for stream in filter(None, streams):
        with suppress(io.UnsupportedOperation):  # a stream in memory, of who calls this from Python
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
