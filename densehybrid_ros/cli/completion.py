# SPDX-License-Identifier: Apache-2.0
"""``densehybrid completion``: prints a script that completes commands, options and their values in a shell.

The script is text alone: no Python runs while you type. Make it again after an update.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import shtab

from densehybrid_ros.cli.commands import COMMANDS, build_parser
from densehybrid_ros.cli.options import JsonOutput, output_file, output_folder

_FILES, _FOLDERS = (Path, output_file, JsonOutput), (output_folder,)
_SHELLS = ("bash", "zsh", "tcsh")


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.description = __doc__.replace("``", "") if __doc__ else None
    parser.epilog = (
        "examples:\n"
        "  densehybrid completion bash > ~/.local/share/bash-completion/completions/densehybrid\n"
        "  densehybrid completion zsh > ~/.zfunc/_densehybrid  # a folder of fpath"
    )
    parser.add_argument("shell", choices=_SHELLS, help="your shell")


def run(args: argparse.Namespace) -> int:
    """Prints the script."""
    parser = build_parser(COMMANDS)
    _complete_paths(parser)
    print(shtab.complete(parser, args.shell))
    return 0


def _complete_paths(parser: argparse.ArgumentParser) -> None:
    """Marks the options that take files or folders."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                _complete_paths(subparser)
        elif action.type in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.type in _FOLDERS:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
