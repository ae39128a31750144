"""``densehybrid benchmark NAME``: measures what this machine does; a file in ``cli/benchmarks`` adds a benchmark.

A file has ``SUMMARY``, one line; ``configure(parser)``; and ``run(args)``, which returns the figures
for ``--json`` and the text to print.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
from types import ModuleType

from densehybrid_ros.cli import benchmarks
from densehybrid_ros.cli.options import output_file
from densehybrid_ros.files import write_text_atomically


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds a subcommand for each benchmark."""
    parser.epilog = "example:\n  densehybrid benchmark messages --json messages.json"
    subparsers = parser.add_subparsers(dest="benchmark", metavar="NAME", required=True)
    for found in pkgutil.iter_modules(benchmarks.__path__):
        module = _benchmark(found.name)
        subparser = subparsers.add_parser(
            found.name,
            help=module.SUMMARY,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.configure(subparser)
        subparser.add_argument("--json", type=output_file, metavar="FILE", help="write the figures there as well")


def run(args: argparse.Namespace) -> int:
    """Runs one benchmark and shows its figures."""
    figures, text = _benchmark(args.benchmark).run(args)
    print(text)
    if args.json:
        write_text_atomically(args.json, json.dumps(figures, indent=2) + "\n")
    return 0


def _benchmark(name: str) -> ModuleType:
    return importlib.import_module(f"{benchmarks.__name__}.{name}")
