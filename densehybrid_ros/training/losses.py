# SPDX-License-Identifier: Apache-2.0
"""The losses of the paper (section 4): of a segmentation model by logits and labels, and of the flow beside it.

``logits`` are [B, K, H, W]; ``posterior`` is [B, 2, H, W], index 1 = outlier; ``labels`` are integer train ids
[B, H, W], 255 = void, as pasted pixels are; ``origin``, integer [B, H, W], says where a pixel comes from: 0 inlier,
1 outlier (a negative), 255 neither (a mixed border, or void). Every mean over an empty set is 0 with a zero gradient,
so a batch without negatives, or one that is all void, trains on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from densehybrid_ros.datasets.taxonomy import VOID
from densehybrid_ros.networks.dense_flow import DenseFlow, dequantize

INLIER, OUTLIER, NEITHER = 0, 1, 255


def exact(values: Tensor) -> Tensor:
    """Returns ``values`` in float32, or in float64 where they are that: half precision is too coarse for losses."""
    return values if values.dtype == torch.float64 else values.float()


def mean_where(values: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """Returns the mean of ``values`` where ``mask``, weighted if ``weights`` are given; 0 where nothing is selected."""
    chosen = torch.where(mask, values, torch.zeros_like(values))
    if weights is None:
        return chosen.sum() / mask.sum().clamp(min=1)
    weights = torch.where(mask, weights, torch.zeros_like(weights))
    return (chosen * weights).sum() / weights.sum().clamp(min=1e-3)


def hardest_mean(values: Tensor, mask: Tensor, share: float) -> Tensor:
    """Returns the mean of the largest values where ``mask``: of about ``share`` (0..1) of them.

    What is large is read off every fourth row and column, since sorting all pixels would take longer than the network;
    nothing here makes the host wait for the GPU. Values [B, H, W] are not negative.
    """
    coarse = (slice(None), slice(None, None, 4), slice(None, None, 4))
    sample = torch.where(mask[coarse], values.detach()[coarse], -1).flatten().sort(descending=True).values
    rank = (share * mask[coarse].sum()).long().clamp(min=1) - 1
    limit = sample.gather(0, rank.view(1))
    return mean_where(values, mask & (values.detach() >= limit))


def with_hardest(values: Tensor, mask: Tensor, share: float) -> Tensor:
    """Returns the mean of ``values`` where ``mask``, half of it made up of the largest ``share`` of them; 0 = none."""
    mean = mean_where(values, mask)
    return 0.5 * (mean + hardest_mean(values, mask, share)) if share > 0 else mean


def closed_set_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """L_cls, equation (9): mean of -ln P(y|x) over labelled pixels."""
    labels = labels.long()
    losses = functional.cross_entropy(exact(logits), labels, ignore_index=VOID, reduction="none")
    return mean_where(losses, labels != VOID)


def outlier_likelihood(
    logits: Tensor, origin: Tensor, floor: float | None = None, weights: Tensor | None = None
) -> Tensor:
    """E_out[ln p̂(x)], the part of (14) that the compound loss keeps.

    Args:
        logits: See above.
        origin: See above.
        floor: The energy margin: a hinge, so that ln p̂ of an outlier is not pushed below this. Unbounded, the term
            can diverge on some data.
        weights: float [B, H, W], how much each outlier counts; None: all alike.
    """
    values = exact(logits).logsumexp(dim=1)
    if floor is not None:
        values = values.clamp(min=floor)
    return mean_where(values, origin == OUTLIER, weights)


def inlier_likelihood(logits: Tensor, origin: Tensor, ceiling: float, hard_share: float = 0.0) -> Tensor:
    """E_in[max(0, ceiling - ln p̂(x))]: the other side of the energy margin, -E_in[ln p̂(x)] with a hinge."""
    missing = (ceiling - exact(logits).logsumexp(dim=1)).clamp(min=0)
    return with_hardest(missing, origin == INLIER, hard_share)


class PosteriorTerms(NamedTuple):
    """The two expectations of L_d (16): over inliers and over outliers."""

    inlier: Tensor
    outlier: Tensor


def posterior_loss(
    posterior: Tensor, origin: Tensor, hard_share: float = 0.0, weights: Tensor | None = None
) -> PosteriorTerms:
    """L_d, equation (16), as its two terms -E_in[ln P(d_in|x)] and -E_out[ln P(d_out|x)]."""
    losses = -functional.log_softmax(exact(posterior), dim=1)
    return PosteriorTerms(
        with_hardest(losses[:, 0], origin == INLIER, hard_share), mean_where(losses[:, 1], origin == OUTLIER, weights)
    )


def compound_loss(
    logits: Tensor, posterior: Tensor, labels: Tensor, origin: Tensor, beta: float, floor: float | None = None
) -> dict[str, Tensor]:
    """The compound loss (17); ``floor`` as in ``outlier_likelihood``.

    L = E_in[-ln P(y|x) - ln P(d_in|x)] + beta E_out[-ln P(d_out|x) + ln p̂(x)]

    Returns:
        ``loss`` and the parts ``closed_set``, ``inlier_posterior``, ``outlier_posterior``, ``outlier_likelihood``.
    """
    parts = _parts(logits, posterior, labels, origin, floor)
    negatives = parts["outlier_posterior"] + parts["outlier_likelihood"]
    return {"loss": parts["closed_set"] + parts["inlier_posterior"] + beta * negatives, **parts}


def authors_loss(
    logits: Tensor, posterior: Tensor, labels: Tensor, origin: Tensor, beta: float, floor: float | None = None
) -> dict[str, Tensor]:
    """The authors' public code: NLL + beta E_out[ln p̂] + 10 beta NLL of the posterior over all pixels.

    Arguments and result as ``compound_loss``. Unlike there, the posterior's mean runs over inliers and outliers
    together, so that few negatives weigh little. Void pixels stay out here; in the authors' code they are inliers.
    """
    parts = _parts(logits, posterior, labels, origin, floor)
    inliers, outliers = (origin == INLIER).sum(), (origin == OUTLIER).sum()
    pooled = parts["inlier_posterior"] * inliers + parts["outlier_posterior"] * outliers
    together = pooled / (inliers + outliers).clamp(min=1)
    return {"loss": parts["closed_set"] + beta * parts["outlier_likelihood"] + 10 * beta * together, **parts}


def _parts(logits: Tensor, posterior: Tensor, labels: Tensor, origin: Tensor, floor: float | None) -> dict[str, Tensor]:
    terms = posterior_loss(posterior, origin)
    return {
        "closed_set": closed_set_loss(logits, labels),
        "inlier_posterior": terms.inlier,
        "outlier_posterior": terms.outlier,
        "outlier_likelihood": outlier_likelihood(logits, origin, floor),
    }


def margin_loss(
    logits: Tensor,
    posterior: Tensor,
    labels: Tensor,
    origin: Tensor,
    *,
    beta: float,
    floor: float,
    ceiling: float,
    posterior_weight: float,
    hard_share: float,
    weights: Tensor | None = None,
) -> dict[str, Tensor]:
    """The compound loss with margins: every term of (17) is bounded, and both its expectations count alike.

    L = E_in[-ln P(y|x)] + posterior_weight (E_in[-ln P(d_in|x)] + E_out[-ln P(d_out|x)])
        + beta (E_out[max(floor, ln p̂(x))] + E_in[max(0, ceiling - ln p̂(x))])

    where half of the inliers' terms beside the first is the mean over the hardest ``hard_share`` of them, which are the
    false positives. As ln p̂ keeps to a bounded range, the posterior has a say in the hybrid score. ``weights``, float
    [B, H, W], say how much each outlier counts; None: all alike.

    Returns:
        As ``compound_loss``, and ``inlier_likelihood``.
    """
    closed_set = closed_set_loss(logits, labels)
    terms = posterior_loss(posterior, origin, hard_share, weights)
    below = outlier_likelihood(logits, origin, floor, weights)
    above = inlier_likelihood(logits, origin, ceiling, hard_share)
    return {
        "loss": closed_set + posterior_weight * (terms.inlier + terms.outlier) + beta * (below + above),
        "closed_set": closed_set,
        "inlier_posterior": terms.inlier,
        "outlier_posterior": terms.outlier,
        "outlier_likelihood": below,
        "inlier_likelihood": above,
    }


def distillation_loss(logits: Tensor, teacher: Tensor, origin: Tensor) -> Tensor:
    """KL(teacher || student) of the class posteriors, mean over pixels that are no outliers.

    Logits of both are [B, K, h, w]; ``origin`` is taken at the nearest pixel of their grid.
    """
    student_log, teacher_log = (functional.log_softmax(exact(values), dim=1) for values in (logits, teacher))
    divergence = functional.kl_div(student_log, teacher_log, reduction="none", log_target=True).sum(1)
    grid = (logits.shape[2], logits.shape[3])
    nearest = functional.interpolate(origin.unsqueeze(1).to(torch.uint8), grid, mode="nearest-exact").squeeze(1)
    return mean_where(divergence, nearest != OUTLIER)


def flow_likelihood_loss(
    flow: Callable[..., Tensor],
    crops: Tensor,
    generator: torch.Generator | None = None,
    noise: list[Tensor] | None = None,
) -> Tensor:
    """L_mle, equation (19), as bits a subpixel: the mean of -log2 p(crop), dequantised.

    Args:
        flow: A ``DenseFlow``, or one inside DistributedDataParallel.
        crops: float [B, 3, h, w] in 0..1, or uint8.
        generator: Source of the dequantisation.
        noise: What the flow appends; drawn where None.
    """
    likelihood = flow(dequantize(crops, generator), noise)
    return (8 - likelihood / (crops[0].numel() * math.log(2))).mean()


def jensen_shannon_loss(logits: Tensor, generated: Tensor) -> Tensor:
    """L_jsd, equation (20): mean Jensen-Shannon divergence of the class posterior from the uniform one, in nats.

    JSD = (KL(p || m) + KL(u || m)) / 2 with m = (p + u) / 2. The text calls the term its negative, but says that
    confident samples are penalised: so it is the divergence itself that is made small. ``generated``, bool [B, H, W],
    are the pixels that the flow made.
    """
    log_p = functional.log_softmax(exact(logits), dim=1)
    log_u = -math.log(logits.shape[1])
    log_m = torch.logaddexp(log_p, torch.full_like(log_p, log_u)) - math.log(2)
    divergence = 0.5 * (log_p.exp() * (log_p - log_m) + math.exp(log_u) * (log_u - log_m)).sum(1)
    return mean_where(divergence, generated)


@torch.no_grad()
def held_out_bits(flow: DenseFlow, crops: Tensor) -> float:
    """Bits a subpixel of held-out crops, uint8 [N, 3, h, w], with fixed noise: the same figure at every call."""
    generator = torch.Generator(crops.device).manual_seed(0)
    total = 0.0
    for part in crops.split(64):
        noise = flow.draw_noise(len(part), (part.shape[2], part.shape[3]), generator)
        total += float(flow_likelihood_loss(flow, part, generator, noise)) * len(part)
    return total / len(crops)


OPEN_SET_LOSSES = {"paper": compound_loss, "authors": authors_loss}
"""Name in a configuration -> weighting of the open-set loss."""


class BaselineLoss(NamedTuple):
    """A loss in the place of the hybrid one, with the arguments up to ``beta`` and the result of ``compound_loss``."""

    loss: Callable[[Tensor, Tensor, Tensor, Tensor, float], dict[str, Tensor]]  # The function
    uses_posterior: bool  # Whether the second head gets a gradient


BASELINE_LOSSES: dict[str, BaselineLoss] = {}
"""``loss.kind`` beside ``hybrid`` -> loss; ``densehybrid_ros.research.register`` fills it."""
