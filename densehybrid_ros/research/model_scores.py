# SPDX-License-Identifier: Apache-2.0
"""The baselines' scores of the paper's tables that need the model itself: gradients, passes, statistics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.inference.look import Observation
from densehybrid_ros.research.baselines import energy
from densehybrid_ros.research.densities import (
    flow_density,
    gaussian_discriminant,
    gaussian_mixture,
    hybrid_flow_density,
)
from densehybrid_ros.research.model_score import Score, TrainingPixels, classifier_features, logits_of_features, rows

_LARGEST_SAMPLE = 1 << 22
_FEWEST = 20  # pixels of a class, and of its tail
_SMALLEST_DEVIATION = 1e-3


def odin(seen: Observation, temperature: float = 1000.0, step: float = 0.0014) -> Tensor:
    """Confidence after a step along its gradient, by which inliers gain more than anomalies do.

    Args:
        seen: One pass.
        temperature: T, above 0.
        step: Change of each pixel value (0..1) along the sign of the gradient.

    Returns:
        1 / (largest softmax of the second pass at temperature T) - K, [B, h, w]. That ranks pixels as minus the softmax
        does. At a high temperature, where every softmax is nearly 1 / K, float32 would collapse neighbouring values;
        the sum of expm1 keeps them apart.
    """
    with torch.inference_mode(False), torch.enable_grad():
        images = seen.images.clone().requires_grad_(True)
        _, logits = seen.model.network(images)
        confidence = torch.log_softmax(logits.float() / temperature, dim=1).amax(dim=1).sum()
        (gradient,) = torch.autograd.grad(confidence, images)
        changed = (images + step * gradient.sign()).detach()
    with torch.no_grad():
        _, logits = seen.model.network(changed)
    below = logits.float() - logits.float().amax(dim=1, keepdim=True)
    return torch.expm1(below / temperature).sum(dim=1)


def mc_dropout(seen: Observation, passes: int = 8, probability: float = 0.5) -> Tensor:
    """Entropy in nats, [B, h, w], of the class posterior averaged over passes in which features are dropped at random.

    The networks have no dropout of their own; it acts on the features before the classifier's convolution, so only that
    is repeated. Each call draws the same masks, hence the same frame gets the same score. ``probability`` is the share
    of features that are dropped.
    """
    features = classifier_features(seen.model, seen.prelogits).float()
    generator = torch.Generator().manual_seed(0)
    mean = torch.zeros_like(seen.logits, dtype=torch.float32)
    for _ in range(passes):
        kept = torch.rand(1, features.shape[1], 1, 1, generator=generator) >= probability
        scale = kept.to(features) / (1 - probability)
        mean += torch.softmax(logits_of_features(seen.model, features * scale).float(), dim=1) / passes
    return -(mean * mean.clamp(min=1e-30).log()).sum(dim=1)


def react(pixels: TrainingPixels, quantile: float = 0.99) -> Score:
    """Energy of the logits of features that are clipped at a quantile of the training pixels' (0.99 in the paper)."""
    values = pixels.features.flatten()
    values = values[:: max(1, len(values) // _LARGEST_SAMPLE)]
    # torch.quantile takes at most 16 M values, a sort takes any number.
    limit = float(torch.sort(values).values[min(int(quantile * len(values)), len(values) - 1)])

    def score(seen: Observation) -> Tensor:
        features = classifier_features(seen.model, seen.prelogits).clamp(max=limit)
        return energy(logits_of_features(seen.model, features))

    return score


def weibull_tails(pixels: TrainingPixels, tail: float = 0.05) -> tuple[Tensor, Tensor]:
    """Fits what ``openmax`` needs to correctly classified pixels.

    Returns:
        Means of the logits of each class, [K, K], and shape, location and scale [K, 3] of the Weibull tail of the
        distances to them, fitted to the share ``tail`` of the largest; NaN for a class with too few pixels.
    """
    from scipy import stats  # slow to load

    classes = pixels.logits.shape[1]
    means = torch.zeros(classes, classes, device=pixels.logits.device)
    tails = torch.full((classes, 3), torch.nan, dtype=torch.float64)
    correct = pixels.logits.argmax(dim=1) == pixels.labels
    for index in range(classes):
        own = pixels.logits[correct & (pixels.labels == index)]
        if len(own) < _FEWEST:
            continue
        means[index] = own.mean(dim=0)
        distances = torch.sort((own - means[index]).norm(dim=1)).values.cpu().numpy().astype(np.float64)
        largest = distances[-max(_FEWEST, int(tail * len(distances))) :]
        tails[index] = torch.tensor(stats.weibull_min.fit(largest, floc=largest[0] * 0.999))
    return means, tails.float().to(means.device)


def exceeded(distance: Tensor, tails: Tensor) -> Tensor:
    """Weibull distribution function, 0..1, of distances [n] under tails [n, 3]; 0 where a tail is NaN."""
    shape, location, scale = tails.unbind(1)
    return torch.nan_to_num(1 - torch.exp(-(((distance - location).clamp(min=0) / scale) ** shape)))


def openmax(pixels: TrainingPixels) -> Score:
    """Log-odds of a further, unknown class against all known ones: a monotone of its probability.

    The distances of correctly classified training pixels from their class's mean logits have a Weibull tail. The more
    surely a pixel's distance lies beyond it, the more of its class's logit goes to the unknown class. A class with too
    few pixels never counts as exceeded.
    """
    means, tails = weibull_tails(pixels)

    def score(seen: Observation) -> Tensor:
        logits = rows(seen.logits)
        predicted = logits.argmax(dim=1, keepdim=True)
        label = predicted[:, 0]
        beyond = exceeded((logits - means[label]).norm(dim=1), tails[label])[:, None]
        # Above the pixel's smallest: a softmax does not see the shift, and a negative logit has nothing to give.
        kept = logits - logits.amin(dim=1, keepdim=True)
        unknown = kept.gather(1, predicted) * beyond
        kept = kept.scatter(1, predicted, kept.gather(1, predicted) - unknown)
        odds = unknown[:, 0] - kept.logsumexp(dim=1)
        return odds.view(seen.logits.shape[0], *seen.logits.shape[2:])

    return score


def standardized_max_logit(pixels: TrainingPixels) -> Score:
    """-(max logit - mean) / deviation, both of the predicted class over training pixels.

    A class that is never predicted takes those of all.
    """
    largest, predicted = pixels.logits.max(dim=1)
    classes = pixels.logits.shape[1]
    mean, deviation = largest.mean().repeat(classes), largest.std().repeat(classes)
    for index in range(classes):
        own = largest[predicted == index]
        if len(own) > 1:
            mean[index], deviation[index] = own.mean(), own.std()
    deviation.clamp_(min=_SMALLEST_DEVIATION)

    def score(seen: Observation) -> Tensor:
        largest, predicted = seen.logits.float().max(dim=1)
        return -(largest - mean[predicted]) / deviation[predicted]

    return score


MODEL_SCORES: dict[str, Score] = {"odin": odin, "mc_dropout": mc_dropout}
"""Name -> score that needs the model, with its published settings."""

FITTED_SCORES: dict[str, Callable[[TrainingPixels], Score]] = {
    "sml": standardized_max_logit,
    "react": react,
    "openmax": openmax,
    "gdm": gaussian_discriminant,
    "gmm": gaussian_mixture,
    "flow": flow_density,
    "flow_hybrid": hybrid_flow_density,
}
"""Name -> what fits a score to pixels of training frames, with its published settings."""
