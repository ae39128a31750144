# SPDX-License-Identifier: Apache-2.0
"""Whether the node's memory grows with the number of frames: a real node process over DDS, before and after."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from densehybrid_ros.cli.options import count, size
from ros_child import run_for_figures
from running import run_benchmark


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.epilog = "example:\n  python tools/benchmarks/memory.py --frames 1000 --model light"
    parser.add_argument("--frames", type=count, default=1000, help="number of frames to process (1000)")
    parser.add_argument("--warm-up", type=count, default=50, help="frames before the first measurement (50)")
    parser.add_argument("--size", type=size, default=(1024, 512), metavar="WxH", help="of a frame (1024x512)")
    parser.add_argument("--model", default="light", help="model of the node (light)")


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Measures in a child process, where the DDS profile is in force.

    Raises:
        InputError: ROS 2 is not installed, the model is not there, or the child failed.
    """
    width, height = args.size
    figures = run_for_figures(
        "memory_child.py", model=args.model, width=width, height=height, frames=args.frames, warm_up=args.warm_up
    )
    return figures, _summary(figures)


def _summary(figures: dict[str, Any]) -> str:
    samples = figures["samples"]
    first, last = samples[0], samples[-1]
    lines = [f"{figures['width']}x{figures['height']}, model {figures['model']}, all outputs subscribed", ""]
    lines += [f"{'frames':>8}{'RSS MiB':>10}"]
    lines += [f"{sample['frames']:>8}{sample['rss_mib']:>10.1f}" for sample in samples]
    growth = last["rss_mib"] - first["rss_mib"]
    lines += ["", f"{growth:+.1f} MiB over {last['frames'] - first['frames']} frames ({figures['seconds']:.0f} s)"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_benchmark(configure, run))
