"""``densehybrid train``: a run from its YAML file to a model, or a flow, with its card."""

from __future__ import annotations

import argparse
import json
import shlex
from dataclasses import asdict
from pathlib import Path

import yaml

from densehybrid_ros.cli.options import add_json, output_file
from densehybrid_ros.errors import InputError
from densehybrid_ros.training import train

_EXAMPLE = """example:
  densehybrid train --config config/train/light_closed_set.yaml --output runs/closed/light.safetensors \\
      data.cityscapes_640=/data/cityscapes_640
  densehybrid train --config config/train/light_open_set.yaml --output runs/open/light.safetensors \\
      init=runs/closed/light.safetensors data.cityscapes_640=/data/cityscapes_640 negatives.root=/data/negatives
  torchrun --nproc-per-node 2 -m densehybrid_ros train --config ... --output ...
docs/training.md says what each configuration is."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.epilog = _EXAMPLE
    parser.add_argument("--config", type=Path, required=True, help="the run's YAML (config/train/*.yaml)")
    parser.add_argument(
        "--output", type=output_file, help=".safetensors file to write; its card lies beside it, its log in NAME_run"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint of this run, if there is one")
    parser.add_argument(
        "--check", action="store_true", help="look through configuration and data, take one step, and write nothing"
    )
    add_json(parser)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="entries of the YAML to replace")


def run(args: argparse.Namespace) -> int:
    """Trains and saves the model, or checks the run."""
    if args.output is None and not args.check:
        raise InputError("--output: missing; name a file that ends in .safetensors, or only --check the data")
    config = train.read_config(args.config, args.overrides)
    if args.check:
        checked = train.check(config, args.device)
        memory = f", {checked.gpu_gib:.1f} GiB on the GPU" if checked.gpu_gib is not None else ""
        step = f"one step in {checked.seconds:.1f} s, loss {checked.loss:.4g}{memory}"
        print(f"ok: {', '.join(checked.found)}; {step}")
        if args.json:
            args.json.write(asdict(checked))
        return 0
    origin = {
        "command": f"densehybrid train --config {args.config} {shlex.join(_portable(args.overrides))}".strip(),
        "configuration": yaml.safe_load(args.config.read_text(encoding="utf-8")),
    }
    trained = train.run(config, args.output, args.device, args.resume, origin)
    if trained.written:
        if args.json:
            args.json.write({"model": str(trained.path), "steps": config.steps, "figures": trained.figures})
        print(f"{trained.path}: {config.name}, {config.steps} steps, {json.dumps(trained.figures)}")
    return 0


def _portable(overrides: list[str]) -> list[str]:
    """Replaces folders of this machine in ``key=path`` by their last name, which is what a reader can use."""
    parts = [override.partition("=") for override in overrides]
    return [f"{key}={Path(value).name}" if "/" in value else f"{key}={value}" for key, _, value in parts]
