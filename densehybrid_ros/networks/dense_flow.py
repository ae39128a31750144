# SPDX-License-Identifier: Apache-2.0
"""DenseFlow (Grcić, Grubišić & Šegvić, NeurIPS 2021): a normalising flow of images with an exact inverse.

Blocks of units with noise appended between the units, for images of any size; it makes synthetic negatives (paper,
section 4.2). All of it runs in float32, also under autocast: rounding that differs between the two ways would break the
inverse.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from safetensors.torch import save
from torch import Tensor, nn

from densehybrid_ros.errors import InputError, first_line
from densehybrid_ros.files import write_together
from densehybrid_ros.networks.flow_layers import (
    ActNorm,
    Coupling,
    Mixing,
    NoiseAugmentation,
    normal_log_density,
    squeeze,
    unsqueeze,
)
from densehybrid_ros.networks.weights import check_digest, read_weights

_FORMAT = "densehybrid_ros-flow-1"
_LEVELS = 256


@dataclass(frozen=True)
class FlowConfig:
    """The shape of a DenseFlow. Its name L-k says L = sum of units x modules, k = ``noise_channels``.

    Attributes:
        units: Number of units in each of the three blocks.
        modules: Number of invertible modules (ActNorm, 1x1 convolution, coupling) in each unit of a block.
        noise_channels: k, channels of noise that are appended between two units of a block.
        width: Channels of the first convolution of a coupling network.
        growth: Channels that each of its dense layers adds.
        layers: Number of its dense layers.
    """

    units: tuple[int, ...]
    modules: tuple[int, ...]
    noise_channels: int
    width: int = 48
    growth: int = 24
    layers: int = 3

    @property
    def stride(self) -> int:
        """Images need sides that are multiples of this: every block halves them."""
        return 2 ** len(self.units)


FLOWS: dict[str, FlowConfig] = {
    "dense_flow_45_6": FlowConfig(units=(5, 3, 1), modules=(3, 5, 15), noise_channels=6),
    "dense_flow_25_6": FlowConfig(units=(3, 2, 1), modules=(3, 4, 8), noise_channels=6),
    "dense_flow_tiny": FlowConfig(units=(2, 1, 1), modules=(1, 1, 2), noise_channels=2, width=8, growth=8, layers=1),
}
"""Name in a configuration -> shape. The paper names 45-6; 25-6 is the smaller one of the authors' later work, tiny is
for tests and CPUs. Widths of the coupling networks are this project's choice: the paper gives none."""


class Encoding(NamedTuple):
    """What the flow makes of images.

    Attributes:
        latents: What is dropped after each block but the last, then the last block's output; standard normal under
            the model. Together with the noise they are a bijection of the image.
        log_determinant: ln|det d latents / d (image, noise)|, [B].
        noise: The noise that was appended.
    """

    latents: list[Tensor]
    log_determinant: Tensor
    noise: list[Tensor]


