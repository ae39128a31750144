# SPDX-License-Identifier: Apache-2.0
"""The baselines' scores of the paper's tables that need the model itself: gradients, passes, statistics."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.errors import InputError
from densehybrid_ros.inference.look import Observation
from densehybrid_ros.research.baselines import energy
from densehybrid_ros.research.densities import FlowDensity, GaussianDiscriminant, GaussianMixture
from densehybrid_ros.research.model_score import (
    ModelScore,
    TrainingPixels,
    classifier_features,
    logits_of_features,
    per_pixel,
)


class Odin(ModelScore):
    """Inliers gain more confidence by the step than anomalies do.

    Args:
        temperature: T, above 0.
        step: Change of each pixel value (0..1) along the sign of the gradient.
    """

    def __init__(self, temperature: float = 1000.0, step: float = 0.0014) -> None:
        self._temperature = temperature
        self._step = step

    def __call__(self, seen: Observation) -> Tensor:
        """Returns 1 / (largest softmax of the second pass at temperature T) - K, [B, h, w].

        That ranks pixels as minus the softmax does. At a high temperature, where every softmax is nearly 1 / K, float32
        would collapse neighbouring values; the sum of expm1 keeps them apart.
        """
        with torch.inference_mode(False), torch.enable_grad():
            images = seen.images.clone().requires_grad_(True)
            _, logits = seen.model.network(images)
            confidence = torch.log_softmax(logits.float() / self._temperature, dim=1).amax(dim=1).sum()
            (gradient,) = torch.autograd.grad(confidence, images)
            changed = (images + self._step * gradient.sign()).detach()
        with torch.no_grad():
            _, logits = seen.model.network(changed)
        below = logits.float() - logits.float().amax(dim=1, keepdim=True)
        return torch.expm1(below / self._temperature).sum(dim=1)


class McDropout(ModelScore):
    """Entropy of the class posterior averaged over passes in which features are dropped at random.

    The networks have no dropout of their own; it acts on the features before the classifier's convolution, so only that
    is repeated. Each call draws the same masks, hence the same frame gets the same score.

    Args:
        passes: Number of passes.
        probability: Share of features that are dropped, 0..1.
        seed: Of the masks.
    """

    def __init__(self, passes: int = 8, probability: float = 0.5, seed: int = 0) -> None:
        self._passes = passes
        self._probability = probability
        self._seed = seed

    def __call__(self, seen: Observation) -> Tensor:
        """Returns the predictive entropy in nats, [B, h, w]."""
        features = classifier_features(seen.model, seen.prelogits).float()
        generator = torch.Generator().manual_seed(self._seed)
        mean = torch.zeros_like(seen.logits, dtype=torch.float32)
        for _ in range(self._passes):
            kept = torch.rand(1, features.shape[1], 1, 1, generator=generator) >= self._probability
            scale = kept.to(features) / (1 - self._probability)
            mean += torch.softmax(logits_of_features(seen.model, features * scale).float(), dim=1) / self._passes
        return -(mean * mean.clamp(min=1e-30).log()).sum(dim=1)


_LARGEST_SAMPLE = 1 << 22


class ReAct(ModelScore):
    """Clips the classifier's features at a quantile of the training pixels' (0.99 in the paper).

    Args:
        quantile: Share of training activations that stay as they are, 0..1.
    """

    needs_fit = True

    def __init__(self, quantile: float = 0.99) -> None:
        self._quantile = quantile
        self._limit = math.inf

    def fit(self, pixels: TrainingPixels) -> None:
        """Takes the quantile of all activations."""
        values = pixels.features.flatten()
        if not len(values):
            raise InputError("react: no labelled training pixel; check the frames to fit on")
        values = values[:: max(1, len(values) // _LARGEST_SAMPLE)]
        # torch.quantile takes at most 16 M values, a sort takes any number.
        self._limit = float(torch.sort(values).values[min(int(self._quantile * len(values)), len(values) - 1)])

    def __call__(self, seen: Observation) -> Tensor:
        """Returns the energy of the clipped features' logits, [B, h, w]."""
        features = classifier_features(seen.model, seen.prelogits).clamp(max=self._limit)
        return energy(logits_of_features(seen.model, features))


_FEWEST = 20


