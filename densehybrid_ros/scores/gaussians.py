# SPDX-License-Identifier: Apache-2.0
"""Densities of the classifier's features: class-conditional Gaussians (GDM) and a mixture (GMM)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from densehybrid_ros.errors import InputError
from densehybrid_ros.scores.model_score import (
    ModelScore,
    Observation,
    TrainingPixels,
    classifier_features,
    per_pixel,
)

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
