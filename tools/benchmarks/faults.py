# SPDX-License-Identifier: Apache-2.0
"""Damaged messages, parameters, calls, bags, models and command lines against the real node and commands: what falls.

Every case is a function of the seed, its group and its number, so what fell is repeated with --seed, --only and --case.
The columns: damaged inputs tried; answers to them and to the good frames between; processes that ended; exceptions that
came through; what was not answered in time; frames that the node counts as failed; damaged inputs taken as good; the
longest time to an answer; seconds in all. The exit status is 1 where something fell.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import fault_files
from densehybrid_ros.cli.options import count, not_negative, positive, seed
from densehybrid_ros.errors import InputError
from fault_tally import FALLS, Plan, Tally
from ros_child import run_for_figures
from running import run_benchmark

_FILE_GROUPS: dict[str, Callable[[Plan], Tally]] = {
    "bags": fault_files.bags,
    "models": fault_files.models,
    "commands": fault_files.commands,
}
_NODE_GROUPS = ("raw", "compressed", "side", "parameters", "lifecycle", "node_models", "soak")
_TINY = 0.001
_COLUMNS = ("tried", "answers", *FALLS, "worst_s", "seconds")


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.epilog = (
        "examples:\n  python tools/benchmarks/faults.py --json faults.json\n"
        "  python tools/benchmarks/faults.py --scale tiny --minutes 0.1\n"
        "  python tools/benchmarks/faults.py --only raw --case 1234"
    )
    groups = (*_NODE_GROUPS, *_FILE_GROUPS)
    parser.add_argument("--seed", type=seed, default=1, help="of the damage (1)")
    parser.add_argument("--only", action="append", choices=groups, metavar="GROUP", help=f"of {', '.join(groups)}")
    parser.add_argument("--scale", type=_scale, default=1.0, help="share of the cases, such as 0.01, or tiny (1)")
    parser.add_argument("--case", type=seed, metavar="N", help="only this case of the groups")
    parser.add_argument("--minutes", type=not_negative, default=30.0, help="of the soak (30)")
    parser.add_argument("--threads", type=count, default=2, help="of the node (2)")


def _scale(text: str) -> float:
    return _TINY if text == "tiny" else positive(text)


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Runs the groups; those of the node in a child process, where the DDS profile is in force.

    Raises:
        InputError: ROS 2 is not installed, or the child failed.
    """
    wanted = args.only or [*_NODE_GROUPS, *_FILE_GROUPS]
    plan = Plan(args.seed, args.scale, args.case)
    rows: list[dict[str, Any]] = []
    for_node = [name for name in _NODE_GROUPS if name in wanted]
    if for_node:
        options = {"minutes": args.minutes, "threads": args.threads}
        rows += run_for_figures("faults_child.py", groups=for_node, plan=asdict(plan), **options)["groups"]
    rows += [_FILE_GROUPS[name](plan).to_dict() for name in _FILE_GROUPS if name in wanted]
    if not any(row["tried"] for row in rows):
        raise InputError("nothing was tried")
    return {"seed": args.seed, "scale": args.scale, "groups": rows, "fallen": _fallen(rows)}, _table(args.seed, rows)


def _fallen(rows: list[dict[str, Any]]) -> int:
    return sum(row[name] for row in rows for name in FALLS)


def _table(number: int, rows: list[dict[str, Any]]) -> str:
    lines = [f"{'group':<12}" + "".join(f"{name:>11}" for name in _COLUMNS)]
    for row in rows:
        lines.append(
            f"{row['group']:<12}"
            + "".join(
                f"{row[name]:>11.4g}" if isinstance(row[name], float) else f"{row[name]:>11}" for name in _COLUMNS
            )
        )
    for row in rows:
        lines += [f"{row['group']}: {name}: {value}" for name, value in row["remarks"].items()]
        lines += [f"{row['group']}: {note}" for note in row["notes"]]
    fallen = _fallen(rows)
    lines += ["", f"{fallen} fell (seed {number})" if fallen else f"nothing fell (seed {number})"]
    return "\n".join(lines)


def fell(figures: dict[str, Any]) -> int:
    """Returns the exit status: 1 where something fell."""
    return int(figures["fallen"] > 0)


if __name__ == "__main__":
    sys.exit(run_benchmark(configure, run, status=fell))