class OpenMax(ModelScore):
    """Probability of a further, unknown class.

    The distances of correctly classified training pixels from their class's mean logits have a Weibull tail. The more
    surely a pixel's distance lies beyond it, the more of its class's logit goes to the unknown class.

    Args:
        tail: Share of a class's largest distances to which the Weibull distribution is fitted.
    """

    needs_fit = True

    def __init__(self, tail: float = 0.05) -> None:
        self._tail = tail
        self._means = torch.zeros(0)
        self._weibull = np.zeros((0, 3))

    def fit(self, pixels: TrainingPixels) -> None:
        """Takes each class's mean logits and tail; a class with too few pixels never counts as exceeded."""
        from scipy import stats  # slow to load

        classes = pixels.logits.shape[1]
        self._means = torch.zeros(classes, classes, device=pixels.logits.device)
        self._weibull = np.full((classes, 3), np.nan)
        correct = pixels.logits.argmax(dim=1) == pixels.labels
        for index in range(classes):
            own = pixels.logits[correct & (pixels.labels == index)]
            if len(own) < _FEWEST:
                continue
            self._means[index] = own.mean(dim=0)
            distances = torch.sort((own - self._means[index]).norm(dim=1)).values.cpu().numpy().astype(np.float64)
            largest = distances[-max(_FEWEST, int(self._tail * len(distances))) :]
            self._weibull[index] = stats.weibull_min.fit(largest, floc=largest[0] * 0.999)

    def __call__(self, seen: Observation) -> Tensor:
        """Returns the unknown class's log-odds against all known ones, [B, h, w]: a monotone of its probability."""
        logits, shape = per_pixel(seen.logits)
        predicted = logits.argmax(dim=1)
        distance = (logits - self._means.to(logits.device)[predicted]).norm(dim=1)
        beyond = self._exceeded(distance, predicted)
        rows = torch.arange(len(logits), device=logits.device)
        # Above the pixel's smallest: a softmax does not see the shift, and a negative logit has nothing to give.
        kept = logits - logits.amin(dim=1, keepdim=True)
        unknown = kept[rows, predicted] * beyond
        kept[rows, predicted] = kept[rows, predicted] - unknown
        return (unknown - kept.logsumexp(dim=1)).view(shape)

    def _exceeded(self, distance: Tensor, predicted: Tensor) -> Tensor:
        """Weibull distribution function of each pixel's distance under its predicted class, 0..1."""
        shape, location, scale = (
            torch.as_tensor(column, dtype=torch.float32, device=distance.device)[predicted]
            for column in self._weibull.T
        )
        exceeding = ((distance - location).clamp(min=0) / scale) ** shape
        return torch.nan_to_num(1 - torch.exp(-exceeding))


_SMALLEST_DEVIATION = 1e-3


class StandardizedMaxLogit(ModelScore):
    """-(max logit - mean) / deviation, both of the predicted class over training pixels."""

    needs_fit = True

    def __init__(self) -> None:
        self._mean = self._deviation = torch.zeros(0)

    def fit(self, pixels: TrainingPixels) -> None:
        """Takes mean and deviation of the max logit for each predicted class; a class never predicted takes all's."""
        largest, predicted = pixels.logits.max(dim=1)
        classes = pixels.logits.shape[1]
        self._mean = largest.mean().repeat(classes)
        self._deviation = largest.std().repeat(classes)
        for index in range(classes):
            own = largest[predicted == index]
            if len(own) > 1:
                self._mean[index], self._deviation[index] = own.mean(), own.std()
        self._deviation.clamp_(min=_SMALLEST_DEVIATION)

    def __call__(self, seen: Observation) -> Tensor:
        """Returns the score, [B, h, w]."""
        largest, predicted = seen.logits.float().max(dim=1)
        mean, deviation = self._mean.to(largest.device), self._deviation.to(largest.device)
        return -(largest - mean[predicted]) / deviation[predicted]


MODEL_SCORES: dict[str, Callable[[], ModelScore]] = {
    "sml": StandardizedMaxLogit,
    "odin": Odin,
    "mc_dropout": McDropout,
    "react": ReAct,
    "openmax": OpenMax,
    "gdm": GaussianDiscriminant,
    "gmm": GaussianMixture,
    "flow": FlowDensity,
    "flow_hybrid": lambda: FlowDensity(hybrid=True),
}
"""Name -> constructor of a ``ModelScore`` with its published settings."""
