"""Training of a segmentation model: closed set, or open set with pasted, sampled or void negatives."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from densehybrid_ros.networks import DenseHybrid, HybridOutput, upsample
from densehybrid_ros.scores import SCORES
from densehybrid_ros.training.baseline_losses import distillation_loss
from densehybrid_ros.training.config import TrainConfig
from densehybrid_ros.training.distributed import Processes, without_sync
from densehybrid_ros.training.graphs import accelerate, replayed
from densehybrid_ros.training.mixed_content import MixedBatch
from densehybrid_ros.training.objectives import objective, uses_posterior
from densehybrid_ros.training.optimization import (
    MovingAverage,
    autocast,
    build_optimizer,
    grad_scaler,
    norms,
    parameter_groups,
    set_rate,
)
from densehybrid_ros.training.run_log import colored, sheet
from densehybrid_ros.training.synthetic_negatives import FlowPartner, Pasted
from densehybrid_ros.training.teacher import HintedModel, Lesson, hint_loss, lesson, score_halves, score_loss

_PICTURES = 4


class SegmentationTask:
    """What one parameter update of a segmentation model is.

    Attributes:
        model: Is trained in place.
        average: Its moving average; None where none is kept.
        optimizer: Of the model.
        partner: The flow that makes the negatives, if one does.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: DenseHybrid,
        device: torch.device,
        processes: Processes | None = None,
        partner: FlowPartner | None = None,
        teacher: DenseHybrid | None = None,
    ) -> None:
        """Prepares model, average and optimiser.

        Args:
            config: The run.
            model: Is trained in place.
            device: Where it runs.
            processes: The processes of this run.
            partner: The flow that makes the negatives, if one does.
            teacher: The model that ``loss.distillation``, ``score_distillation`` and ``hints`` follow; None: the
                trained model as it is now.
        """
        self.config = config
        self.device = device
        self.processes = processes or Processes()
        self.model: DenseHybrid = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if config.sync_norm and self.processes.count > 1 and device.type == "cuda":
            self.model = nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
        self.average = MovingAverage(self.model, config.ema_decay) if config.ema_decay > 0 else None
        lessons = (config.loss.distillation, config.loss.score_distillation, config.loss.hints)
        taught = any(weight > 0 for weight in lessons)
        self.teacher = self._frozen(teacher or copy.deepcopy(self.model)) if taught else None
        self.student: nn.Module = self.model
        groups = parameter_groups(self.model, config.encoder_rate_factor)
        if self.teacher is not None and config.loss.hints > 0:
            self.student = HintedModel(self.model, self.teacher, torch.zeros(1, 3, 64, 64, device=device))
            groups.append({"params": list(self.student.translators.parameters()), "factor": 1.0})
        self.optimizer = build_optimizer(config, groups, device)
        self.scaler = grad_scaler(config, device)
        self.partner = partner
        self._parameters = list(self.student.parameters())
        self._forward: Callable[..., Any] | None = None
        self._ask: Callable[[Tensor], Lesson] | None = None

    def trained(self) -> DenseHybrid:
        """Returns the moving average of the model, or the model itself where none is kept."""
        module = self.average.module if self.average else self.model
        assert isinstance(module, DenseHybrid)
        return module

    def prepare(self, shape: tuple[int, int, int, int]) -> None:
        """Switches to training, and captures the passes for batches of ``shape``.

        To be called before threads prepare crops: what they do on a GPU would break the capture of a graph.
        """
        self.train_mode()
        images = torch.zeros(shape, device=self.device).contiguous(memory_format=torch.channels_last)
        self._passes(images)
        if self.teacher is not None:
            self._lessons(self.teacher, images)

    def train_mode(self) -> None:
        """Switches to training; frozen statistics stay frozen."""
        self.student.train()
        if self.config.freeze_norm:
            # Those of the posterior head go on: it may be new, and what it starts from is no statistics.
            for norm in norms(self.model.network.modules()):
                norm.eval()

    def update(self, step: int, batches: Sequence[MixedBatch]) -> dict[str, Tensor]:
        """Takes one step on the parts of a batch; returns the loss and what it consists of."""
        set_rate(self.optimizer, self.config, step)
        totals: dict[str, Tensor] = {}
        for part, batch in enumerate(batches):
            with without_sync(self._passes(batch.images), last=part == len(batches) - 1):
                for name, value in self._backward(step, part, batch, len(batches)).items():
                    totals[name] = totals.get(name, torch.zeros_like(value)) + value / len(batches)
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self._parameters, max_norm=self.config.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)  # a graph's gradients lie in buffers of its own: never add to them
        if self.partner is not None:
            self.partner.update()
        if self.average is not None:
            self.average.update()
        return totals

    def _backward(self, step: int, part: int, batch: MixedBatch, parts: int) -> dict[str, Tensor]:
        """Accumulates the gradients of one part in the model, and in the flow where there is one."""
        pasted: Pasted | None = None
        if self.partner is not None:
            pasted = self.partner.paste(batch, step, self.processes.rank * parts + part)
            batch = pasted.mixed
        logits, losses = self.losses(batch)
        extra: dict[str, Tensor] = {}
        if self.partner is not None and pasted is not None:
            scale = self.scaler.get_scale() if self.scaler.is_enabled() else 1.0
            extra["flow_jsd"], gradient = self.partner.divergence(logits, pasted, scale)
        self.scaler.scale(losses["loss"] / parts).backward()
        if self.partner is not None and pasted is not None:
            with without_sync(self.partner.forward, last=part == parts - 1):
                extra["flow_bits"] = self.partner.backward(pasted, gradient, step, 1 / parts)
        return {name: value.detach() for name, value in {**losses, **extra}.items()}

    def losses(self, batch: MixedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Runs the model on a batch; returns full-size logits, and ``loss`` with its parts."""
        images = batch.images.contiguous(memory_format=torch.channels_last)
        with autocast(self.config, self.device):
            output = self._passes(images)(images)
        hints: Sequence[Tensor] = ()
        if self.student is not self.model:
            output, hints = output
        size = (images.shape[2], images.shape[3])
        align = self.model.align_corners
        logits, posterior = (upsample(maps.float(), size, align) for maps in (output.logits, output.posterior))
        losses = objective(self.config, logits, posterior, batch.labels, batch.origin, batch.weights)
        if self.teacher is not None:
            seen = images if batch.plain is None else batch.plain.contiguous(memory_format=torch.channels_last)
            learnt = self._lessons(self.teacher, images)(seen)
            for name, weight, value in self._learnt(output, hints, learnt, batch):
                losses[name] = value
                losses["loss"] = losses["loss"] + weight * value
        return logits, losses

    def _learnt(
        self, output: HybridOutput, hints: Sequence[Tensor], learnt: Lesson, batch: MixedBatch
    ) -> Iterator[tuple[str, float, Tensor]]:
        """Yields name, weight and value of each loss towards the teacher."""
        settings = self.config.loss
        yield "distillation", settings.distillation, distillation_loss(output.logits, learnt.logits, batch.origin)
        if learnt.halves is not None:
            keenest = learnt.keenest if settings.keenest_on_outliers else None
            distance = score_loss(score_halves(output), learnt.halves, batch.origin, keenest, batch.weights)
            yield "score_distillation", settings.score_distillation, distance
        if hints:
            yield "hints", settings.hints, hint_loss(hints, learnt.features)

    def pictures(self, batch: MixedBatch, step: int) -> dict[str, Tensor]:
        """Returns the mixed images of a batch beside the score maps of the averaged model, and samples of the flow."""
        if self.partner is not None:
            batch = self.partner.paste(batch, step).mixed
        images = batch.images[:_PICTURES].detach()
        model = self.trained()
        was_training = model.training
        model.eval()
        with torch.inference_mode():
            output = model(images.contiguous(memory_format=torch.channels_last))
            size = (images.shape[2], images.shape[3])
            maps = (upsample(part, size, model.align_corners) for part in (output.logits, output.posterior))
            score = SCORES["hybrid"](*maps)
        model.train(was_training)
        found = {"mixed": sheet(torch.cat([images.cpu(), colored(score.cpu())]), len(images))}
        if self.partner is not None:
            generator = torch.Generator(self.device).manual_seed(0)
            with torch.no_grad():
                found["flow_samples"] = sheet(self.partner.flow.sample(16, (64, 64), generator).cpu(), 8)
        return found

    def state_dict(self) -> dict[str, Any]:
        """Returns what a resumed run needs."""
        return {
            "model": self.student.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "partner": self.partner.state_dict() if self.partner else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what ``state_dict`` returned."""
        self.student.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.partner is not None:
            self.partner.load_state_dict(state["partner"])

    def _passes(self, images: Tensor) -> Callable[..., Any]:
        """Returns the module to run: accelerated, and averaging gradients over processes; made once."""
        if self._forward is None:
            samples = (torch.zeros_like(images, memory_format=torch.channels_last),)
            precision = autocast(self.config, self.device)
            module = accelerate(self.student, self.config, self.device, samples, precision)
            # A captured network gives every parameter a gradient, be it zero.
            unused = not (uses_posterior(self.config) or self.config.cuda_graph)
            # Statistics of other processes count for nothing: those of rank 0 are what is averaged and saved.
            self._forward = self.processes.wrap(module, self.device, unused)
        return self._forward

    def _lessons(self, teacher: DenseHybrid, images: Tensor) -> Callable[[Tensor], Lesson]:
        """Returns what asks the teacher: captured, where the passes of the model are; made once."""
        if self._ask is None:
            loss = self.config.loss

            def ask(images: Tensor) -> Lesson:
                with autocast(self.config, self.device):
                    return lesson(teacher, images, loss.hints > 0, loss.teacher_scales, loss.score_distillation > 0)

            self._ask = replayed(ask, images) if self.config.cuda_graph else ask
        return self._ask

    def _frozen(self, teacher: DenseHybrid) -> DenseHybrid:
        frozen = teacher.to(self.device)
        return frozen.to(memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]
