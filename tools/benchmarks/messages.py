# SPDX-License-Identifier: Apache-2.0
"""What it costs to fill and publish the outputs of a frame, each and together, over DDS to another process."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from densehybrid_ros.cli.options import count, size
from ros_child import run_for_figures
from running import run_benchmark


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.epilog = "example:\n  python tools/benchmarks/messages.py --repeats 200 --json messages.json"
    parser.add_argument("--size", type=size, default=(2048, 1024), metavar="WxH", help="of the frame (2048x1024)")
    parser.add_argument("--repeats", type=count, default=200, help="frames of which the median is taken (200)")


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Measures in a child process, where the DDS profile is in force.

    Raises:
        InputError: ROS 2 is not installed, or the child failed.
    """
    width, height = args.size
    figures = run_for_figures("messages_child.py", width=width, height=height, repeats=args.repeats)
    return figures, _table(figures)


def _table(figures: dict[str, Any]) -> str:
    size, repeats = f"{figures['width']}x{figures['height']}", figures["repeats"]
    head = ("compute", "fill", "publish", "fill+publish", "CPU of it")
    lines = [f"{size}, median of {repeats} frames, one subscriber in another process; times in ms", ""]
    lines.append(f"{'output':<20}{'MB':>8}" + "".join(f"{text:>14}" for text in head))
    for row in [*figures["outputs"], figures["together"]]:
        compute, fill, publish = row["compute_ms"], row["fill_ms"], row["publish_ms"]
        times = (compute, fill, publish, fill + publish, row["cpu_ms"])
        lines.append(f"{row['name']:<20}{row['bytes'] / 1e6:>8.2f}" + "".join(f"{time:>14.2f}" for time in times))
    lines += [
        "",
        "together: without the compressed ones",
        f"without a subscriber, all outputs together: {figures['unheard_us']:.0f} µs; nothing is filled",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_benchmark(configure, run))
