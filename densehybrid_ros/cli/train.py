# SPDX-License-Identifier: Apache-2.0
"""``densehybrid train``: a run from a recipe and your data to a model, or a flow, with its card."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

from densehybrid_ros.cli.options import add_json, output_file
from densehybrid_ros.errors import InputError
from densehybrid_ros.training import train

_EXAMPLE = """examples:
  densehybrid train --init light --data my.yaml --check
  densehybrid train --init light --data my.yaml --output runs/mine.safetensors
  densehybrid train --config light_closed_set --output runs/closed/light.safetensors data.cityscapes_640=DIR
  torchrun --nproc-per-node 2 -m densehybrid_ros train --config ... --output ...
docs/your-data.md goes from your frames to a node that runs; docs/training.md says what each recipe is."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.epilog = _EXAMPLE
    configure_run(parser)
    text = ".safetensors file to write; its card lies beside it, its log in NAME_run"
    parser.add_argument("--output", type=output_file, help=text)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint of this run, if there is one")
    text = "look through configuration and data, take one step, and write nothing"
    parser.add_argument("--check", action="store_true", help=text)
    add_json(parser)


def configure_run(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of which ``merged`` makes a run."""
    parser.add_argument("--config", help="recipe: a YAML file, or the name of a shipped one (default: fine_tune)")
    parser.add_argument("--init", metavar="MODEL", help="model to start from: a shipped name or a .safetensors file")
    parser.add_argument("--data", metavar="FILE", help="YAML of your data and settings, which go over the recipe's")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="entries to replace last")


def merged(args: argparse.Namespace, name: str | None = None) -> train.TrainConfig:
    """Puts the run together.

    Raises:
        InputError: A file can't be read, or an entry is wrong.
    """
    return train.merge_config(args.config, args.init, args.data, args.overrides, name)


def run(args: argparse.Namespace) -> int:
    """Trains and saves the model, or checks the run."""
    if args.output is None and not args.check:
        raise InputError("--output: missing; name a file that ends in .safetensors, or only --check the data")
    config = merged(args, args.output.stem if args.output else None)
    if args.check:
        checked = train.check(config, args.device)
        for line in checked.warnings:
            print(f"warning: {line}", file=sys.stderr)
        memory = f", {checked.gpu_gib:.1f} GiB on the GPU" if checked.gpu_gib is not None else ""
        step = f"one step in {checked.seconds:.1f} s, loss {checked.loss:.4g}{memory}"
        print(f"ok: {', '.join(checked.found)}; {step}")
        if args.json:
            args.json.write(asdict(checked))
        return 0
    trained = train.run(config, args.output, args.device, args.resume, _command(args))
    if trained.written:
        if args.json:
            args.json.write({"model": str(trained.path), "steps": config.steps, "figures": trained.figures})
        print(f"{trained.path}: {config.name}, {config.steps} steps, {json.dumps(trained.figures)}")
    return 0


def _command(args: argparse.Namespace) -> str:
    """The command with the last name of each folder of this machine, which is what a reader can use."""
    given = {"--config": args.config, "--init": args.init, "--data": args.data}
    words = [word for option, value in given.items() if value for word in (option, Path(value).name)]
    parts = [override.partition("=") for override in args.overrides]
    words += [f"{key}={Path(value).name}" if "/" in value else f"{key}={value}" for key, _, value in parts]
    return shlex.join(["densehybrid", "train", *words])
