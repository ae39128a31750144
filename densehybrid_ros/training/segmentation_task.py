# SPDX-License-Identifier: Apache-2.0
"""Training of a segmentation model: closed set, or open set with pasted, sampled or void negatives."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from densehybrid_ros.networks import DenseHybrid, upsample
from densehybrid_ros.scores import SCORES
from densehybrid_ros.scores.confusion import ConfusionMatrix
from densehybrid_ros.training.batches import Source, frame_tensors
from densehybrid_ros.training.config import TrainConfig
from densehybrid_ros.training.distributed import ALONE, Processes
from densehybrid_ros.training.losses import (
    BASELINE_LOSSES,
    OPEN_SET_LOSSES,
    closed_set_loss,
    distillation_loss,
    margin_loss,
)
from densehybrid_ros.training.mixed_content import MixedBatch
from densehybrid_ros.training.optimization import Task, accelerate, autocast, parameter_groups, replayed
from densehybrid_ros.training.run_log import colored, sheet
from densehybrid_ros.training.synthetic_negatives import FlowPartner

_PICTURES = 4


class SegmentationTask(Task[DenseHybrid]):
    """What one parameter update of a segmentation model is.

    Attributes:
        partner: The flow that makes the negatives, if one does.
    """

    clip_norm = 10.0

    def __init__(
        self,
        config: TrainConfig,
        model: DenseHybrid,
        device: torch.device,
        processes: Processes = ALONE,
        partner: FlowPartner | None = None,
    ) -> None:
        model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(config, model, parameter_groups(model, config.encoder_rate_factor), device, processes)
        taught = config.loss.distillation > 0
        self.teacher = copy.deepcopy(model).eval().requires_grad_(False) if taught else None
        self.partner = partner
        self._forward: Callable[..., Any] = model
        self._ask: Callable[[Tensor], Tensor] = self._taught

    def prepare(self, shape: tuple[int, int, int, int]) -> None:
        """Switches to training, captures the passes of model and teacher, and lets processes average gradients."""
        self.model.train()
        images = torch.zeros(shape, device=self.device).contiguous(memory_format=torch.channels_last)
        module = accelerate(self.model, self.config, self.device, (images,), autocast(self.config, self.device))
        # A captured network gives every parameter a gradient, be it zero.
        unused = not (uses_posterior(self.config) or self.config.cuda_graph)
        # Statistics of other processes count for nothing: those of rank 0 are what is averaged and saved.
        self._forward = self.processes.wrap(module, self.device, unused)
        if self.teacher is not None and self.config.cuda_graph:
            self._ask = replayed(self._taught, images)

    def backward(self, step: int, batch: MixedBatch) -> dict[str, Tensor]:
        """Computes the gradients of the model; lets the flow, where there is one, take its step."""
        if self.partner is None:
            _, losses = self.losses(batch)
            losses["loss"].backward()
            return losses
        pasted = self.partner.paste(batch, step)
        logits, losses = self.losses(pasted.mixed)
        divergence, gradient = self.partner.divergence(logits, pasted)
        losses["loss"].backward()
        losses |= {"flow_jsd": divergence, "flow_bits": self.partner.backward(pasted, gradient, step)}
        self.partner.update()
        return losses

    def losses(self, batch: MixedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Runs the model on a batch; returns full-size logits, and ``loss`` with its parts."""
        images = batch.images.contiguous(memory_format=torch.channels_last)
        with autocast(self.config, self.device):
            output = self._forward(images)
        logits, posterior = _full_size(self.model, images, output.logits.float(), output.posterior.float())
        losses = objective(self.config, logits, posterior, batch)
        if self.teacher is not None:
            losses["distillation"] = distillation_loss(output.logits, self._ask(images), batch.origin)
            losses["loss"] = losses["loss"] + self.config.loss.distillation * losses["distillation"]
        return logits, losses

    def pictures(self, batch: MixedBatch, step: int) -> dict[str, Tensor]:
        """Returns the mixed images of a batch beside the score maps of the averaged model, and samples of the flow."""
        if self.partner is not None:
            batch = self.partner.paste(batch, step).mixed
        images, model = batch.images[:_PICTURES].detach(), self.trained()
        was_training = model.training
        model.eval()
        with torch.inference_mode():
            output = model(images.contiguous(memory_format=torch.channels_last))
            score = SCORES["hybrid"](*_full_size(model, images, output.logits, output.posterior))
        model.train(was_training)
        found = {"mixed": sheet(torch.cat([images.cpu(), colored(score.cpu())]), len(images))}
        if self.partner is not None:
            generator = torch.Generator(self.device).manual_seed(0)
            with torch.no_grad():
                found["flow_samples"] = sheet(self.partner.flow.sample(16, (64, 64), generator).cpu(), 8)
        return found

    def state_dict(self) -> dict[str, Any]:
        """Returns what a resumed run needs, of the flow too."""
        return {**super().state_dict(), "partner": self.partner.state_dict() if self.partner else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what ``state_dict`` returned."""
        super().load_state_dict(state)
        if self.partner is not None:
            self.partner.load_state_dict(state["partner"])

    def _taught(self, images: Tensor) -> Tensor:
        """Returns the teacher's logits."""
        assert self.teacher is not None
        with torch.no_grad(), autocast(self.config, self.device):
            logits: Tensor = self.teacher(images).logits.float()
        return logits


def _full_size(model: DenseHybrid, images: Tensor, *maps: Tensor) -> list[Tensor]:
    size = (images.shape[2], images.shape[3])
    return [upsample(part, size, model.align_corners) for part in maps]


def objective(config: TrainConfig, logits: Tensor, posterior: Tensor, batch: MixedBatch) -> dict[str, Tensor]:
    """Returns ``loss`` and its parts for logits [B, K, H, W] and [B, 2, H, W] of a batch; see ``losses``.

    Weights of outliers count in the loss with margins alone.
    """
    settings, pixels = config.loss, (logits, posterior, batch.labels, batch.origin)
    if config.stage == "closed_set":
        return {"loss": closed_set_loss(logits, batch.labels)}
    if settings.kind != "hybrid":
        return BASELINE_LOSSES[settings.kind].loss(*pixels, settings.beta)
    if settings.weighting != "margins":
        return OPEN_SET_LOSSES[settings.weighting](*pixels, settings.beta, settings.likelihood_floor)
    return margin_loss(
        *pixels,
        beta=settings.beta,
        floor=-math.inf if settings.likelihood_floor is None else settings.likelihood_floor,
        ceiling=settings.likelihood_ceiling,
        posterior_weight=settings.posterior_weight,
        hard_share=settings.hard_share,
        weights=batch.weights,
    )


def uses_posterior(config: TrainConfig) -> bool:
    """Whether the second head gets a gradient."""
    kind = config.loss.kind
    return config.stage == "open_set" and (kind == "hybrid" or BASELINE_LOSSES[kind].uses_posterior)


@torch.inference_mode()
def mean_iou(
    model: DenseHybrid, sources: Sequence[Source], device: torch.device, processes: Processes, limit: int | None = None
) -> dict[str, float]:
    """Measures the closed-set mIoU in percent; every process takes its part of the frames, ``limit`` of a source."""
    confusion = ConfusionMatrix(model.num_classes, device=device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    for source in sources:
        for index in range(processes.rank, len(source) if limit is None else limit, processes.count):
            image, label = frame_tensors(source, index)
            images = image.to(device).unsqueeze(0).float() / 255
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                logits = model(images.contiguous(memory_format=torch.channels_last)).logits
            (full,) = _full_size(model, images, logits.float())
            confusion.update(full.argmax(1)[0], label.to(device))
    processes.sum(confusion.counts)
    return {"mean_iou": round(100 * float(confusion.mean_iou()), 2)}