class DenseFlow(nn.Module):
    """A normalising flow of RGB images whose sides are multiples of ``config.stride`` (8 for three blocks).

    Images are float32 in 0..1 (dequantised, see ``dequantize``). Because of the appended noise the log-likelihood is
    exact for (image, noise) and, with the noise's own density subtracted, a one-sample estimate of a lower bound for
    the image, as in the DenseFlow paper.
    """

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        blocks = []
        channels, last = 3, len(config.units) - 1
        for index, (units, modules) in enumerate(zip(config.units, config.modules, strict=True)):
            block = Block(4 * channels, units, modules, config)
            blocks.append(block)
            channels = block.outputs if index == last else block.outputs - block.outputs // 2
        self.blocks: Sequence[Block] = nn.ModuleList(blocks)  # type: ignore[assignment]
        # The base distribution has a mean and a deviation a channel and none a place, so that it fits any size.
        self.base = ActNorm(channels)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, values: Tensor | Sequence[Tensor], noise: Sequence[Tensor] | None = None) -> Tensor:
        """Images to their log-likelihood [B] in nats; or latents, as a list, to images [B, 3, H, W].

        One method for both ways, because DistributedDataParallel knows no other.
        """
        if isinstance(values, Tensor):
            return self.log_likelihood(values, noise)
        return self.decode(values)

    def log_likelihood(self, images: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Returns ln p(image) in nats of dequantised images, float32 [B, 3, H, W] in 0..1: [B]."""
        encoding = self.encode(images, noise)
        latent = torch.stack([normal_log_density(part) for part in encoding.latents]).sum(0)
        appended = sum((normal_log_density(part) for part in encoding.noise), torch.zeros_like(latent))
        return latent + encoding.log_determinant - appended

    def encode(self, images: Tensor, noise: Sequence[Tensor] | None = None, initialize: bool = False) -> Encoding:
        """Maps images to latents.

        Args:
            images: float32 [B, 3, H, W] in 0..1.
            noise: See ``draw_noise``; None: it is drawn.
            initialize: See ``initialize``.

        Raises:
            InputError: A side is no multiple of the stride.
        """
        size = (images.shape[2], images.shape[3])
        self._check(size)
        appended = list(self.draw_noise(len(images), size) if noise is None else noise)
        waiting = iter(appended)
        with torch.autocast(images.device.type, enabled=False):
            values = images.float() - 0.5 if images.dtype != torch.float64 else images - 0.5
            total = values.new_zeros(len(values))
            latents = []
            for index, block in enumerate(self.blocks):
                values, change = block(squeeze(values), waiting, initialize)
                total = total + change
                if index < len(self.blocks) - 1:
                    values, dropped = values.chunk(2, dim=1)
                    latents.append(dropped)
            if initialize:
                self.base.initialize(values)
            values, change = self.base(values)
        return Encoding([*latents, values], total + change, appended)

    @torch.no_grad()
    def initialize(self, images: Tensor, noise: Sequence[Tensor] | None = None) -> None:
        """Sets every ActNorm from a batch of images, which training does once before its first step."""
        self.encode(images, noise, initialize=True)

    def decode(self, latents: Sequence[Tensor]) -> Tensor:
        """Maps latents back to images, [B, 3, H, W], with gradients. Values may lie outside 0..1."""
        with torch.autocast(latents[0].device.type, enabled=False):
            values = self.base.inverse(latents[-1].contiguous(memory_format=torch.channels_last))
            for block, dropped in zip(reversed(self.blocks), [None, *reversed(latents[:-1])], strict=True):
                joined = values if dropped is None else torch.cat([values, dropped], dim=1)
                values = unsqueeze(block.inverse(joined.contiguous(memory_format=torch.channels_last)))
            return values + 0.5

    def sample(self, count: int, size: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
        """Draws images, float32 [count, 3, height, width] in 0..1, with gradients where they are enabled.

        Sides are multiples of the stride; the generator is on the flow's device.
        """
        return self.decode(self.draw_latents(count, size, generator)).clamp(0, 1)

    def draw_latents(self, count: int, size: tuple[int, int], generator: torch.Generator | None = None) -> list[Tensor]:
        """Draws standard normal latents for ``decode``."""
        last = len(self.blocks) - 1
        channels = [block.outputs if index == last else block.outputs // 2 for index, block in enumerate(self.blocks)]
        return self._normals(list(enumerate(channels)), count, size, generator)

    def draw_noise(self, count: int, size: tuple[int, int], generator: torch.Generator | None = None) -> list[Tensor]:
        """Draws the noise that ``encode`` appends."""
        channels = [(index, part.channels) for index, block in enumerate(self.blocks) for part in block.augmentations]
        return self._normals(channels, count, size, generator)

    def _check(self, size: tuple[int, int]) -> None:
        stride = self.config.stride
        if min(size) < stride or size[0] % stride or size[1] % stride:
            raise InputError(f"an image of {size[1]}x{size[0]}: the flow needs sides that are multiples of {stride}")

    def _normals(
        self, channels: Sequence[tuple[int, int]], count: int, size: tuple[int, int], generator: torch.Generator | None
    ) -> list[Tensor]:
        """Draws tensors of (number of a block, channels) at the resolution of the block."""
        self._check(size)
        like = self.base.shift
        return [
            torch.randn(
                (count, wide, size[0] // 2 ** (block + 1), size[1] // 2 ** (block + 1)),
                generator=generator,
                device=like.device,
                dtype=like.dtype,
            )
            for block, wide in channels
        ]


class Block(nn.Module):
    """Units at one resolution, with noise appended between them."""

    def __init__(self, channels: int, units: int, modules: int, config: FlowConfig) -> None:
        super().__init__()
        shape = (config.width, config.growth, config.layers)
        unit_list, augmentations = [], []
        context = 0
        for index in range(units):
            steps: list[nn.Module] = []
            for _ in range(modules):
                steps += [ActNorm(channels), Mixing(channels), Coupling(channels, *shape)]
            unit_list.append(nn.ModuleList(steps))
            context += channels
            if index < units - 1:
                augmentations.append(NoiseAugmentation(context, config.noise_channels, *shape))
                channels += config.noise_channels
        self.units: Sequence[Sequence[Any]] = nn.ModuleList(unit_list)  # type: ignore[assignment]
        self.augmentations: Sequence[NoiseAugmentation] = nn.ModuleList(augmentations)  # type: ignore[assignment]
        self.outputs = channels

    def forward(self, values: Tensor, noise: Iterator[Tensor], initialize: bool = False) -> tuple[Tensor, Tensor]:
        """Maps [B, C, h, w]; returns it with the log-determinant [B].

        Args:
            values: Input of the first unit.
            noise: Iterator over the noise tensors of this block and those after it.
            initialize: Set every ActNorm from what reaches it.
        """
        total = values.new_zeros(len(values))
        inputs: list[Tensor] = []
        for index, unit in enumerate(self.units):
            inputs.append(values)
            for step in unit:
                if initialize and isinstance(step, ActNorm):
                    step.initialize(values)
                values, change = step(values)
                total = total + change
            if index < len(self.augmentations):
                eta = next(noise)
                values, change = self.augmentations[index](values, torch.cat(inputs, dim=1), eta)
                total = total + change
        return values, total

    def inverse(self, values: Tensor) -> Tensor:
        """Undoes ``forward``; the appended channels are dropped."""
        for index in reversed(range(len(self.units))):
            if index < len(self.augmentations):
                values = self.augmentations[index].inverse(values)
            for step in reversed(self.units[index]):
                values = step.inverse(values)
        return values


def dequantize(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Spreads 8-bit values evenly over their interval: (value + u) / 256 with u ~ U[0, 1), float32 in 0..1.

    Images are uint8, or float in 0..1, which is rounded to 8 bits first.
    """
    values = images.float() if images.dtype == torch.uint8 else (images.float() * (_LEVELS - 1)).round()
    spread = torch.rand(values.shape, generator=generator, device=values.device)
    return ((values + spread) / _LEVELS).clamp(max=1 - 1e-7)


@dataclass
class LoadedFlow:
    """A flow in evaluation mode, float32, with the key of ``FLOWS`` and the card (data, terms, training, figures)."""

    flow: DenseFlow
    architecture: str
    details: dict[str, Any]


def save_flow(path: Path, flow: DenseFlow, architecture: str, details: dict[str, Any]) -> None:
    """Writes weights (float32: the inverse needs them exact) and card beside each other, both or neither."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in flow.state_dict().items()}
    weights = save(tensors, {"format": _FORMAT, "architecture": architecture})
    digest = hashlib.sha256(weights).hexdigest()
    card = {"name": path.stem, "architecture": architecture, "sha256": digest, **details}
    text = yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=100)
    write_together({path: weights, path.with_suffix(".yaml"): text.encode()})


def load_flow(path: str | Path) -> LoadedFlow:
    """Loads a flow on the CPU.

    Raises:
        InputError: The file is missing or damaged, is no flow, or does not fit its architecture.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"flow {path}: no such file; `densehybrid train` with a flow configuration makes one")
    metadata, tensors = read_weights(path)
    architecture = metadata.get("architecture", "")
    if metadata.get("format") != _FORMAT or architecture not in FLOWS:
        raise InputError(f"{path}: not a flow of densehybrid_ros (format {metadata.get('format')!r}, {architecture!r})")
    flow = DenseFlow(FLOWS[architecture])
    try:
        flow.load_state_dict(tensors)
    except RuntimeError as error:
        fault = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: does not fit {architecture}: {fault}") from error
    card = path.with_suffix(".yaml")
    try:
        details = (yaml.safe_load(card.read_text(encoding="utf-8")) if card.is_file() else None) or {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{card}: not valid YAML ({first_line(error)})") from error
    if not isinstance(details, dict):
        raise InputError(f"{card}: must be a YAML mapping")
    check_digest(path, details.get("sha256"))
    return LoadedFlow(flow.eval(), architecture, details)
