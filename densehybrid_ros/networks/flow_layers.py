# SPDX-License-Identifier: Apache-2.0
"""Invertible layers of DenseFlow: each maps ``values`` [B, C, h, w] to (values, log-determinant [B]) and back."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_DEVIATION_FLOOR = 1e-4


class ActNorm(nn.Module):
    """Scale and shift a channel; they make the first batch's channels zero-mean and unit-variance (Glow)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    @torch.no_grad()
    def initialize(self, values: Tensor) -> None:
        """Sets scale and shift from a batch [B, C, h, w]."""
        deviation, mean = torch.std_mean(values, dim=(0, 2, 3), correction=0)
        scale = -(deviation + _DEVIATION_FLOOR).log()
        self.log_scale.copy_(scale)
        self.shift.copy_(-mean * scale.exp())

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Maps [B, C, h, w]; returns it with the log-determinant [B]."""
        change = self.log_scale.sum() * (values.shape[2] * values.shape[3])
        return values * _maps(self.log_scale.exp()) + _maps(self.shift), change.expand(len(values))

    def inverse(self, values: Tensor) -> Tensor:
        """Undoes ``forward``."""
        return (values - _maps(self.shift)) * _maps((-self.log_scale).exp())


class Mixing(nn.Module):
    """An invertible 1x1 convolution, W = P L (U + diag s), so that ln|det W| = sum ln|s| (Glow, equation 10)."""

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        weight = torch.linalg.qr(torch.randn(channels, channels))[0]
        permutation, lower, upper = torch.linalg.lu(weight)
        diagonal = upper.diagonal()
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))
        self.log_diagonal = nn.Parameter(diagonal.abs().log())
        self.register_buffer("permutation", permutation)
        self.register_buffer("sign", diagonal.sign())

    def _triangles(self) -> tuple[Tensor, Tensor]:
        lower = self.lower.tril(-1) + torch.eye(len(self.sign), device=self.sign.device, dtype=self.sign.dtype)
        return lower, self.upper.triu(1) + torch.diag(self.sign * self.log_diagonal.exp())

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Maps [B, C, h, w]; returns it with the log-determinant [B]."""
        lower, upper = self._triangles()
        change = self.log_diagonal.sum() * (values.shape[2] * values.shape[3])
        return _mix(self.permutation @ lower @ upper, values), change.expand(len(values))

    def inverse(self, values: Tensor) -> Tensor:
        """Undoes ``forward``, with gradients."""
        lower, upper = self._triangles()
        half = torch.linalg.solve_triangular(lower, self.permutation.mT, upper=False, unitriangular=True)
        return _mix(torch.linalg.solve_triangular(upper, half, upper=True), values)


class Coupling(nn.Module):
    """Affine coupling: half of the channels, unchanged, gives log-scale 2 tanh(s/2) and shift of the other half.

    The halves change places afterwards, so that the next coupling changes the other one.
    """

    def __init__(self, channels: int, width: int, growth: int, layers: int) -> None:
        super().__init__()
        self.kept = channels // 2
        self.changed = channels - self.kept
        self.network = DenseBlock(self.kept, 2 * self.changed, width, growth, layers)

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Maps [B, C, h, w]; returns it with the log-determinant [B]."""
        kept, changed = values.split((self.kept, self.changed), dim=1)
        log_scale, shift = self._terms(kept)
        return torch.cat([changed * log_scale.exp() + shift, kept], dim=1), log_scale.flatten(1).sum(1)

    def inverse(self, values: Tensor) -> Tensor:
        """Undoes ``forward``, with gradients."""
        changed, kept = values.split((self.changed, self.kept), dim=1)
        log_scale, shift = self._terms(kept)
        return torch.cat([kept, (changed - shift) * (-log_scale).exp()], dim=1)

    def _terms(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = self.network(kept).chunk(2, dim=1)
        return 2 * torch.tanh(raw / 2), shift


class NoiseAugmentation(nn.Module):
    """Appends channels mu + exp(sigma) eta, eta ~ N(0, I), with mu and sigma from what went before.

    Its log-determinant with respect to eta is the sum of sigma; -ln N(eta) belongs to the likelihood as well.
    """

    def __init__(self, inputs: int, channels: int, width: int, growth: int, layers: int) -> None:
        super().__init__()
        self.channels = channels
        self.network = DenseBlock(inputs, 2 * channels, width, growth, layers)

    def forward(self, values: Tensor, context: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Maps [B, C, h, w] and noise [B, k, h, w] to [B, C + k, h, w] and the log-determinant [B].

        Args:
            values: What is extended.
            context: The inputs of the units so far, [B, inputs, h, w].
            noise: eta, standard normal.
        """
        mean, raw = self.network(context).chunk(2, dim=1)
        log_scale = 2 * torch.tanh(raw / 2)
        noise = noise.contiguous(memory_format=torch.channels_last)  # as the rest is, see ``squeeze``
        return torch.cat([values, mean + log_scale.exp() * noise], dim=1), log_scale.flatten(1).sum(1)

    def inverse(self, values: Tensor) -> Tensor:
        """Drops the appended channels."""
        return values[:, : -self.channels]


class DenseBlock(nn.Module):
    """The network inside a coupling: a convolution, densely connected layers, and an output that starts at zero."""

    def __init__(self, inputs: int, outputs: int, width: int, growth: int, layers: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(inputs, width, kernel_size=3, padding=1)
        self.layers = nn.ModuleList(
            nn.Conv2d(width + index * growth, growth, kernel_size=3, padding=1) for index in range(layers)
        )
        self.head = nn.Conv2d(width + layers * growth, outputs, kernel_size=1)
        nn.init.zeros_(self.head.weight)
        if self.head.bias is not None:
            nn.init.zeros_(self.head.bias)

    def forward(self, values: Tensor) -> Tensor:
        """Maps [B, inputs, h, w] to [B, outputs, h, w]."""
        features = functional.silu(self.stem(values))
        for layer in self.layers:
            features = torch.cat([features, functional.silu(layer(features))], dim=1)
        return self.head(features)


def squeeze(values: Tensor) -> Tensor:
    """Moves 2x2 neighbourhoods into channels: [B, C, 2h, 2w] to [B, 4C, h, w], channels last in memory."""
    # Everything up to the next squeeze keeps this order, in which a GPU's convolutions and ``_mix`` copy nothing.
    return functional.pixel_unshuffle(values, 2).contiguous(memory_format=torch.channels_last)


def unsqueeze(values: Tensor) -> Tensor:
    """Undoes ``squeeze``."""
    return functional.pixel_shuffle(values, 2)


def normal_log_density(values: Tensor) -> Tensor:
    """Returns ln N(values; 0, I), summed an image: [B, ...] to [B]."""
    return -0.5 * (values.square() + math.log(2 * math.pi)).flatten(1).sum(1)


def _maps(vector: Tensor) -> Tensor:
    return vector.view(1, -1, 1, 1)


def _mix(weight: Tensor, values: Tensor) -> Tensor:
    # A matrix product, not conv2d: on a GPU cuDNN rounds convolutions to TF32, and W with it.
    return functional.linear(values.permute(0, 2, 3, 1), weight).permute(0, 3, 1, 2)
