# SPDX-License-Identifier: Apache-2.0
"""DenseFlow (Grcić, Grubišić & Šegvić, NeurIPS 2021): blocks of units, noise appended between units, any image size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from densehybrid_ros.errors import InputError
from densehybrid_ros.networks.dense_flow.config import FlowConfig
from densehybrid_ros.networks.dense_flow.layers import (
    ActNorm,
    Coupling,
    Mixing,
    NoiseAugmentation,
    normal_log_density,
    squeeze,
    unsqueeze,
)

_LEVELS = 256


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

    def __init__(self, config: FlowConfig, image_channels: int = 3) -> None:
        super().__init__()
        self.config = config
        self.image_channels = image_channels
        blocks = []
        channels, last = image_channels, len(config.units) - 1
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

    def bits_per_dimension(self, images: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """-log2 of the probability of 8-bit images per subpixel, [B]; ``images`` as ``log_likelihood``."""
        return bits_per_dimension(self.log_likelihood(images, noise), images[0].numel())

    def encode(self, images: Tensor, noise: Sequence[Tensor] | None = None) -> Encoding:
        """Maps images to latents.

        Args:
            images: float32 [B, 3, H, W] in 0..1.
            noise: Standard normal tensors of ``noise_shapes``; drawn where None.

        Raises:
            InputError: A side is no multiple of the stride.
        """
        return self._encode(images, noise, initialize=False)

    @torch.no_grad()
    def initialize(self, images: Tensor, noise: Sequence[Tensor] | None = None) -> None:
        """Sets every ActNorm from a batch of images, which training does once before its first step."""
        self._encode(images, noise, initialize=True)

    def decode(self, latents: Sequence[Tensor]) -> Tensor:
        """Maps latents back to images, [B, 3, H, W], with gradients. Values may lie outside 0..1."""
        with torch.autocast(latents[0].device.type, enabled=False):
            values = self.base.inverse(latents[-1].contiguous(memory_format=torch.channels_last))
            for block, dropped in zip(reversed(self.blocks), [None, *reversed(latents[:-1])], strict=True):
                joined = values if dropped is None else torch.cat([values, dropped], dim=1)
                values = unsqueeze(block.inverse(joined.contiguous(memory_format=torch.channels_last)))
            return values + 0.5

    def sample(
        self, count: int, size: tuple[int, int], generator: torch.Generator | None = None, temperature: float = 1.0
    ) -> Tensor:
        """Draws images, float32 [count, 3, height, width] in 0..1, with gradients where they are enabled.

        Args:
            count: Number of images.
            size: (height, width), multiples of the stride.
            generator: Source of the random numbers, on the flow's device.
            temperature: Deviation of the latents; 1 draws from the model.
        """
        latents = [temperature * part for part in self.draw_latents(count, size, generator)]
        return self.decode(latents).clamp(0, 1)

    def draw_latents(self, count: int, size: tuple[int, int], generator: torch.Generator | None = None) -> list[Tensor]:
        """Draws standard normal latents for ``decode``."""
        self._check(size)
        return self._normals(self.latent_shapes(size), count, generator)

    def draw_noise(self, count: int, size: tuple[int, int], generator: torch.Generator | None = None) -> list[Tensor]:
        """Draws the noise that ``encode`` appends."""
        self._check(size)
        return self._normals(self.noise_shapes(size), count, generator)

    def latent_shapes(self, size: tuple[int, int]) -> list[tuple[int, int, int]]:
        """Channels, rows and columns of each latent of an image of ``size``."""
        shapes = []
        for index, block in enumerate(self.blocks):
            rows, columns = size[0] // 2 ** (index + 1), size[1] // 2 ** (index + 1)
            is_last = index == len(self.blocks) - 1
            shapes.append((block.outputs if is_last else block.outputs // 2, rows, columns))
        return shapes

    def noise_shapes(self, size: tuple[int, int]) -> list[tuple[int, int, int]]:
        """Channels, rows and columns of each noise tensor for an image of ``size``."""
        return [
            (augmentation.channels, size[0] // 2 ** (index + 1), size[1] // 2 ** (index + 1))
            for index, block in enumerate(self.blocks)
            for augmentation in block.augmentations
        ]

    def _encode(self, images: Tensor, noise: Sequence[Tensor] | None, initialize: bool) -> Encoding:
        size = (images.shape[2], images.shape[3])
        self._check(size)
        # Without noise of its own, each call draws it; the caller's generator decides through ``draw_noise``.
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
                    half = values.shape[1] - values.shape[1] // 2
                    latents.append(values[:, half:])
                    values = values[:, :half]
            if initialize:
                self.base.initialize(values)
            values, change = self.base(values)
        return Encoding([*latents, values], total + change, appended)

    def _check(self, size: tuple[int, int]) -> None:
        stride = self.config.stride
        if min(size) < stride or size[0] % stride or size[1] % stride:
            raise InputError(f"an image of {size[1]}x{size[0]}: the flow needs sides that are multiples of {stride}")

    def _normals(
        self, shapes: Sequence[tuple[int, int, int]], count: int, generator: torch.Generator | None
    ) -> list[Tensor]:
        like = self.base.shift
        return [
            torch.randn((count, *shape), generator=generator, device=like.device, dtype=like.dtype) for shape in shapes
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


def bits_per_dimension(log_likelihood: Tensor, dimensions: int) -> Tensor:
    """Turns ln p of images in 0..1 into bits per subpixel of the 8-bit image that they stand for."""
    return math.log2(_LEVELS) - log_likelihood / (dimensions * math.log(2))


def dequantize(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Spreads 8-bit values evenly over their interval: (value + u) / 256 with u ~ U[0, 1).

    Args:
        images: uint8, or float in 0..1, which is rounded to 8 bits first.
        generator: Source of u, on the images' device.

    Returns:
        float32 in 0..1.
    """
    values = images.float() if images.dtype == torch.uint8 else (images.float() * (_LEVELS - 1)).round()
    spread = torch.rand(values.shape, generator=generator, device=values.device)
    return ((values + spread) / _LEVELS).clamp(max=1 - 1e-7)
