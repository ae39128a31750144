# SPDX-License-Identifier: Apache-2.0
"""Densities of the classifier's features, fitted to training pixels: Gaussians, their mixture, a point-wise flow."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from densehybrid_ros.inference.look import Observation
from densehybrid_ros.research.model_score import Score, TrainingPixels, of_features
from densehybrid_ros.scores import posterior

_RIDGE = 1e-4
_CHUNK = 1 << 16
_FEWEST = 256  # pixels that a flow is trained on
_DEVIATION_FLOOR = 1e-3


def gaussian_discriminant(pixels: TrainingPixels) -> Score:
    """Squared smallest Mahalanobis distance to a class mean under one covariance of all classes (Lee et al. 2018).

    Raises:
        InputError: There are too few pixels.
    """
    features = pixels.features.double()
    channels = features.shape[1]
    pixels.check("gdm", channels + 1, f" for {channels} features")
    present = torch.unique(pixels.labels)
    means = torch.stack([features[pixels.labels == index].mean(dim=0) for index in present])
    centred = features - means[torch.searchsorted(present, pixels.labels)]
    covariance = centred.T @ centred / len(centred)
    ridge = _RIDGE * covariance.diagonal().mean() * torch.eye(channels, device=features.device)
    # L^-1 with L L' = covariance: distances become Euclidean.
    lower = torch.linalg.cholesky(covariance + ridge)
    identity = torch.eye(channels, dtype=lower.dtype, device=lower.device)
    whiten = torch.linalg.solve_triangular(lower, identity, upper=False).float()
    places = means.float() @ whiten.T
    return of_features(lambda part: torch.cdist(part @ whiten.T, places).amin(dim=1) ** 2)


class Mixture(NamedTuple):
    """Gaussians with diagonal covariances: logarithms of their weights [n], means and 1 / variances [n, C]."""

    log_weights: Tensor
    means: Tensor
    precisions: Tensor

    def log_joint(self, features: Tensor) -> Tensor:
        """Logarithm of weight times density for each pixel and component, [N, n]."""
        # Sum of precision (x - mean)^2, written out so that no [N, n, C] array arises.
        precisions, weighted = self.precisions, self.precisions * self.means
        squares = features**2 @ precisions.T - 2 * features @ weighted.T + (precisions * self.means**2).sum(dim=1)
        logs = precisions.log().sum(dim=1) - features.shape[1] * math.log(2 * math.pi)
        return self.log_weights + 0.5 * (logs - squares)

    def log_density(self, features: Tensor) -> Tensor:
        """Log-density of features [N, C], [N]."""
        return self.log_joint(features).logsumexp(dim=1)


def fit_mixture(pixels: TrainingPixels, components: int = 32, iterations: int = 30, seed: int = 0) -> Mixture:
    """Fits a mixture of so many components by EM; ``seed`` is that of the choice of the first means.

    Raises:
        InputError: There are too few pixels.
    """
    features = pixels.features
    pixels.check("gmm", 2 * components, f" for {components} components")
    floor = _RIDGE * features.var(dim=0).mean() + torch.finfo(torch.float32).tiny
    mixture = Mixture(
        torch.full((components,), -math.log(components), device=features.device),
        _spread_means(features, components, seed),
        (1 / (features.var(dim=0) + floor)).repeat(components, 1),
    )
    for _ in range(iterations):
        count, total, squares = (
            torch.zeros_like(mixture.log_weights),
            *torch.zeros(2, *mixture.means.shape).to(features),
        )
        for part in features.split(_CHUNK):
            share = torch.softmax(mixture.log_joint(part), dim=1)
            count += share.sum(dim=0)
            total += share.T @ part
            squares += share.T @ part**2
        kept = count.clamp(min=1e-3)
        means = total / kept[:, None]
        precisions = 1 / ((squares / kept[:, None] - means**2).clamp(min=0) + floor)
        mixture = Mixture(torch.log(kept / kept.sum()), means, precisions)
    return mixture


def gaussian_mixture(pixels: TrainingPixels) -> Score:
    """-ln p of the features under a mixture of Gaussians, as ``fit_mixture`` fits it."""
    mixture = fit_mixture(pixels)
    return of_features(lambda part: -mixture.log_density(part))


def _spread_means(features: Tensor, components: int, seed: int) -> Tensor:
    """Picks pixels one by one, each with a chance that grows with its squared distance to those picked before."""
    generator = torch.Generator().manual_seed(seed)
    means = features[torch.randint(len(features), (1,), generator=generator).to(features.device)]
    nearest = torch.cdist(features, means)[:, 0] ** 2
    for _ in range(1, components):
        reached = torch.cumsum(nearest.double(), dim=0)
        wanted = torch.rand(1, generator=generator, dtype=torch.double).to(features.device) * reached[-1]
        chosen = torch.searchsorted(reached, wanted).clamp(max=len(features) - 1)
        means = torch.cat((means, features[chosen]))
        nearest = torch.minimum(nearest, torch.cdist(features, means[-1:])[:, 0] ** 2)
    return means


class _Coupling(nn.Module):
    """Affine coupling: half of the values, unchanged, gives scale and shift of the other half."""

    def __init__(self, channels: int, hidden: int, swap: bool) -> None:
        super().__init__()
        self._swap, self._first = swap, channels // 2
        inputs, outputs = (channels - self._first, self._first) if swap else (self._first, channels - self._first)
        self.net = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        last = nn.Linear(hidden, 2 * outputs)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.net.append(last)

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Maps [N, C] to [N, C] and the log-determinant [N]."""
        first, second = values[:, : self._first], values[:, self._first :]
        kept, changed = (second, first) if self._swap else (first, second)
        raw, shift = self.net(kept).chunk(2, dim=1)
        log_scale = 2 * torch.tanh(raw / 2)
        changed = changed * log_scale.exp() + shift
        return torch.cat((changed, kept) if self._swap else (kept, changed), dim=1), log_scale.sum(dim=1)


