"""The ``densehybrid`` command: finds the subcommand, runs it, and turns bad input into one line."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any, TextIO

from densehybrid_ros import __version__
from densehybrid_ros.errors import ComputationError, InputError
from densehybrid_ros.files import writing

COMMANDS: dict[str, str] = {
    "demo": "make a drive, run the node on it over DDS, leave pictures and a page",
    "train": "train a closed-set network, or fine-tune it into an open-set one",
    "import": "published weights (the authors', NVIDIA's, torchvision's) into a model with its card",
    "evaluate": "AP, FPR95, AUROC and mIoU on a data set",
    "calibrate": "write a named anomaly threshold into a model card, from held-out data",
    "bag": "frames, a video or a data set into a rosbag2",
    "replay": "drive a recording with the node's parameters; figures by distance, obstacle and alert",
    "compile": "build an engine for this machine ahead of time",
    "export": "a model as an ONNX file, for programs without Python",
    "benchmark": "how fast the models run on this machine, and how soon the node answers",
    "info": "what this machine offers: GPU, versions, models",
}
"""Subcommand -> one line of help. Its module ``densehybrid_ros.cli.NAME`` has ``configure`` and ``run``."""

_INTERRUPTED = 130
_MODULES = {"import": "import_weights"}  # where NAME is a word of Python


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line that says where to look, exit status 2."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Prints one line and exits with status 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")

    def exit(self, status: int = 0, message: str | None = None) -> None:  # type: ignore[override]
        """Exits once what ``--help`` prints is out."""
        _flush_output()
        super().exit(status, message)


def build_parser(selected: str | None = None) -> argparse.ArgumentParser:
    """Builds the parser; only the selected subcommand's module is imported, so ``--help`` is quick."""
    parser = OneLineParser(prog="densehybrid", description=__doc__)
    parser.add_argument("--version", action="version", version=f"densehybrid_ros {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(
            name, help=summary, description=summary, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name == selected:
            _module(name).configure(subparser)
    return parser


def _module(command: str) -> ModuleType:
    return importlib.import_module(f"densehybrid_ros.cli.{_MODULES.get(command, command)}")


def _leave(*_: object) -> None:
    """Ends the process at once: while modules load and while the interpreter ends there is nothing to tidy."""
    os.write(2, b"densehybrid: interrupted\n")
    os._exit(_INTERRUPTED)


def _leave_if_interrupted(unraisable: Any) -> None:
    """Takes the place of ``sys.unraisablehook``, which prints an interrupt in a destructor and goes on."""
    if unraisable.exc_type is KeyboardInterrupt:
        _leave()
    sys.__unraisablehook__(unraisable)


@contextmanager
def _unwound_by_interrupts() -> Iterator[None]:
    """Makes Ctrl-C an exception again: a command that runs has files and processes to tidy."""
    before = signal.getsignal(signal.SIGINT)
    if before is not _leave:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        0 on success, 2 on wrong usage, bad input or a file that can't be written (one line on stderr), 130 when
        interrupted, 141 when the reader of the output has gone.
    """
    # Where a shell's background job ignores SIGINT, it stays so.
    if arguments is None and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
        sys.unraisablehook = _leave_if_interrupted
    argv = list(sys.argv[1:] if arguments is None else arguments)
    selected = next((word for word in argv if word in COMMANDS), None)
    name = " ".join(filter(None, ("densehybrid", selected)))
    parser = build_parser(selected)
    try:
        parsed, rest = parser.parse_known_args(argv)
        # argparse takes one run of key=value words and leaves those that follow a later option.
        if "overrides" in parsed and not any(word.startswith("-") for word in rest):
            parsed.overrides += rest
        elif rest:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        command = _module(parsed.command)
        with _unwound_by_interrupts():
            status = int(command.run(parsed))
            _flush_output()
            return status
    except (ComputationError, InputError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has gone; there is nobody left to tell.
        _discard(sys.stdout, sys.stderr)
        return 128 + signal.SIGPIPE  # what a shell reports of any command that a closed pipe ends
    except OSError as error:
        # What no check foresaw: a folder that has gone meanwhile.
        _discard(sys.stdout)  # it may be the one at fault
        file = f"{error.filename}: " if error.filename else ""
        print(f"{name}: {file}{error.strerror or error}", file=sys.stderr)
        return 2


def _flush_output() -> None:
    """Writes out what is printed, while there is still somebody who can say what goes wrong.

    Raises:
        OutputError: There is no room for it.
    """
    try:
        with writing("standard output"):
            print(end="", flush=True)
    except InputError:
        _discard(sys.stdout)
        raise


def _discard(*streams: TextIO) -> None:
    """Sends what the streams still hold nowhere: Python would try again at its end."""
    for stream in filter(None, streams):
        with suppress(io.UnsupportedOperation):  # a stream in memory, of who calls this from Python
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
