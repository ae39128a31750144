# SPDX-License-Identifier: Apache-2.0
"""The training loop: batches, updates, log, pictures, validation, checkpoints."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from densehybrid_ros.errors import InputError, first_line
from densehybrid_ros.files import atomic_file, writing
from densehybrid_ros.progress import progress
from densehybrid_ros.training.batches import BatchSource, CropTask, stream
from densehybrid_ros.training.config import TrainConfig
from densehybrid_ros.training.distributed import ALONE, Processes
from densehybrid_ros.training.mixed_content import MixedBatch
from densehybrid_ros.training.optimization import Task
from densehybrid_ros.training.run_log import RunLog

_LOG_EVERY = 20  # steps, after the first so many, which are all logged

Validate = Callable[[Any], dict[str, float]]


@dataclass(eq=False)
class Trainer:
    """Runs a task to its last step. The state after step n depends on the configuration and n alone."""

    config: TrainConfig
    task: Task[Any]  # What is trained
    maker: BatchSource  # Makes the batches
    validate: Validate | None = None  # Figures of the averaged model, by name; called in all processes
    run_directory: Path | None = None  # Where losses, pictures and checkpoints go; none are kept without it
    processes: Processes = ALONE  # Of this run

    def __post_init__(self) -> None:
        self.log = RunLog(self.run_directory if self.processes.is_first else None)
        self.step, self._status = 0, ""
        self.curves: list[dict[str, float]] = []
        self.figures: dict[str, float] = {}
        self.losses: dict[str, Tensor] = {}
        self._count = self.processes.share(self.config.batch_size)

    def run(self) -> Any:
        """Trains to the last step and returns the averaged model."""
        total = self.config.steps - self.step
        steps: Any = self.steps()
        if self.processes.is_first:
            steps = progress(steps, f"train {self.config.name}", total=total, unit="step", status=lambda: self._status)
        for _ in steps:
            if self._due(self.config.validate_every):
                self._validate()
            if self._due(self.config.checkpoint_every):
                self.save_checkpoint()
        if total == 0 and not self.figures:  # killed at its very end, before it was validated
            self._validate()
        return self.task.trained()

    def steps(self) -> Generator[int, None, None]:
        """Yields the number of steps taken, after each one."""
        config = self.config
        if self.step == 0 and self.run_directory is not None and self.processes.is_first:
            # What an earlier run of this name left must not mix with this one.
            (self.run_directory / "checkpoint.pt").unlink(missing_ok=True)
            self.log.begin()
        self.task.prepare((self._count, 3, config.crops.height, config.crops.width))
        first = self.processes.rank * self._count
        tasks = [CropTask(step, first, self._count) for step in range(self.step, config.steps)]
        pace = _Pace(self.step)
        with closing(stream(self.maker, tasks, config.data.workers)) as batches:
            for batch in batches:
                self.losses = self.task.update(self.step, batch)
                self.step += 1
                if self.step <= _LOG_EVERY or self._due(_LOG_EVERY):
                    self._record(pace)
                stopped = time.monotonic()
                if self._due(config.validate_every):
                    self._draw(batch)
                yield self.step
                pace.pauses += time.monotonic() - stopped

    def save_checkpoint(self) -> None:
        """Writes what a resumed run needs, whole or not at all; the checkpoint before stays until then.

        Raises:
            OutputError: It can't be written.
        """
        if self.run_directory is not None and self.processes.is_first:
            state = {"step": self.step, "task": self.task.state_dict(), "curves": self.curves, "figures": self.figures}
            path = self.run_directory / "checkpoint.pt"
            with atomic_file(path) as file, writing(path, RuntimeError):  # PyTorch's, of its ZIP that lacks its end
                torch.save(state, file)
        self.processes.wait()

    def resume(self) -> bool:
        """Continues from this run's checkpoint if there is one.

        Raises:
            InputError: The checkpoint can't be read or belongs to another architecture.
        """
        path = self.run_directory / "checkpoint.pt" if self.run_directory else None
        if path is None or not path.is_file():
            return False
        try:
            state = torch.load(path, map_location=self.maker.device, weights_only=True)
            self.task.load_state_dict(state["task"])
        except Exception as error:
            raise InputError(f"{path}: not a checkpoint of this run ({first_line(error)}); delete it") from error
        self.step, self.curves = state["step"], state["curves"]
        self.figures = state["figures"] if self.step == self.config.steps else {}
        self.log.resume(self.step)
        return True

    def _record(self, pace: _Pace) -> None:
        values = {name: round(float(value.detach()), 5) for name, value in self.losses.items()}
        if not math.isfinite(values["loss"]):
            raise InputError(
                f"step {self.step}: the loss is {values['loss']}; lower learning_rate or set loss.likelihood_floor"
            )
        rate, seconds = round(self.config.batch_size * pace.look(self.step), 2), time.monotonic() - pace.started
        record, memory = {**values, "images_per_second": rate, "seconds": round(seconds, 1)}, ""
        if self.maker.device.type == "cuda":
            record["gpu_gib"] = round(torch.cuda.max_memory_allocated(self.maker.device) / 2**30, 2)
            memory = f", {record['gpu_gib']} GiB"
        left = seconds / (self.step - pace.first) * (self.config.steps - self.step)
        self._status = f"loss {values['loss']:.4g}, {rate:.4g} images/s{memory}, {left / 60:.1f} min left"
        self.curves.append({"step": self.step, **record})
        self.log.scalars(self.step, record)

    def _validate(self) -> None:
        if self.validate is None:
            return
        model = self.task.trained()
        self.processes.align_buffers(model)
        model.eval()
        self.figures = self.validate(model)
        if self.processes.is_first:
            print(f"validation: {json.dumps(self.figures)}", file=sys.stderr, flush=True)
        self.task.model.train()
        self.log.scalars(self.step, self.figures, "validation")

    def _draw(self, batch: MixedBatch) -> None:
        if self.processes.is_first and self.run_directory is not None:
            for name, picture in self.task.pictures(batch, self.step).items():
                self.log.picture(self.step, name, picture)
        self.task.model.train()

    def _due(self, every: int) -> bool:
        return self.step == self.config.steps or (every > 0 and self.step % every == 0)


class _Pace:
    """How fast a run goes, from step ``first`` on; ``pauses`` are seconds in which no step was under way."""

    def __init__(self, first: int) -> None:
        self.first, self.started, self.pauses = first, time.monotonic(), 0.0
        self._looked = (first, 0.0)

    def look(self, step: int) -> float:
        """Returns the steps a second since the last look, without the pauses."""
        now = (step, time.monotonic() - self.started - self.pauses)
        steps, seconds = (after - before for after, before in zip(now, self._looked, strict=True))
        self._looked = now
        return steps / max(seconds, 1e-9)
