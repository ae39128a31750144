"""The training loop: crops, loss, AdamW with a cosine schedule, moving average, checkpoints."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from densehybrid_ros.datasets.training_frames import FrameStore
from densehybrid_ros.errors import InputError
from densehybrid_ros.files import atomic_path
from densehybrid_ros.networks import DenseHybrid, upsample
from densehybrid_ros.progress import progress
from densehybrid_ros.training.config import TrainConfig
from densehybrid_ros.training.crops import Batch, random_crops
from densehybrid_ros.training.losses import OPEN_SET_LOSSES, closed_set_loss
from densehybrid_ros.training.mixed_content import MixedBatch, paste_negatives, without_negatives

_RATE_FLOOR = 1e-3  # the cosine ends at this share of the peak rate
_LOG_EVERY = 20

Validate = Callable[[DenseHybrid], dict[str, float]]


class Trainer:
    """Trains one model. The state after step n depends on the configuration and n alone."""

    def __init__(
        self,
        config: TrainConfig,
        model: DenseHybrid,
        stores: list[tuple[FrameStore, float]],
        cutouts: list[Tensor],
        device: torch.device,
        validate: Validate | None = None,
        run_directory: Path | None = None,
    ) -> None:
        """Prepares optimiser and moving average.

        Args:
            config: The run.
            model: Trained in place.
            stores: Frames with their share of the crops, on ``device``.
            cutouts: Negatives, uint8 [4, h, w] on ``device``; used in the open-set stage.
            device: Where to train.
            validate: Figures of the averaged model, by name.
            run_directory: Where losses and checkpoints go; none are kept without it.
        """
        self.config = config
        self.device = device
        self.model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.forward: Callable[[Tensor], Any] = torch.compile(self.model) if config.compile else self.model
        self.average = AveragedModel(self.model, multi_avg_fn=self._average, use_buffers=True)
        self.optimizer = torch.optim.AdamW(self._parameter_groups(), weight_decay=config.weight_decay)
        self.stores = stores
        self.cutouts = cutouts
        self.validate = validate
        self.run_directory = run_directory
        self.step = 0
        self.curves: list[dict[str, float]] = []
        if config.loss.weighting not in OPEN_SET_LOSSES:
            raise InputError(f"loss.weighting={config.loss.weighting}: choose one of {', '.join(OPEN_SET_LOSSES)}")

    def run(self) -> DenseHybrid:
        """Trains to the last step and returns the averaged model."""
        started = time.monotonic()
        for _ in progress(self._steps(), f"train {self.config.name}", total=self.config.steps - self.step, unit="step"):
            if self.step % _LOG_EVERY == 0 or self.step == self.config.steps:
                self.curves[-1]["seconds"] = round(time.monotonic() - started, 1)
                self._log(self.curves[-1])
            if self._due(self.config.validate_every) or self.step == self.config.steps:
                self._validate()
            if self._due(self.config.checkpoint_every) or self.step == self.config.steps:
                self.save_checkpoint()
        return self.averaged_model()

    def averaged_model(self) -> DenseHybrid:
        """Returns the moving average of the model, or the model itself where none is kept."""
        model = self.average.module if self.config.ema_decay > 0 else self.model
        assert isinstance(model, DenseHybrid)
        return model

    def batch(self, step: int) -> MixedBatch:
        """Draws the batch of a step; the same seed and step give the same batch."""
        rng = np.random.default_rng([self.config.seed, step])
        parts = []
        shares = np.array([share for _, share in self.stores])
        counts = rng.multinomial(self.config.batch_size, shares / shares.sum())
        for (store, _), count in zip(self.stores, counts, strict=True):
            if count:
                parts.append(random_crops(store, rng.integers(len(store), size=count), self.config.crops, rng))
        batch = Batch(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
        if self.config.stage == "closed_set":
            return without_negatives(batch)
        return paste_negatives(batch, self.cutouts, self.config.negatives, rng)

    def losses(self, batch: MixedBatch) -> dict[str, Tensor]:
        """Runs the model on a batch and returns ``loss`` and its parts."""
        with self._autocast():
            output = self.forward(batch.images.contiguous(memory_format=torch.channels_last))
        size = (batch.images.shape[2], batch.images.shape[3])
        logits = upsample(output.logits.float(), size)
        if self.config.stage == "closed_set":
            return {"loss": closed_set_loss(logits, batch.labels)}
        posterior = upsample(output.posterior.float(), size)
        loss = OPEN_SET_LOSSES[self.config.loss.weighting]
        settings = self.config.loss
        return loss(logits, posterior, batch.labels, batch.origin, settings.beta, settings.likelihood_floor)

    def save_checkpoint(self) -> None:
        """Writes what a resumed run needs, whole or not at all."""
        if self.run_directory is None:
            return
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "curves": self.curves,
        }
        with atomic_path(self.run_directory / "checkpoint.pt") as temporary:
            torch.save(state, temporary)

    def resume(self) -> bool:
        """Continues from this run's checkpoint if there is one.

        Raises:
            InputError: The checkpoint can't be read or belongs to another architecture.
        """
        path = self.run_directory / "checkpoint.pt" if self.run_directory else None
        if path is None or not path.is_file():
            return False
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
        except Exception as error:
            raise InputError(
                f"{path}: not a checkpoint of this run ({str(error).splitlines()[0]}); delete it"
            ) from error
        self.step, self.curves = state["step"], state["curves"]
        return True

    def _steps(self) -> Iterator[int]:
        self.model.train()
        while self.step < self.config.steps:
            self._set_rate()
            parts = self.losses(self.batch(self.step))
            self.optimizer.zero_grad(set_to_none=True)
            parts["loss"].backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), max_norm=10.0)
            self.optimizer.step()
            if self.config.ema_decay > 0:
                self.average.update_parameters(self.model)
            self.step += 1
            if self.step % _LOG_EVERY == 0 or self.step == self.config.steps:
                self._record(parts)
            yield self.step

    def _record(self, parts: dict[str, Tensor]) -> None:
        values = {name: round(float(value.detach()), 5) for name, value in parts.items()}
        if not math.isfinite(values["loss"]):
            raise InputError(
                f"step {self.step}: the loss is {values['loss']}; lower learning_rate or set loss.likelihood_floor"
            )
        self.curves.append({"step": self.step, **values})

    def _validate(self) -> None:
        if self.validate is None:
            return
        model = self.averaged_model().eval()
        self._log({"step": self.step, **self.validate(model)})
        self.model.train()

    def _log(self, record: dict[str, float]) -> None:
        if self.run_directory is not None:
            self.run_directory.mkdir(parents=True, exist_ok=True)
            with (self.run_directory / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")

    def _due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0

    def _set_rate(self) -> None:
        config = self.config
        warm = min(1.0, (self.step + 1) / max(1, config.warmup_steps))
        cosine = 0.5 * (1 + math.cos(math.pi * self.step / config.steps))
        rate = config.learning_rate * warm * (_RATE_FLOOR + (1 - _RATE_FLOOR) * cosine)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]

    def _parameter_groups(self) -> list[dict[str, Any]]:
        encoder = {id(parameter) for parameter in self.model.network.encoder_parameters()}
        groups = []
        for is_encoder, factor in ((True, self.config.encoder_rate_factor), (False, 1.0)):
            chosen = [p for p in self.model.parameters() if (id(p) in encoder) == is_encoder]
            if chosen:
                groups.append({"params": chosen, "factor": factor})
        return groups

    def _average(self, averaged: Any, current: Any, updates: Tensor | int) -> None:
        # Early on the average follows quickly, or the random start would linger in it.
        decay = min(self.config.ema_decay, (1 + float(updates)) / (10 + float(updates)))
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, 1 - decay)
        else:
            torch._foreach_copy_(averaged, current)

    def _autocast(self) -> AbstractContextManager:
        precision = self.config.precision
        if precision == "bf16" or (precision == "auto" and self.device.type == "cuda"):
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()
