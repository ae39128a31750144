# SPDX-License-Identifier: Apache-2.0
"""``densehybrid benchmark``: how fast models run here, and how soon the node answers."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

import torch

from densehybrid_ros.cli.options import add_json, count, network_size, positive, size
from densehybrid_ros.demo.latency import measure_latency, table
from densehybrid_ros.inference import BACKENDS
from densehybrid_ros.inference.backends import choose_device
from densehybrid_ros.inference.engine_rows import cpu_rows, gpu_rows
from densehybrid_ros.inference.input_policy import size_text
from densehybrid_ros.inference.machine import device_facts, version_facts
from densehybrid_ros.networks import load_model
from densehybrid_ros.progress import steps

_GPU_SIZE, _CPU_SIZE = (1024, 2048), (512, 1024)
_GPU_REPEATS, _CPU_REPEATS = 200, 30
_ENGINE = """How fast models run here, on every backend and host to host.

On a GPU all models in fp16, batch 1: the device's time by events; then on the CPU as ratios to eager fp32, since times
on a CPU that others use mean little. Compiles what the cache lacks, which takes minutes. A row that can't be measured
says why, and the others go on."""
_NODE = """From a picture's stamp to its alert, masks and score, beside a bare rclpy relay.

Camera, node or relay, and listener are processes of their own; the relay computes nothing. The figures without the
network are those less the node's own median time of it (/diagnostics), for machines whose network is slow.

With --cameras N: N cameras through one process, beside N processes, with their memory."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the benchmarks with their options."""
    parser.epilog = (
        "examples:\n  densehybrid benchmark engine\n  densehybrid benchmark node --rates 30\n\n"
        "tools/benchmarks/ of a checkout has further ones."
    )
    kinds = parser.add_subparsers(dest="benchmark", metavar="WHAT", required=True)
    layout = argparse.RawDescriptionHelpFormatter
    summary = "how fast the models run, on every backend"
    engine = kinds.add_parser("engine", help=summary, description=_ENGINE, formatter_class=layout)
    engine.epilog = "example:\n  densehybrid benchmark engine --models light --json engine.json"
    engine.add_argument("--models", nargs="+", default=["ldn121", "light"], metavar="MODEL", help="(ldn121 light)")
    engine.add_argument("--size", type=network_size, metavar="WxH", help="(GPU: 2048x1024, CPU: 1024x512)")
    engine.add_argument("--repeats", type=count, help=f"runs of a row (GPU: {_GPU_REPEATS}, CPU: {_CPU_REPEATS})")
    engine.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    engine.add_argument("--no-cpu", action="store_true", help="leave the CPU rows out")
    engine.add_argument("--no-build", action="store_true", help="take compiled engines from the cache alone")
    add_json(engine)
    summary = "from a picture to its alert, beside a bare relay"
    node = kinds.add_parser("node", help=summary, description=_NODE, formatter_class=layout)
    node.epilog = "example:\n  densehybrid benchmark node --rates 30 60 --seconds 20 --json node.json"
    node.add_argument("--size", type=size, default=(2048, 1024), metavar="WxH", help="of the pictures (2048x1024)")
    node.add_argument("--rates", type=positive, nargs="+", default=[30.0, 60.0], metavar="HZ", help="(30 60)")
    node.add_argument("--seconds", type=count, default=20, help="of a run (20)")
    node.add_argument("--cameras", type=count, default=1, metavar="N", help="through one process and N (1)")
    node.add_argument("--model", default="light", help="of the node (light)")
    node.add_argument("--backend", default="auto", choices=BACKENDS, help="of the node (auto)")
    add_json(node)


def run(args: argparse.Namespace) -> int:
    """Measures and shows the figures.

    Raises:
        InputError: A model, the device or ROS is not there, or a process failed.
    """
    figures, text = _engine(args) if args.benchmark == "engine" else _node(args)
    print(text)
    if args.json:
        args.json.write(figures)
    return 0


def _engine(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    device = choose_device(args.device)
    models = [load_model(name) for name in args.models]
    figures: dict[str, Any] = {"machine": {**device_facts(device), **version_facts("tensorrt")}}
    lines = [", ".join(str(value) for value in figures["machine"].values() if value)]
    rows = []
    with steps("engine") as report:
        if device.type == "cuda":
            frame, repeats = args.size or _GPU_SIZE, args.repeats or _GPU_REPEATS
            figures |= {"size": size_text(frame), "repeats": repeats}
            lines.append(f"GPU rows: {size_text(frame)}, batch 1, medians of {repeats} runs")
            rows += [
                row for model in models for row in gpu_rows(model, device, frame, repeats, not args.no_build, report)
            ]
        if not args.no_cpu:
            frame, repeats, threads = args.size or _CPU_SIZE, args.repeats or _CPU_REPEATS, torch.get_num_threads()
            figures |= {"cpu_size": size_text(frame), "cpu_repeats": repeats, "cpu_threads": threads}
            lines.append(f"CPU rows: {size_text(frame)}, {threads} threads, medians of {repeats} runs in turns")
            rows += [row for model in models for row in cpu_rows(model, frame, repeats, not args.no_build, report)]
    figures["rows"] = [asdict(row) for row in rows]
    width = max((len(row.name) for row in rows), default=0)
    lines += [f"{row.name:<{width}}  {row.result}" + (f"  ({row.note})" if row.note else "") for row in rows]
    return figures, "\n".join(lines)


def _node(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    parameters = {"model": args.model, "backend": args.backend, "warm_up_size": list(args.size)}
    with steps("node") as report:
        rows = measure_latency(args.size, args.rates, args.seconds, parameters, args.cameras, report)
    machine = {**device_facts(choose_device("auto")), **version_facts(args.backend)}
    about = {"machine": machine, "size": list(args.size), "model": args.model, "cameras": args.cameras}
    return {**about, "rows": rows}, table(rows)
