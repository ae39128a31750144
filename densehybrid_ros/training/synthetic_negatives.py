"""Synthetic negatives from a jointly trained flow (paper, section 4.2).

A step: sample patches and paste them (``paste``), run the segmentation model, take the gradient of the divergence L_jsd
with respect to the patches alone (``divergence``), and let the flow learn from it and from the inlier patches that were
replaced (``backward``, ``update``).
The patches are cut off from the flow in between, so that the segmentation loss can't reach the flow; and the
gradient is taken with respect to them alone, so that L_jsd can't reach the segmentation model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from densehybrid_ros.datasets.taxonomy import VOID
from densehybrid_ros.networks.dense_flow import DenseFlow
from densehybrid_ros.training.config import FlowPartnerConfig
from densehybrid_ros.training.distributed import Processes
from densehybrid_ros.training.flow_losses import flow_likelihood_loss, jensen_shannon_loss
from densehybrid_ros.training.losses import OUTLIER
from densehybrid_ros.training.mixed_content import MixedBatch, is_sampled

_CLIP_NORM = 10.0
_SAMPLES_AT_ONCE = 16


class Group(NamedTuple):
    """Patches of one size.

    Attributes:
        generated: The flow's samples, [n, 3, h, w], with the graph that leads to the flow.
        leaf: The same values without it: what is pasted.
        replaced: The inlier patches in whose place they are, [n, 3, h, w].
    """

    generated: Tensor
    leaf: Tensor
    replaced: Tensor


class Pasted(NamedTuple):
    """A batch with samples of the flow in it.

    Attributes:
        mixed: The batch.
        groups: The samples.
        chosen: Numbers of the images that they lie in, int [n].
    """

    mixed: MixedBatch
    groups: list[Group]
    chosen: np.ndarray


class FlowPartner:
    """The flow beside the segmentation model: it makes the negatives and learns from what the model makes of them."""

    def __init__(
        self,
        flow: DenseFlow,
        config: FlowPartnerConfig,
        seed: int,
        device: torch.device,
        processes: Processes | None = None,
        share: float = 1.0,
    ) -> None:
        """Prepares flow and optimiser (Adamax).

        Args:
            flow: Pre-trained; trained in place.
            config: The flow's part of the configuration.
            seed: Of the run.
            device: Where it runs.
            processes: The processes of this run.
            share: Share of the crops that get a sample, ``is_sampled``; at least one of each part of a batch must.
        """
        self.config = config
        self.share = share
        self.device = device
        self.seed = seed
        self.processes = processes or Processes()
        self.flow = flow.to(device).train()
        # Several passes go before one backward pass; its only buffers are constants.
        self.forward: nn.Module = self.processes.wrap(self.flow, device) if config.train else self.flow
        self.optimizer = torch.optim.Adamax(self.flow.parameters(), lr=config.learning_rate)

    def paste(self, mixed: MixedBatch, step: int, part: int = 0) -> Pasted:
        """Replaces one random rectangle of each image that is the flow's by a sample of it.

        Args:
            mixed: Crops; those that are the flow's have no negatives.
            step: Number of the step; it and ``part`` decide all random numbers.
            part: Which part of the step's batch, over all processes.
        """
        rng = np.random.default_rng([self.seed, step, part, 0xF10])
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))
        images, labels, origin = list(mixed.images.unbind(0)), mixed.labels.clone(), mixed.origin.clone()
        plain = None if mixed.plain is None else mixed.plain.clone()
        chosen = self._chosen(len(images), part)
        groups = []
        for members in np.array_split(chosen, min(len(chosen), max(1, self.config.sizes_per_batch))):
            size = _draw_size(self.config, rng)
            latents = self.flow.draw_latents(len(members), size, generator)
            latents = [self.config.temperature * latent for latent in latents]
            with torch.set_grad_enabled(self.config.train):
                generated = self.forward(latents).nan_to_num(nan=0.5).clamp(0, 1)
            leaf = generated.detach().requires_grad_(self.config.train)
            replaced = []
            for patch, index in zip(leaf.unbind(0), members.tolist(), strict=True):
                top = int(rng.integers(labels.shape[1] - size[0] + 1))
                left = int(rng.integers(labels.shape[2] - size[1] + 1))
                window = (slice(top, top + size[0]), slice(left, left + size[1]))
                replaced.append(images[index][:, window[0], window[1]])
                images[index] = _pasted(images[index], patch, top, left)
                labels[index][window], origin[index][window] = VOID, OUTLIER
                if plain is not None:
                    plain[index, :, window[0], window[1]] = patch.detach()
            groups.append(Group(generated, leaf, torch.stack(replaced)))
        return Pasted(MixedBatch(torch.stack(images), labels, origin, mixed.weights, plain), groups, chosen)

    def _chosen(self, count: int, part: int) -> np.ndarray:
        return np.array([index for index in range(count) if is_sampled(part * count + index, self.share)])

    def divergence(self, logits: Tensor, pasted: Pasted, scale: float | Tensor = 1.0) -> tuple[Tensor, list[Tensor]]:
        """L_jsd and its gradient with respect to the pasted patches; the graph behind ``logits`` stays alive.

        Args:
            logits: [B, K, H, W] of the mixed images.
            pasted: What ``paste`` returned.
            scale: Loss scaling of float16 training, taken out of the gradients again.
        """
        origin = pasted.mixed.origin
        if len(pasted.chosen) < len(origin):  # in the others lie negatives that are not the flow's
            chosen = torch.from_numpy(pasted.chosen).to(self.device)
            logits, origin = logits[chosen], origin[chosen]
        loss = jensen_shannon_loss(logits, origin == OUTLIER)
        leaves = [group.leaf for group in pasted.groups]
        if not self.config.train:
            return loss.detach(), [torch.zeros_like(leaf) for leaf in leaves]
        gradients = torch.autograd.grad(loss * scale, leaves, retain_graph=True)
        finite = [torch.nan_to_num(gradient / scale, posinf=0.0, neginf=0.0) for gradient in gradients]
        return loss.detach(), finite

    def backward(self, pasted: Pasted, gradients: Sequence[Tensor], step: int, share: float = 1.0) -> Tensor:
        """Accumulates the gradient of L_mle + lambda L_jsd, equation (20), in the flow; returns L_mle in bits.

        Args:
            pasted: What ``paste`` returned.
            gradients: Of L_jsd, from ``divergence``.
            step: Number of the step.
            share: Weight of this part of a step's batch.
        """
        count = sum(len(group.leaf) for group in pasted.groups)
        generator = torch.Generator(self.device).manual_seed(self.seed + 1_000_003 * step + self.processes.rank)
        bits = torch.zeros((), device=self.device)
        attraction = torch.zeros((), device=self.device)
        with torch.set_grad_enabled(self.config.train):
            for group, gradient in zip(pasted.groups, gradients, strict=True):
                size = (group.replaced.shape[2], group.replaced.shape[3])
                noise = self.flow.draw_noise(len(group.replaced), size, generator)
                patches = group.replaced.detach().float()
                bits = bits + flow_likelihood_loss(self.forward, patches, generator, noise) * len(patches) / count
                attraction = attraction + (group.generated * gradient).sum()
        if self.config.train:
            (share * (bits + self.config.jsd_weight * attraction)).backward()
        return bits.detach()

    def update(self) -> None:
        """Lets the flow take its step, unless its gradient is not finite: one extreme sample must not ruin it."""
        if self.config.train:
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


@torch.inference_mode()
def sampled_cutouts(
    flow: DenseFlow, config: FlowPartnerConfig, count: int, seed: int, device: torch.device
) -> list[Tensor]:
    """Draws samples of a flow that does not learn, as cut-outs to be pasted beside others.

    Args:
        flow: Is moved to ``device``.
        config: Sizes and temperature.
        count: Number of cut-outs.
        seed: Of the run.
        device: Where they are computed.

    Returns:
        uint8 [4, h, w] on the CPU: red, green, blue and an alpha of 255, as ``datasets.negatives.load_cutouts`` gives.
    """
    rng = np.random.default_rng([seed, 0xF10])
    generator = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
    flow = flow.to(device).eval()
    found: list[Tensor] = []
    while len(found) < count:
        size = _draw_size(config, rng)
        samples = flow.sample(min(_SAMPLES_AT_ONCE, count - len(found)), size, generator, config.temperature)
        pixels = (255 * samples.nan_to_num(nan=0.5)).round().to(torch.uint8).cpu()
        found += torch.cat([pixels, torch.full_like(pixels[:, :1], 255)], 1).unbind(0)
    return found


def _draw_size(config: FlowPartnerConfig, rng: np.random.Generator) -> tuple[int, int]:
    smallest, largest = config.size
    steps = (largest - smallest) // config.size_step
    height, width = smallest + config.size_step * rng.integers(steps + 1, size=2)
    return int(height), int(width)


def _pasted(image: Tensor, patch: Tensor, top: int, left: int) -> Tensor:
    """(1 - m) x+ + pad(x-, m), equation (18), for a rectangle m."""
    below, right = image.shape[1] - top - patch.shape[1], image.shape[2] - left - patch.shape[2]
    border = (left, right, top, below)
    mask = functional.pad(torch.ones_like(patch[:1]), border)
    return image * (1 - mask) + functional.pad(patch, border)
