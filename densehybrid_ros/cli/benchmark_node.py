# SPDX-License-Identifier: Apache-2.0
"""``densehybrid benchmark node``: from a picture's stamp to its alert, masks and score, beside a bare rclpy relay.

Camera, node or relay, and listener are processes of their own; the relay computes nothing. The figures without the
network are those less the node's own median time of it (/diagnostics), for machines whose network is slow.

With ``--cameras N``: N cameras through one process, beside N processes, with their memory and that of the GPU.
"""

from __future__ import annotations

import argparse

from densehybrid_ros.cli.options import add_json, count, positive, size
from densehybrid_ros.demo.latency import LatencyOptions, measure_latency, table
from densehybrid_ros.demo.latency_cameras import cameras_table, measure_cameras
from densehybrid_ros.inference import BACKENDS
from densehybrid_ros.inference.backends import choose_device
from densehybrid_ros.inference.machine import device_facts, version_facts
from densehybrid_ros.progress import steps


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.description = __doc__
    parser.epilog = "example:\n  densehybrid benchmark node --rates 30 60 --seconds 20 --json node.json"
    parser.add_argument("--size", type=size, default=(2048, 1024), metavar="WxH", help="of the pictures (2048x1024)")
    parser.add_argument("--rates", type=positive, nargs="+", default=[30.0, 60.0], metavar="HZ", help="(30 60)")
    parser.add_argument("--seconds", type=count, default=20, help="of a run (20)")
    parser.add_argument("--cameras", type=count, default=1, metavar="N", help="through one process and N (1)")
    parser.add_argument("--model", default="light", help="of the node (light)")
    parser.add_argument("--backend", default="auto", choices=BACKENDS, help="of the node (auto)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Measures and shows the figures.

    Raises:
        InputError: ROS is not installed, or one of the processes failed.
    """
    options = LatencyOptions(args.size, args.rates, args.seconds, args.model, args.backend)
    with steps("node") as report:
        report(f"{len(args.rates)} rates, runs of {args.seconds} s each")
        rows = measure_cameras(options, args.cameras) if args.cameras > 1 else measure_latency(options)
    print(cameras_table(rows) if args.cameras > 1 else table(rows))
    if args.json:
        machine = {**device_facts(choose_device("auto")), **version_facts(args.backend)}
        figures = {"machine": machine, "size": list(args.size), "model": args.model, "cameras": args.cameras}
        figures["rows"] = rows
        args.json.write(figures)
    return 0
