# SPDX-License-Identifier: Apache-2.0
"""Density of features by a point-wise normalising flow (last rows of the paper's table 5)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from densehybrid_ros.errors import InputError
from densehybrid_ros.scores.hybrid import posterior
from densehybrid_ros.scores.model_score import (
    ModelScore,
    Observation,
    TrainingPixels,
    classifier_features,
    per_pixel,
)

_FEWEST = 256
_CHUNK = 1 << 16
_DEVIATION_FLOOR = 1e-3


class _Coupling(nn.Module):
    """Affine coupling: half of the values, unchanged, gives scale and shift of the other half."""

    def __init__(self, channels: int, hidden: int, swap: bool) -> None:
        super().__init__()
        self._swap = swap
        self._first = channels // 2
        inputs, outputs = (channels - self._first, self._first) if swap else (self._first, channels - self._first)
        self.net = nn.Sequential(
            nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 2 * outputs)
        )
        nn.init.zeros_(self.net[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.net[-1].bias)  # type: ignore[arg-type]

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Maps [N, C] to [N, C] and the log-determinant [N]."""
        first, second = values[:, : self._first], values[:, self._first :]
        kept, changed = (second, first) if self._swap else (first, second)
        raw, shift = self.net(kept).chunk(2, dim=1)
        log_scale = 2 * torch.tanh(raw / 2)
        changed = changed * log_scale.exp() + shift
        return torch.cat((changed, kept) if self._swap else (kept, changed), dim=1), log_scale.sum(dim=1)


class PointwiseFlow(nn.Module):
    """A flow on vectors: couplings that alternate between the halves, after standardisation.

    Args:
        channels: C.
        layers: Number of couplings.
        hidden: Width of the couplings' networks.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int, layers: int = 8, hidden: int = 128) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))
        self.couplings = nn.ModuleList(_Coupling(channels, hidden, swap=index % 2 == 1) for index in range(layers))

    def log_density(self, values: Tensor) -> Tensor:
        """Log-density of float32 [N, C], [N]."""
        values = (values - self.mean) / self.deviation
        total = -self.deviation.log().sum() - 0.5 * values.shape[1] * math.log(2 * math.pi)
        determinant = torch.zeros(len(values), device=values.device)
        for coupling in self.couplings:
            values, change = coupling(values)
            determinant = determinant + change
        return total + determinant - 0.5 * (values**2).sum(dim=1)


class FlowDensity(ModelScore):
    """-ln p(z) of the classifier's features z under a flow trained on inlier pixels.

    Args:
        steps: Training steps.
        batch: Pixels a step.
        rate: Learning rate (Adam).
        noise: Deviation of the noise added in training, as a share of each feature's. ReLU leaves exact zeros, on
            which a density would grow without bound.
        seed: Of initial weights, batches and noise.
        hybrid: Add ln P(d_out|x), as the table's last row does.
    """

    needs_fit = True

    def __init__(
        self,
        steps: int = 2000,
        batch: int = 2048,
        rate: float = 1e-3,
        noise: float = 0.05,
        seed: int = 0,
        hybrid: bool = False,
    ) -> None:
        self._steps, self._batch, self._rate = steps, batch, rate
        self._noise, self._seed, self._hybrid = noise, seed, hybrid
        self.flow: PointwiseFlow | None = None

    def fit(self, pixels: TrainingPixels) -> None:
        """Trains the flow by maximum likelihood."""
        if len(pixels.features) < _FEWEST:
            raise InputError(f"flow: {len(pixels.features)} training pixels are too few; at least {_FEWEST} are needed")
        devices = [pixels.features.device] if pixels.features.is_cuda else []
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(self._seed)
            features = pixels.features.detach().clone()  # an ordinary tensor, also where it came from inference mode
            flow = PointwiseFlow(features.shape[1]).to(features.device)
            flow.mean.copy_(features.mean(dim=0))
            flow.deviation.copy_(features.std(dim=0).clamp(min=_DEVIATION_FLOOR))
            optimizer = torch.optim.Adam(flow.parameters(), lr=self._rate)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self._steps)
            for _ in range(self._steps):
                chosen = torch.randint(len(features), (self._batch,)).to(features.device)
                noise = self._noise * flow.deviation * torch.randn(self._batch, features.shape[1]).to(features.device)
                loss = -flow.log_density(features[chosen] + noise).mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(flow.parameters(), 10.0)
                optimizer.step()
                schedule.step()
        self.flow = flow.eval()

    def __call__(self, seen: Observation) -> Tensor:
        """Returns the score, [B, h, w]."""
        if self.flow is None:
            raise InputError("flow: must be fitted on training frames first")
        features, shape = per_pixel(classifier_features(seen.model, seen.prelogits))
        flow = self.flow.to(features.device)
        with torch.no_grad():
            score = -torch.cat([flow.log_density(part) for part in features.split(_CHUNK)]).view(shape)
        if self._hybrid:
            score = score + posterior(None, seen.posterior)
        return score
