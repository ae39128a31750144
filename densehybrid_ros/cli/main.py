# SPDX-License-Identifier: Apache-2.0
"""The ``densehybrid`` command: finds the subcommand, runs it, and turns bad input into one line."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from typing import Any

from densehybrid_ros.cli.commands import COMMANDS, build_parser, command_module
from densehybrid_ros.cli.options import JsonOutput, discard, flush_output, join_negative_values
from densehybrid_ros.errors import ComputationError, InputError

_INTERRUPTED = 130
_WITHOUT_NAMES = (None, "bag", "demo")
"""Commands that take no name of a network, score or loss, and so start the quicker; None is ``--help``."""


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


def _quiet(output: object) -> AbstractContextManager[object]:
    """Keeps standard output for ``--json -``; what is printed beside it goes to standard error."""
    alone = isinstance(output, JsonOutput) and output.path is None
    return redirect_stdout(sys.stderr) if alone else nullcontext()


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
    argv = join_negative_values(sys.argv[1:] if arguments is None else arguments)
    selected = next((word for word in argv if word in COMMANDS), None)
    name = " ".join(filter(None, ("densehybrid", selected)))
    if selected not in _WITHOUT_NAMES:
        from densehybrid_ros import research  # loads torch

        research.register()
    parser = build_parser([selected] if selected else [])
    try:
        parsed, rest = parser.parse_known_args(argv)
        # argparse takes one run of key=value words and leaves those that follow a later option.
        if "overrides" in parsed and not any(word.startswith("-") for word in rest):
            parsed.overrides += rest
        elif rest:
            parsed.error(f"unrecognized arguments: {' '.join(rest)}")
        command = command_module(parsed.command)
        with _unwound_by_interrupts(), _quiet(getattr(parsed, "json", None)):
            status = int(command.run(parsed))
            flush_output()
            return status
    except (ComputationError, InputError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has gone; there is nobody left to tell.
        discard(sys.stdout, sys.stderr)
        return 128 + signal.SIGPIPE  # what a shell reports of any command that a closed pipe ends
    except OSError as error:
        # What no check foresaw: a folder that has gone meanwhile.
        discard(sys.stdout)  # it may be the one at fault
        file = f"{error.filename}: " if error.filename else ""
        print(f"{name}: {file}{error.strerror or error}", file=sys.stderr)
        return 2
