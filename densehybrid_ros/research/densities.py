# SPDX-License-Identifier: Apache-2.0
"""Densities of the classifier's features: Gaussians, their mixture, and a point-wise normalising flow."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from densehybrid_ros.errors import InputError
from densehybrid_ros.inference.look import Observation
from densehybrid_ros.research.model_score import ModelScore, TrainingPixels, classifier_features, per_pixel
from densehybrid_ros.scores import posterior

_RIDGE = 1e-4
_CHUNK = 1 << 16


class GaussianDiscriminant(ModelScore):
    """Smallest Mahalanobis distance to a class mean under one covariance of all classes (Lee et al. 2018)."""

    needs_fit = True

    def __init__(self) -> None:
        self._means = self._whiten = torch.zeros(0)

    def fit(self, pixels: TrainingPixels) -> None:
        """Takes the means of the classes that occur and the covariance of what is left."""
        features = pixels.features.double()
        present = torch.unique(pixels.labels)
        if len(features) <= features.shape[1]:
            raise InputError(f"gdm: {len(features)} training pixels are too few for {features.shape[1]} features")
        means = torch.stack([features[pixels.labels == index].mean(dim=0) for index in present])
        centred = features - means[torch.searchsorted(present, pixels.labels)]
        covariance = centred.T @ centred / len(centred)
        ridge = _RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance), device=features.device)
        # L^-1 with L L' = covariance: distances become Euclidean.
        lower = torch.linalg.cholesky(covariance + ridge)
        identity = torch.eye(len(lower), dtype=lower.dtype, device=lower.device)
        self._whiten = torch.linalg.solve_triangular(lower, identity, upper=False).float()
        self._means = means.float() @ self._whiten.T

    def __call__(self, seen: Observation) -> Tensor:
        """Returns the squared distance to the nearest mean, [B, h, w]."""
        features, shape = per_pixel(classifier_features(seen.model, seen.prelogits))
        whiten, means = self._whiten.to(features.device), self._means.to(features.device)
        parts = [torch.cdist(part @ whiten.T, means).amin(dim=1) ** 2 for part in features.split(_CHUNK)]
        return torch.cat(parts).view(shape)


class GaussianMixture(ModelScore):
    """Negative log-density under a mixture of Gaussians with diagonal covariances, fitted by EM.

    Args:
        components: Number of Gaussians.
        iterations: EM steps.
        seed: Of the choice of the first means, which are training pixels.
    """

    needs_fit = True

    def __init__(self, components: int = 32, iterations: int = 30, seed: int = 0) -> None:
        self._components = components
        self._iterations = iterations
        self._seed = seed
        self._means = self._log_weights = self._precisions = torch.zeros(0)

    def fit(self, pixels: TrainingPixels) -> None:
        """Runs EM."""
        features = pixels.features
        if len(features) < 2 * self._components:
            raise InputError(f"gmm: {len(features)} training pixels are too few for {self._components} components")
        floor = _RIDGE * features.var(dim=0).mean() + torch.finfo(torch.float32).tiny
        self._means = self._spread_means(features)
        self._precisions = (1 / (features.var(dim=0) + floor)).repeat(self._components, 1)
        self._log_weights = torch.full((self._components,), -math.log(self._components), device=features.device)
        for _ in range(self._iterations):
            self._step(features, floor)

    def _spread_means(self, features: Tensor) -> Tensor:
        """Picks pixels one by one, each with a chance that grows with its squared distance to those picked before."""
        generator = torch.Generator().manual_seed(self._seed)
        means = features[torch.randint(len(features), (1,), generator=generator).to(features.device)]
        nearest = torch.cdist(features, means)[:, 0] ** 2
        for _ in range(1, self._components):
            reached = torch.cumsum(nearest.double(), dim=0)
            wanted = torch.rand(1, generator=generator, dtype=torch.double).to(features.device) * reached[-1]
            chosen = torch.searchsorted(reached, wanted).clamp(max=len(features) - 1)
            means = torch.cat((means, features[chosen]))
            nearest = torch.minimum(nearest, torch.cdist(features, means[-1:])[:, 0] ** 2)
        return means

    def _step(self, features: Tensor, floor: Tensor) -> None:
        count = torch.zeros(self._components, device=features.device)
        total = torch.zeros_like(self._means)
        squares = torch.zeros_like(self._means)
        for part in features.split(_CHUNK):
            share = torch.softmax(self._log_joint(part), dim=1)
            count += share.sum(dim=0)
            total += share.T @ part
            squares += share.T @ part**2
        kept = count.clamp(min=1e-3)[:, None]
        self._means = total / kept
        self._precisions = 1 / ((squares / kept - self._means**2).clamp(min=0) + floor)
        self._log_weights = torch.log(count.clamp(min=1e-3) / count.clamp(min=1e-3).sum())

    def _log_joint(self, features: Tensor) -> Tensor:
        """Logarithm of weight times density for each pixel and component, [N, components]."""
        means, precisions = self._means.to(features.device), self._precisions.to(features.device)
        # Sum of precision (x - mean)^2, written out so that no [N, components, C] array arises.
        squares = (
            features**2 @ precisions.T - 2 * features @ (precisions * means).T + (precisions * means**2).sum(dim=1)
        )
        logs = precisions.log().sum(dim=1) - features.shape[1] * math.log(2 * math.pi)
        return self._log_weights.to(features.device) + 0.5 * (logs - squares)

    def log_density(self, features: Tensor) -> Tensor:
        """Log-density of features [N, C], [N]."""
        return torch.cat([self._log_joint(part).logsumexp(dim=1) for part in features.split(_CHUNK)])

    def __call__(self, seen: Observation) -> Tensor:
        """Returns -ln p of the features, [B, h, w]."""
        features, shape = per_pixel(classifier_features(seen.model, seen.prelogits))
        return -self.log_density(features).view(shape)


_FEWEST = 256
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
