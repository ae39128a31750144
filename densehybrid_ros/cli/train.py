"""``densehybrid train``: a run from its YAML file to a model, or a flow, with its card."""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml

from densehybrid_ros.cli.options import check_model_output, output_file
from densehybrid_ros.cli.training_data import check_data, open_run
from densehybrid_ros.errors import InputError
from densehybrid_ros.inference.backends import choose_device, device_name
from densehybrid_ros.networks import ModelCard, save_model
from densehybrid_ros.networks.dense_flow import FLOWS, load_flow, save_flow
from densehybrid_ros.training.config import TrainConfig
from densehybrid_ros.training.config_file import read_config
from densehybrid_ros.training.distributed import Processes, join
from densehybrid_ros.training.synthetic_negatives import FlowPartner
from densehybrid_ros.training.trainer import Trainer

_EXAMPLE = """example:
  densehybrid train --config config/train/light_closed_set.yaml --output runs/closed/light.safetensors \\
      data.cityscapes_640=/data/cityscapes_640
  densehybrid train --config config/train/light_open_set.yaml --output runs/open/light.safetensors \\
      init=runs/closed/light.safetensors data.cityscapes_640=/data/cityscapes_640 negatives.root=/data/negatives
  torchrun --nproc-per-node 2 -m densehybrid_ros train --config ... --output ...
docs/training.md says what each configuration is."""
_CURVE_POINTS = 12


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
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="entries of the YAML to replace")


def run(args: argparse.Namespace) -> int:
    """Trains and saves the model."""
    if not args.check:
        if args.output is None:
            raise InputError("--output: missing; name a file that ends in .safetensors, or only --check the data")
        check_model_output(args.output)
    config = read_config(args.config, args.overrides)
    processes, device = join(choose_device(args.device))
    try:
        if args.check:
            return _check(config, device, processes)
        return _train(config, device, processes, args)
    finally:
        processes.close()


def _train(config: TrainConfig, device: torch.device, processes: Processes, args: argparse.Namespace) -> int:
    started = time.monotonic()
    parts = open_run(config, device, processes)
    figures: dict[str, float] = {}

    def validate(candidate: Any) -> dict[str, float]:
        figures.update(parts.validate(candidate) if parts.validate else {})
        if processes.is_first:
            print(f"validation: {json.dumps(figures)}", file=sys.stderr, flush=True)
        return dict(figures)

    run_directory = args.output.parent / f"{args.output.stem}_run"
    trainer = Trainer(config, parts.task, parts.maker, validate, run_directory, processes)
    if args.resume and trainer.resume() and processes.is_first:
        print(f"resumed at step {trainer.step}", file=sys.stderr)
    trained = trainer.run()
    if not processes.is_first:
        return 0
    stage = _stage(config, trainer, device, time.monotonic() - started, args)
    if config.stage == "flow":
        save_flow(args.output, trained, config.architecture, _flow_details(config, stage))
    else:
        save_model(args.output, trained, _card(config, stage, parts.card))
    if parts.partner is not None:
        _save_partner(config, parts.partner, args.output, stage)
    print(f"{args.output}: {config.name}, {config.steps} steps, {json.dumps(trainer.figures)}")
    return 0


def _check(config: TrainConfig, device: torch.device, processes: Processes) -> int:
    """Reads everything that a run would read, and takes one step."""
    faults, found = check_data(config)
    if faults:
        raise InputError(f"{faults[0]}" + (f" (and {len(faults) - 1} more faults)" if faults[1:] else ""))
    parts = open_run(config, device, processes)
    trainer = Trainer(config, parts.task, parts.maker, None, None, processes)
    started = time.monotonic()
    steps = trainer.steps()
    next(steps)
    steps.close()
    loss = float(trainer.losses["loss"])
    if not math.isfinite(loss):
        raise InputError(f"the first step has the loss {loss}; lower learning_rate or look at the data")
    memory = f", {torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB on the GPU" if device.type == "cuda" else ""
    print(f"ok: {', '.join(found)}; one step in {time.monotonic() - started:.1f} s, loss {loss:.4g}{memory}")
    return 0


def _stage(
    config: TrainConfig, trainer: Trainer, device: torch.device, seconds: float, args: argparse.Namespace
) -> dict[str, Any]:
    """What the card says about this run."""
    points = trainer.curves[:: max(1, len(trainer.curves) // _CURVE_POINTS)]
    name = device_name(device)
    timing = {"seconds", "images_per_second", "gpu_gib"}
    return {
        "stage": config.stage,
        "command": f"densehybrid train --config {args.config} {shlex.join(portable(args.overrides))}".strip(),
        "configuration": yaml.safe_load(args.config.read_text(encoding="utf-8")),
        "seed": config.seed,
        "steps": trainer.step,
        "device": name if trainer.processes.count == 1 else f"{trainer.processes.count} x {name}",
        "hours": round(seconds / 3600, 3),
        "torch": str(torch.__version__),
        "validation": dict(trainer.figures),
        "curve": [{key: value for key, value in point.items() if key not in timing} for point in points],
    }


def _card(config: TrainConfig, stage: dict[str, Any], base: ModelCard) -> ModelCard:
    earlier: list[dict[str, Any]] = base.details.get("training", [])
    details = {"terms": config.terms, "training": [*earlier, stage]}
    return ModelCard(config.name, config.architecture, base.classes, input_size=(1024, 2048), details=details)


def _flow_details(config: TrainConfig, stage: dict[str, Any]) -> dict[str, Any]:
    base = load_flow(config.init).details if config.init != "random" else {}
    return {"terms": config.terms, "training": [*base.get("training", []), stage]}


def _save_partner(config: TrainConfig, partner: FlowPartner, output: Path, stage: dict[str, Any]) -> None:
    architecture = next(name for name, shape in FLOWS.items() if shape == partner.flow.config)
    path = output.with_name(f"{output.stem}_flow.safetensors")
    save_flow(path, partner.flow, architecture, {"terms": config.terms, "training": [stage]})


def portable(overrides: list[str]) -> list[str]:
    """Replaces folders of this machine in ``key=path`` by their last name, which is what a reader can use."""
    parts = [override.partition("=") for override in overrides]
    return [f"{key}={Path(value).name}" if "/" in value else f"{key}={value}" for key, _, value in parts]
