# SPDX-License-Identifier: Apache-2.0
"""The subcommands, grouped by what a user wants, and the parser of them."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Collection
from types import ModuleType

from densehybrid_ros import __version__
from densehybrid_ros.cli.options import flush_output

GROUPS: dict[str, dict[str, str]] = {
    "Look": {
        "demo": "make a drive, run the node on it over DDS, leave pictures and a page",
        "predict": "pictures, a video or a bag into overlays, masks, scores and a list of hazards",
        "tune": "a drive at many thresholds: a page with a slider, and a parameter file",
    },
    "Measure": {
        "replay": "drive a recording with the node's parameters; figures by distance, obstacle and alert",
        "evaluate": "AP, FPR95, AUROC, components and mIoU of models, or of the scores of others, on a data set",
        "paste": "labelled frames with cut-outs standing on the road, a data set to develop on",
        "calibrate": "write a named anomaly threshold into a model card, from held-out data",
        "benchmark": "how fast the models run on this machine, and how soon the node answers",
    },
    "Train": {
        "train": "train a closed-set network, or fine-tune it into an open-set one",
        "config": "the configuration that train would run with, every key explained",
        "import": "published weights (the authors', NVIDIA's, torchvision's) into a model with its card",
    },
    "Deploy": {
        "export": "a model as an ONNX file, for programs without Python",
        "compile": "build an engine for this machine ahead of time",
        "bag": "frames, a video or a data set into a rosbag2",
        "info": "what this machine offers: GPU, versions, models",
        "completion": "a script that completes commands and options in your shell",
    },
}
"""Group -> subcommand -> one line of help. Its module ``densehybrid_ros.cli.NAME`` has ``configure`` and ``run``."""
COMMANDS: dict[str, str] = {name: summary for group in GROUPS.values() for name, summary in group.items()}
"""Subcommand -> one line of help."""

_MODULES = {"import": "import_weights"}  # where NAME is a word of Python


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line that says where to look, exit status 2."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Prints one line and exits with status 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")

    def exit(self, status: int = 0, message: str | None = None) -> None:  # type: ignore[override]
        """Exits once what ``--help`` prints is out."""
        flush_output()
        super().exit(status, message)


class _GroupedParser(OneLineParser):
    """The parser of the command itself, whose help shows the subcommands in their groups."""

    def format_help(self) -> str:
        """Returns usage, subcommands and options."""
        lines = [self.format_usage(), f"{self.description}\n"]
        width = max(map(len, COMMANDS))
        for group, commands in GROUPS.items():
            lines.append(f"{group}:")
            lines += [f"  {name:<{width}}  {summary}" for name, summary in commands.items()]
            lines.append("")
        lines.append("densehybrid COMMAND --help shows the options of one, with examples; --version the version.\n")
        return "\n".join(lines)


def build_parser(configured: Collection[str] = ()) -> argparse.ArgumentParser:
    """Builds the parser; only the modules of the ``configured`` subcommands are imported, so ``--help`` is quick."""
    what = "Open-set perception for ROS 2: segmentation that knows when it sees something unknown."
    parser = _GroupedParser(prog="densehybrid", description=what)
    parser.add_argument("--version", action="version", version=f"densehybrid_ros {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=OneLineParser)
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(
            name, help=summary, description=summary, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        subparser.set_defaults(error=subparser.error)
        if name in configured:
            command_module(name).configure(subparser)
    return parser


def command_module(command: str) -> ModuleType:
    """Imports the module of a subcommand."""
    return importlib.import_module(f"densehybrid_ros.cli.{_MODULES.get(command, command)}")
