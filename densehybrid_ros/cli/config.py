# SPDX-License-Identifier: Apache-2.0
"""``densehybrid config show``: what a run would train with, every key with its meaning."""

from __future__ import annotations

import argparse

from densehybrid_ros.cli.train import configure_run, merged
from densehybrid_ros.training.config import config_text

_EXAMPLE = """examples:
  densehybrid config show --config light_open_set
  densehybrid config show --init light --data my.yaml steps=500"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.epilog = _EXAMPLE
    parser.add_argument("action", choices=("show",), help="print the merged configuration as YAML")
    configure_run(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the configuration."""
    print(config_text(merged(args)), end="")
    return 0
