# SPDX-License-Identifier: Apache-2.0
"""Synthetic negatives from a jointly trained flow (paper, section 4.2).

A step: sample patches and paste them (``paste``), run the segmentation model, take the gradient of the divergence L_jsd
with respect to the patches alone (``divergence``), and let the flow learn from it and from the inlier patches that were
replaced (``backward``, ``update``). The patches are cut off from the flow in between, so that the segmentation loss
can't reach the flow; and the gradient is taken with respect to them alone, so that L_jsd can't reach the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from densehybrid_ros.datasets.taxonomy import VOID
from densehybrid_ros.networks.dense_flow import DenseFlow
from densehybrid_ros.training.config import SMALLEST_PATCH
from densehybrid_ros.training.distributed import ALONE, Processes
from densehybrid_ros.training.losses import OUTLIER, flow_likelihood_loss, jensen_shannon_loss
from densehybrid_ros.training.mixed_content import MixedBatch

_CLIP_NORM = 10.0
_SIZE_STEP = 8  # sides of patches are multiples of it
_LARGEST_PATCH = 216


def largest_patch(height: int, width: int) -> int:
    """Returns the largest side of patches for crops of a size: the paper's, or what fits."""
    return min(_LARGEST_PATCH, min(height, width) // _SIZE_STEP * _SIZE_STEP)


class Pasted(NamedTuple):
    """A batch with a sample of the flow in each image, all of one size."""

    mixed: MixedBatch  # The batch
    generated: Tensor  # The flow's samples, [n, 3, h, w], with the graph that leads to the flow
    leaf: Tensor  # The same values without it: what is pasted
    replaced: Tensor  # The inlier patches in whose place they are, [n, 3, h, w]


@dataclass(eq=False)
class FlowPartner:
    """The flow beside the segmentation model: it makes the negatives and learns from what the model makes of them.

    Height and width of patches are drawn independently, once for all patches of a batch.
    """

    flow: DenseFlow  # Pre-trained; trained in place by Adamax
    seed: int  # Of the run
    device: torch.device  # Where it runs
    processes: Processes = ALONE  # Of this run
    largest: int = _LARGEST_PATCH  # Largest side of a patch in pixels; it, and the smallest of 16, are multiples of 8
    learning_rate: float = 1e-5  # Of Adamax
    jsd_weight: float = 0.03  # lambda of equation (20)

    def __post_init__(self) -> None:
        self.flow.to(self.device).train()
        # Several passes go before one backward pass; its only buffers are constants.
        self.forward: nn.Module = self.processes.wrap(self.flow, self.device)
        self.optimizer = torch.optim.Adamax(self.flow.parameters(), lr=self.learning_rate)

    def paste(self, mixed: MixedBatch, step: int) -> Pasted:
        """Replaces one random rectangle of each image by a sample of the flow; step and process decide all draws."""
        rng = np.random.default_rng([self.seed, step, self.processes.rank, 0xF10])
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))
        images, labels, origin = list(mixed.images.unbind(0)), mixed.labels.clone(), mixed.origin.clone()
        steps = rng.integers((self.largest - SMALLEST_PATCH) // _SIZE_STEP + 1, size=2)
        height, width = (SMALLEST_PATCH + _SIZE_STEP * steps).tolist()
        latents = self.flow.draw_latents(len(images), (height, width), generator)
        generated = self.forward(latents).nan_to_num(nan=0.5).clamp(0, 1)
        leaf = generated.detach().requires_grad_(True)
        replaced = []
        for index, patch in enumerate(leaf.unbind(0)):
            top = int(rng.integers(labels.shape[1] - height + 1))
            left = int(rng.integers(labels.shape[2] - width + 1))
            window = (..., slice(top, top + height), slice(left, left + width))
            replaced.append(images[index][window])
            images[index] = _pasted(images[index], patch, top, left)
            labels[index][window], origin[index][window] = VOID, OUTLIER
        pasted = MixedBatch(torch.stack(images), labels, origin, mixed.weights)
        return Pasted(pasted, generated, leaf, torch.stack(replaced))

    def divergence(self, logits: Tensor, pasted: Pasted) -> tuple[Tensor, Tensor]:
        """L_jsd and its gradient with respect to the pasted patches; the graph behind ``logits`` stays alive."""
        loss = jensen_shannon_loss(logits, pasted.mixed.origin == OUTLIER)
        (gradient,) = torch.autograd.grad(loss, pasted.leaf, retain_graph=True)
        return loss.detach(), torch.nan_to_num(gradient, posinf=0.0, neginf=0.0)

    def backward(self, pasted: Pasted, gradient: Tensor, step: int) -> Tensor:
        """Computes the gradient of L_mle + lambda L_jsd, equation (20), in the flow; returns L_mle in bits."""
        generator = torch.Generator(self.device).manual_seed(self.seed + 1_000_003 * step + self.processes.rank)
        patches = pasted.replaced.detach().float()
        noise = self.flow.draw_noise(len(patches), (patches.shape[2], patches.shape[3]), generator)
        bits = flow_likelihood_loss(self.forward, patches, generator, noise)
        attraction = (pasted.generated * gradient).sum()
        (bits + self.jsd_weight * attraction).backward()
        return bits.detach()

    def update(self) -> None:
        """Lets the flow take its step, unless its gradient is not finite: one extreme sample must not ruin it."""
        norm = nn.utils.clip_grad_norm_(self.flow.parameters(), _CLIP_NORM)
        if bool(norm.isfinite()):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Returns what a resumed run needs."""
        return {"flow": self.flow.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what ``state_dict`` returned."""
        self.flow.load_state_dict(state["flow"])
        self.optimizer.load_state_dict(state["optimizer"])


def _pasted(image: Tensor, patch: Tensor, top: int, left: int) -> Tensor:
    """(1 - m) x+ + pad(x-, m), equation (18), for a rectangle m."""
    below, right = image.shape[1] - top - patch.shape[1], image.shape[2] - left - patch.shape[2]
    border = (left, right, top, below)
    mask = functional.pad(torch.ones_like(patch[:1]), border)
    return image * (1 - mask) + functional.pad(patch, border)
