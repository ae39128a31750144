# SPDX-License-Identifier: Apache-2.0
"""``densehybrid demo``: a drive through the real node over DDS, and a page that shows what it saw."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from types import FrameType

from densehybrid_ros.cli.options import add_json, count, output_folder, positive, seed, size, threshold
from densehybrid_ros.errors import InputError

_EXAMPLE = """example:
  densehybrid demo
  densehybrid demo --frames frames/ --output frames_demo
  densehybrid demo --seed 4 --seconds 10 --rate 1"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.epilog = _EXAMPLE
    add = parser.add_argument
    add("--frames", type=Path, metavar="PATH", help="folder of pictures, video or bag instead of the rendered road")
    add("--output", type=output_folder, default=Path("demo_output"), metavar="DIR", help="result (default demo_output)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--count", type=count, default=60, metavar="N", help="at most N frames (default 60)")
    length.add_argument("--seconds", type=positive, metavar="S", help="at most S seconds of driving")
    add("--fps", type=positive, help="frames a second of the drive (default 10; a video and a bag have their own)")
    sizes = "frame size (default 1024x512; real frames: theirs, 1280 wide at most)"
    add("--size", type=size, metavar="WxH", help=sizes)
    add("--seed", type=seed, default=1, help="rendered road: same seed, same drive (default 1)")
    add("--model", default="light", help="shipped model or .safetensors file (default light)")
    add("--backend", default="auto", help="how the network is run (default auto)")
    add("--threshold", type=threshold, metavar="NATS|NAME", help="of the score, or its name in the model card")
    pace = "play at R times real time; frames may be dropped (default: wait for every answer)"
    add("--rate", type=positive, metavar="R", help=pace)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the demonstration and prints the summary.

    Raises:
        InputError: ROS is not installed, or the demonstration failed.
    """
    try:
        from densehybrid_ros.demo.run import DemoOptions, run_demo
    except ImportError as error:
        mend = "source the setup file of ROS 2, or install the ros extra"
        raise InputError(f"the demo needs ROS 2 ({error}); {mend}") from error
    if args.seconds:
        args.count = max(1, round(args.seconds * (args.fps or 10)))
    with _termination_unwinds():
        figures = run_demo(DemoOptions(**{each.name: getattr(args, each.name) for each in fields(DemoOptions)}))
    for line in figures.lines():
        print(line)
    print(f"page      {args.output / 'index.html'}")
    if args.json:
        args.json.write(figures.to_dict())
    return 0


@contextmanager
def _termination_unwinds() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP end the command as an error would: with the node's process stopped on the way out."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
