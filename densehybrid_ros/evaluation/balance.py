"""How much the dataset posterior weighs in the hybrid score, measured on held-out data.

Equation (8) adds ln P(d_out|x) to minus the logarithm of a density that is not normalised: in which range the
log-sum-exp of the logits lies is a matter of training. Where it is wide, the posterior has no say. Its two logits
multiplied by a weight (a temperature, as in calibration: Guo et al., ICML 2017) give it one. Neither half's ranking of
the pixels changes by that, nor any class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.curves import CurveMetrics
from densehybrid_ros.evaluation.dense_scores import ScoredFrame
from densehybrid_ros.evaluation.pixel_accumulator import PixelAccumulator
from densehybrid_ros.evaluation.thresholds import anomaly_labels
from densehybrid_ros.networks import DenseHybrid
from densehybrid_ros.scores.hybrid import hybrid

COMPARED = ("posterior", "likelihood", "max_softmax", "max_logit")
"""What the hybrid is to be better than."""


def weighted_hybrid(weight: float, logits: Tensor, posterior: Tensor) -> Tensor:
    """Returns the hybrid score of a model whose posterior logits are multiplied by ``weight``.

    Args:
        weight: Above 0; 1 is equation (8) as the model was trained.
        logits: [B, K, H, W].
        posterior: [B, 2, H, W], index 1 = outlier.

    Returns:
        float32 [B, H, W]; higher = more anomalous.
    """
    return hybrid(logits, weight * posterior.float())


def score_name(weight: float) -> str:
    """What the hybrid with this weight is called among scores."""
    return f"hybrid, weight {weight:g}"


def weighted_scores(weights: Sequence[float]) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """The hybrid with each weight, by ``score_name``."""
    return {score_name(weight): partial(weighted_hybrid, weight) for weight in weights}


def measure(name: str, frames: Iterable[ScoredFrame], device: torch.device) -> dict[str, CurveMetrics]:
    """Measures every score of a data set's frames, pooled over all labelled pixels, exactly.

    Raises:
        InputError: They hold no anomalous or no inlier pixel.
    """
    found: dict[str, PixelAccumulator] = {}
    for item in frames:
        labels = torch.from_numpy(anomaly_labels(item.frame)).to(device)
        for score, values in item.scores.items():
            found.setdefault(score, PixelAccumulator()).update(values, labels, item.frame.name)
    metrics = {score: pixels.compute() for score, pixels in found.items()}
    if not all(each.positives and each.negatives for each in metrics.values()):
        raise InputError(f"{name}: its frames need anomalous and inlier pixels, and lack one of them; take another set")
    return metrics


def best_weight(sets: Mapping[str, Mapping[str, CurveMetrics]], weights: Sequence[float]) -> float:
    """The weight with the highest mean AP over the data sets; of equal ones that nearest to 1.

    Args:
        sets: Data set -> what ``measure`` returned.
        weights: The weights measured.
    """

    def rank(weight: float) -> tuple[float, float]:
        mean = sum(figures[score_name(weight)].average_precision for figures in sets.values()) / len(sets)
        return mean, -max(weight, 1 / weight)

    return max(weights, key=rank)


@torch.no_grad()
def weigh_posterior(model: DenseHybrid, weight: float) -> None:
    """Multiplies the model's posterior logits by ``weight``, in the weights of the head's convolution."""
    convolution = model.posterior_head.conv
    for parameter in (convolution.weight, convolution.bias):
        if parameter is not None:
            parameter.mul_(weight)
