# SPDX-License-Identifier: Apache-2.0
"""What every benchmark here is: options, a measurement, a text of its figures, and ``--json``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from densehybrid_ros.cli.options import output_file
from densehybrid_ros.errors import InputError
from densehybrid_ros.files import write_text_atomically


def run_benchmark(
    configure: Callable[[argparse.ArgumentParser], None],
    run: Callable[[argparse.Namespace], tuple[dict[str, Any], str]],
    arguments: Sequence[str] | None = None,
    status: Callable[[dict[str, Any]], int] = lambda figures: 0,
) -> int:
    """Runs a benchmark from the command line.

    Args:
        configure: Adds its options; its module's docstring is what ``--help`` says.
        run: Measures; returns the figures for ``--json`` and the text to print.
        arguments: None: those of this process.
        status: Exit status of the figures; 0 unless the benchmark judges them.

    Returns:
        That status, or 2 for bad input, which is one line on stderr.
    """
    description = sys.modules[run.__module__].__doc__
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    configure(parser)
    parser.add_argument("--json", type=output_file, metavar="FILE", help="write the figures there as well")
    args = parser.parse_intermixed_args(arguments)
    try:
        figures, text = run(args)
        print(text)
        if args.json:
            write_text_atomically(args.json, json.dumps(figures, indent=2) + "\n")
    except InputError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    return status(figures)


def seconds(call: Callable[[], Any]) -> float:
    """Times a call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def wait_for(device: torch.device) -> None:
    """Waits until a GPU has done what was launched on it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