class PointwiseFlow(nn.Module):
    """A flow on vectors of ``channels``: couplings that alternate between the halves, after standardisation."""

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


def fit_flow(
    pixels: TrainingPixels, steps: int = 2000, batch: int = 2048, rate: float = 1e-3, noise: float = 0.05, seed: int = 0
) -> PointwiseFlow:
    """Trains a flow by maximum likelihood, with Adam.

    Args:
        pixels: What it learns from.
        steps: Training steps.
        batch: Pixels a step.
        rate: Learning rate.
        noise: Deviation of the noise added in training, as a share of each feature's. ReLU leaves exact zeros, on
            which a density would grow without bound.
        seed: Of initial weights, batches and noise.

    Raises:
        InputError: There are too few pixels.
    """
    pixels.check("flow", _FEWEST)
    devices = [pixels.features.device] if pixels.features.is_cuda else []
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        features = pixels.features.detach().clone()  # an ordinary tensor, also where it came from inference mode
        flow = PointwiseFlow(features.shape[1]).to(features.device)
        flow.mean.copy_(features.mean(dim=0))
        flow.deviation.copy_(features.std(dim=0).clamp(min=_DEVIATION_FLOOR))
        optimizer = torch.optim.Adam(flow.parameters(), lr=rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            chosen = torch.randint(len(features), (batch,)).to(features.device)
            added = noise * flow.deviation * torch.randn(batch, features.shape[1]).to(features.device)
            loss = -flow.log_density(features[chosen] + added).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(flow.parameters(), 10.0)
            optimizer.step()
            schedule.step()
    return flow.eval().requires_grad_(False)


def flow_density(pixels: TrainingPixels, steps: int = 2000) -> Score:
    """-ln p(z) of the classifier's features z under a flow trained on inlier pixels, see ``fit_flow``."""
    flow = fit_flow(pixels, steps)
    return of_features(lambda part: -flow.log_density(part))


def hybrid_flow_density(pixels: TrainingPixels, steps: int = 2000) -> Score:
    """``flow_density`` and ln P(d_out|x), as the last row of the paper's table adds them."""
    density = flow_density(pixels, steps)

    def score(seen: Observation) -> Tensor:
        return density(seen) + posterior(None, seen.posterior)

    return score
