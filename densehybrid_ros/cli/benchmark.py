# SPDX-License-Identifier: Apache-2.0
"""``densehybrid benchmark engine``: how fast models run here, on every backend and host to host.

On a GPU all models in fp16, batch 1: the device's time by events, with the ratio to the floor that the measured rates
of this GPU give; then on the CPU as ratios to eager fp32. Compiles what the cache lacks, which takes minutes. A row
that can't be measured says why, and the others go on. Times on a CPU that others use mean little: ratios alone.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch

from densehybrid_ros.cli import benchmark_node
from densehybrid_ros.cli.options import add_json, count, network_size, output_file, output_folder
from densehybrid_ros.inference.backends import choose_device
from densehybrid_ros.inference.engine_rows import Row, Settings, cpu_rows, gpu_rows
from densehybrid_ros.inference.engines import Report
from densehybrid_ros.inference.input_policy import size_text
from densehybrid_ros.inference.machine import device_facts, version_facts
from densehybrid_ros.networks import LoadedModel, load_model
from densehybrid_ros.progress import steps

_REPEATS, _CPU_REPEATS = 200, 30


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the benchmarks with their options."""
    parser.epilog = (
        "examples:\n  densehybrid benchmark engine\n  densehybrid benchmark node --rates 30\n\n"
        "tools/benchmarks/ of a checkout has further ones."
    )
    kinds = parser.add_subparsers(dest="benchmark", metavar="WHAT", required=True)
    for name, summary, add in (
        ("engine", "how fast the models run, on every backend", _configure_engine),
        ("node", "from a picture to its alert, beside a bare relay", benchmark_node.configure),
    ):
        add(kinds.add_parser(name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter))


def _configure_engine(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.epilog = "example:\n  densehybrid benchmark engine --json engine.json --profile profile.txt"
    parser.add_argument("--models", nargs="+", default=["ldn121", "light"], metavar="MODEL", help="(ldn121 light)")
    parser.add_argument("--size", type=network_size, default=(1024, 2048), metavar="WxH", help="GPU (2048x1024)")
    parser.add_argument("--cpu-size", type=network_size, default=(512, 1024), metavar="WxH", help="CPU (1024x512)")
    parser.add_argument("--repeats", type=count, default=_REPEATS, help=f"runs of a GPU row ({_REPEATS})")
    parser.add_argument("--cpu-repeats", type=count, default=_CPU_REPEATS, help=f"runs of a CPU row ({_CPU_REPEATS})")
    parser.add_argument("--threads", type=count, default=2, help="of the CPU rows (2)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    parser.add_argument("--no-cpu", action="store_true", help="leave the CPU rows out")
    parser.add_argument("--no-build", action="store_true", help="take compiled engines from the cache alone")
    parser.add_argument("--tune", action="store_true", help="inductor's tuned engine as well; minutes to build")
    parser.add_argument(
        "--cache", type=output_folder, metavar="DIR", help="where engines are kept (user's cache directory)"
    )
    parser.add_argument(
        "--profile", type=output_file, metavar="FILE", help="write a profile of each model's best GPU row"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Measures and shows the figures.

    Raises:
        InputError: A model, the device or ROS is not there.
    """
    if args.benchmark == "node":
        return benchmark_node.run(args)
    device = choose_device(args.device)
    models = [load_model(name) for name in args.models]
    with steps("engine") as report:
        rows = _measure(args, models, device, report)
    facts = {**device_facts(device), **version_facts("tensorrt")}
    figures = {
        "machine": facts,
        "size": size_text(args.size),
        "repeats": args.repeats,
        "cpu_size": size_text(args.cpu_size),
        "cpu_repeats": args.cpu_repeats,
        "cpu_threads": args.threads,
        "rows": [row.to_dict() for row in rows],
    }
    print(_table(figures, rows, device))
    if args.json:
        args.json.write(figures)
    return 0


def _measure(args: argparse.Namespace, models: list[LoadedModel], device: torch.device, report: Report) -> list[Row]:
    rows: list[Row] = []
    if device.type == "cuda":
        for model in models:
            profile = args.profile and args.profile.with_stem(f"{args.profile.stem}_{model.card.name}")
            settings = Settings(args.size, args.repeats, args.cache, not args.no_build, args.tune, profile, report)
            rows += gpu_rows(model, device, settings)
    if not args.no_cpu:
        torch.set_num_threads(args.threads)
        settings = Settings(args.cpu_size, args.cpu_repeats, args.cache, not args.no_build, report=report)
        for model in models:
            rows += cpu_rows(model, settings)
    return rows


def _table(figures: dict[str, Any], rows: list[Row], device: torch.device) -> str:
    machine = ", ".join(str(value) for value in figures["machine"].values() if value)
    lines = [machine]
    if device.type == "cuda":
        lines.append(f"GPU rows: {figures['size']}, batch 1, medians of {figures['repeats']} runs")
    lines.append(
        f"CPU rows: {figures['cpu_size']}, {figures['cpu_threads']} threads, medians of "
        f"{figures['cpu_repeats']} runs in turns"
    )
    width = max((len(row.name) for row in rows), default=0)
    for row in rows:
        note = f"  ({row.note})" if row.note else ""
        lines.append(f"{row.name:<{width}}  {row.result}{note}")
    return "\n".join(lines)
