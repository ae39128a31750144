# SPDX-License-Identifier: Apache-2.0
"""Training of a flow by maximum likelihood on crops, before it makes negatives (paper, section 5.3)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from densehybrid_ros.errors import InputError
from densehybrid_ros.networks.dense_flow import DenseFlow, dequantize
from densehybrid_ros.training.config import TrainConfig
from densehybrid_ros.training.distributed import ALONE, Processes
from densehybrid_ros.training.losses import flow_likelihood_loss, held_out_bits
from densehybrid_ros.training.mixed_content import MixedBatch
from densehybrid_ros.training.optimization import Task, accelerate
from densehybrid_ros.training.run_log import sheet

_SAMPLES = 64


class FlowTask(Task[DenseFlow]):
    """What one parameter update of a flow is. The flow runs in float32."""

    clip_norm = 50.0

    def __init__(
        self, config: TrainConfig, flow: DenseFlow, device: torch.device, processes: Processes = ALONE
    ) -> None:
        flow = flow.to(device)
        super().__init__(config, flow, [{"params": list(flow.parameters()), "factor": 1.0}], device, processes)
        self._forward: nn.Module = flow
        self._wrapped = False

    def prepare(self, shape: tuple[int, int, int, int]) -> None:
        """Switches to training, and captures the passes.

        The first batch initialises the flow afterwards, in the very tensors that a graph reads.
        """
        self.model.train()
        samples = (torch.zeros(shape, device=self.device), self.model.draw_noise(shape[0], (shape[2], shape[3])))
        self._forward, self._wrapped = accelerate(self.model, self.config, self.device, samples, nullcontext()), False

    def backward(self, step: int, batch: MixedBatch) -> dict[str, Tensor]:
        """Computes the gradients; returns the loss in bits a subpixel."""
        images, size = batch.images, _size(batch.images)
        if step == 0 and self.config.init == "random":
            generator = torch.Generator(self.device).manual_seed(self.config.seed)
            self.model.initialize(dequantize(images, generator), self.model.draw_noise(len(images), size, generator))
        if not self._wrapped:  # after the initialisation: DistributedDataParallel sends out what rank 0 then has
            self._forward, self._wrapped = self.processes.wrap(self._forward, self.device), True
        place = step * self.processes.count + self.processes.rank
        generator = torch.Generator(self.device).manual_seed(self.config.seed * 1_000_003 + place)
        noise = self.model.draw_noise(len(images), size, generator)
        loss = flow_likelihood_loss(self._forward, images, generator, noise)
        loss.backward()
        return {"loss": loss}

    def pictures(self, batch: MixedBatch, step: int) -> dict[str, Tensor]:
        """Returns a sheet of samples, always of the same latents, and a sheet of the crops that it learns from."""
        generator = torch.Generator(self.device).manual_seed(0)
        with torch.no_grad():
            samples = self.trained().sample(_SAMPLES, _size(batch.images), generator)
        return {"flow_samples": sheet(samples.cpu(), 8), "crops": sheet(batch.images[:_SAMPLES].cpu(), 8)}


@torch.no_grad()
def flow_figures(flow: DenseFlow, crops: Tensor) -> dict[str, float]:
    """Measures bits a subpixel of held-out crops, uint8 [N, 3, h, w] on the flow's device, and the inverse's error."""
    images = crops[:16].float() / 255
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # the error of float32, not that of TF32
        error = (flow.decode(flow.encode(images).latents) - images).abs().max()
    return {"bits_per_dimension": round(held_out_bits(flow, crops), 4), "inverse_error": float(error)}


def held_out_crops(frames: Sequence[Tensor], count: int, size: tuple[int, int]) -> Tensor:
    """Cuts ``count`` crops, uint8 [count, 3, h, w], from frames, uint8 [3, H, W], at places that are always the same.

    Raises:
        InputError: A frame is smaller than the crops.
    """
    rng = np.random.default_rng(0)
    crops = []
    for number in range(count):
        image = frames[number % len(frames)]
        if image.shape[1] < size[0] or image.shape[2] < size[1]:
            raise InputError(f"crops of {size[1]}x{size[0]}: larger than a frame of {image.shape[2]}x{image.shape[1]}")
        top, left = (int(rng.integers(image.shape[axis + 1] - size[axis] + 1)) for axis in (0, 1))
        crops.append(image[:, top : top + size[0], left : left + size[1]])
    return torch.stack(crops)


def _size(images: Tensor) -> tuple[int, int]:
    return images.shape[2], images.shape[3]
