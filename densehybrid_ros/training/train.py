# SPDX-License-Identifier: Apache-2.0
"""Training from Python: ``run`` goes from a configuration to a model with its card; ``check`` writes nothing."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from densehybrid_ros.errors import InputError
from densehybrid_ros.files import file_digest
from densehybrid_ros.inference.backends import choose_device, device_name
from densehybrid_ros.networks import DenseHybrid, ModelCard, save_model
from densehybrid_ros.networks.dense_flow import FLOWS, DenseFlow, save_flow
from densehybrid_ros.training.config import TrainConfig, merge_config, read_config, to_mapping
from densehybrid_ros.training.distributed import Processes, join
from densehybrid_ros.training.run_parts import RunParts, check_data, open_run
from densehybrid_ros.training.segmentation_task import SegmentationTask
from densehybrid_ros.training.trainer import Trainer

__all__ = ["Checked", "TrainConfig", "Trained", "check", "merge_config", "read_config", "run"]

_CURVE_POINTS = 12
_TIMING = {"seconds", "images_per_second", "gpu_gib"}


@dataclass(frozen=True)
class Trained:
    """What a run has made."""

    path: Path  # The ``.safetensors`` file; its card ``NAME.yaml`` lies beside it, its log in ``NAME_run``
    model: DenseHybrid | DenseFlow  # What was trained, in evaluation mode, on the run's device
    figures: dict[str, float]  # Of the last validation, by name; empty where there is nothing to validate on
    written: bool  # Whether this process wrote the files: of several that torchrun started, the first one does


@dataclass(frozen=True)
class Checked:
    """What ``check`` has found."""

    found: list[str]  # Frames and negatives, in words
    warnings: list[str]  # What is odd about them, one line each
    seconds: float  # What one step took
    loss: float  # Of that step
    gpu_gib: float | None  # GiB that it took at most on the GPU; None on a CPU


def run(
    config: TrainConfig, output: str | Path, device: str = "auto", resume: bool = False, command: str | None = None
) -> Trained:
    """Trains, and writes the model, or the flow, with its card.

    Args:
        config: The run; ``read_config`` reads one from its YAML.
        output: ``.safetensors`` file to write.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        resume: Whether to go on from the checkpoint of this output, if there is one.
        command: What the card says about how it was started.

    Raises:
        InputError: The name has another ending, the device is not there, or what the run needs is missing, unreadable
            or does not fit together.
    """
    output, started = Path(output), time.monotonic()
    if output.suffix != ".safetensors":
        raise InputError(f"output {output}: the name must end in .safetensors")
    with _joined(device) as (processes, place):
        parts, folder = open_run(config, place, processes), output.parent / f"{output.stem}_run"
        trainer = Trainer(config, parts.task, parts.maker, parts.validate, folder, processes)
        if resume and trainer.resume() and processes.is_first:
            print(f"resumed at step {trainer.step}", file=sys.stderr)
        model = trainer.run().eval()
        if processes.is_first:
            hours = round((time.monotonic() - started) / 3600, 3)
            stage = _stage(config, trainer, place) | {"hours": hours, "data": parts.data}
            _write(config, output, model, parts, stage | ({"command": command} if command else {}))
        return Trained(output, model, dict(trainer.figures), processes.is_first)


def check(config: TrainConfig, device: str = "auto") -> Checked:
    """Reads everything that a run would read, takes one step, and writes nothing.

    Raises:
        InputError: A frame or negative is at fault, the loss is not finite, or as ``run`` says.
    """
    with _joined(device) as (processes, place):
        data = check_data(config)
        if data.faults:
            more = f" (and {len(data.faults) - 1} more faults)" if data.faults[1:] else ""
            raise InputError(f"{data.faults[0]}{more}")
        parts = open_run(config, place, processes)
        trainer = Trainer(config, parts.task, parts.maker, None, None, processes)
        started = time.monotonic()
        steps = trainer.steps()
        next(steps)
        steps.close()
        seconds, loss = time.monotonic() - started, float(trainer.losses["loss"])
        if not math.isfinite(loss):
            raise InputError(f"the first step has the loss {loss}; lower learning_rate or look at the data")
        if config.stage != "flow":
            parts.validate(parts.task.trained().eval(), limit=1)
        gpu_gib = torch.cuda.max_memory_allocated(place) / 2**30 if place.type == "cuda" else None
        return Checked(data.found, data.warnings, seconds, loss, gpu_gib)


@contextmanager
def _joined(device: str) -> Iterator[tuple[Processes, torch.device]]:
    processes, place = join(choose_device(device))
    try:
        yield processes, place
    finally:
        processes.close()


def _stage(config: TrainConfig, trainer: Trainer, device: torch.device) -> dict[str, Any]:
    """What the card says about this run."""
    points = trainer.curves[:: max(1, len(trainer.curves) // _CURVE_POINTS)]
    name = device_name(device)
    keys = [key for key in (points[0] if points else {}) if key not in _TIMING]
    mapping = {key: _shortened(value) for key, value in to_mapping(config).items() if key != "terms"}
    return {
        "stage": config.stage,
        "configuration": mapping,
        "device": name if trainer.processes.count == 1 else f"{trainer.processes.count} x {name}",
        "torch": str(torch.__version__),
        "validation": dict(trainer.figures),
        "curve": {key: [point[key] for point in points] for key in keys},
    }


def _shortened(value: Any) -> Any:
    """Of folders of this machine their last name."""
    if isinstance(value, dict):
        return {key: _shortened(item) for key, item in value.items()}
    return Path(value).name if isinstance(value, str) and "/" in value else value


def _write(config: TrainConfig, output: Path, model: Any, parts: RunParts, stage: dict[str, Any]) -> None:
    details: dict[str, Any] = {"terms": config.terms}
    if config.stage == "flow" and config.init != "random":
        details["parent"] = {"name": Path(config.init).stem, "sha256": file_digest(Path(config.init))}
    elif config.goes_on:
        terms = parts.card.details.get("terms", "")
        details["parent"] = {"name": parts.card.name, "sha256": parts.card.sha256, "terms": terms}
    details["training"] = [stage]
    if config.stage == "flow":
        save_flow(output, model, config.architecture, details)
        return
    save_model(output, model, ModelCard(config.name, config.architecture, parts.card.classes, details=details))
    if isinstance(parts.task, SegmentationTask) and parts.task.partner is not None:
        flow = parts.task.partner.flow
        architecture = next(name for name, shape in FLOWS.items() if shape == flow.config)
        path = output.with_name(f"{output.stem}_flow.safetensors")
        save_flow(path, flow, architecture, {"terms": config.terms, "training": [stage]})
