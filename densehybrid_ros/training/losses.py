# SPDX-License-Identifier: Apache-2.0
"""The losses of the paper (section 4): of a segmentation model by logits and labels, and of the flow beside it.

Labels are train ids with 255 = void. A mask ``origin`` says where a pixel comes from: 0 inlier, 1 outlier (pasted
negative), 255 neither (a mixed border, or void). Every mean over an empty set is 0 with a zero gradient, so a batch
without negatives, or one that is all void, trains on.
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


def mask_at(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Takes origins or train ids [B, H, W] at the nearest pixels of a grid of (rows, columns); uint8 [B, h, w]."""
    return functional.interpolate(mask.unsqueeze(1).to(torch.uint8), size, mode="nearest-exact").squeeze(1)


def mean_where(values: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """Returns the mean of ``values`` where ``mask``; 0 (with a zero gradient) where nothing is selected.

    Args:
        values: Any shape.
        mask: bool, the same shape.
        weights: Not negative, the same shape: how much each value counts; None: all alike.
    """
    if weights is None:
        return torch.where(mask, values, torch.zeros_like(values)).sum() / mask.sum().clamp(min=1)
    weights = torch.where(mask, weights, torch.zeros_like(weights))
    return (torch.where(mask, values, torch.zeros_like(values)) * weights).sum() / weights.sum().clamp(min=1e-3)


def hardest_mean(values: Tensor, mask: Tensor, share: float) -> Tensor:
    """Returns the mean of the largest values where ``mask``: of about ``share`` of them.

    What is large is read off every fourth row and column, since sorting all pixels would take longer than the network;
    nothing here makes the host wait for the GPU.

    Args:
        values: [B, H, W], not negative.
        mask: bool [B, H, W].
        share: In 0..1.
    """
    coarse = (slice(None), slice(None, None, 4), slice(None, None, 4))
    sample = torch.where(mask[coarse], values.detach()[coarse], -1).flatten().sort(descending=True).values
    rank = (share * mask[coarse].sum()).long().clamp(min=1) - 1
    limit = sample.gather(0, rank.view(1))
    return mean_where(values, mask & (values.detach() >= limit))


def closed_set_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """L_cls, equation (9): mean of -ln P(y|x) over labelled pixels.

    Args:
        logits: [B, K, H, W].
        labels: integer [B, H, W], train ids, 255 = void.
    """
    labels = labels.long()
    return mean_where(
        functional.cross_entropy(exact(logits), labels, ignore_index=VOID, reduction="none"), labels != VOID
    )


def outlier_likelihood(
    logits: Tensor, origin: Tensor, floor: float | None = None, weights: Tensor | None = None
) -> Tensor:
    """E_out[ln p̂(x)], the part of (14) that the compound loss keeps.

    Args:
        logits: [B, K, H, W].
        origin: integer [B, H, W]; 1 = outlier.
        floor: The energy margin: a hinge, so that ln p̂ of an outlier is not pushed below this. Unbounded, the term
            can diverge on some data.
        weights: float [B, H, W], how much each outlier counts; None: all alike.
    """
    values = exact(logits).logsumexp(dim=1)
    if floor is not None:
        values = values.clamp(min=floor)
    return mean_where(values, origin == OUTLIER, weights)


def inlier_likelihood(logits: Tensor, origin: Tensor, ceiling: float, hard_share: float = 0.0) -> Tensor:
    """E_in[max(0, ceiling - ln p̂(x))]: the other side of the energy margin, -E_in[ln p̂(x)] with a hinge.

    Args:
        logits: [B, K, H, W].
        origin: integer [B, H, W]; 0 = inlier.
        ceiling: ln p̂ of an inlier is not pushed above this.
        hard_share: See ``with_hardest``.
    """
    missing = (ceiling - exact(logits).logsumexp(dim=1)).clamp(min=0)
    return with_hardest(missing, origin == INLIER, hard_share)


def with_hardest(values: Tensor, mask: Tensor, share: float) -> Tensor:
    """Returns the mean of ``values`` where ``mask``, half of it made up of the largest ``share`` of them.

    Args:
        values: [B, H, W], not negative.
        mask: bool [B, H, W].
        share: In 0..1; 0 = the plain mean.
    """
    mean = mean_where(values, mask)
    return 0.5 * (mean + hardest_mean(values, mask, share)) if share > 0 else mean


class PosteriorTerms(NamedTuple):
    """The two expectations of L_d (16): over inliers and over outliers."""

    inlier: Tensor
    outlier: Tensor


def posterior_loss(posterior: Tensor, origin: Tensor) -> PosteriorTerms:
    """L_d, equation (16), as its two terms -E_in[ln P(d_in|x)] and -E_out[ln P(d_out|x)].

    Args:
        posterior: [B, 2, H, W]; index 1 = outlier.
        origin: integer [B, H, W]: 0 inlier, 1 outlier, 255 neither.
    """
    log_posterior = functional.log_softmax(exact(posterior), dim=1)
    return PosteriorTerms(
        mean_where(-log_posterior[:, 0], origin == INLIER),
        mean_where(-log_posterior[:, 1], origin == OUTLIER),
    )


def compound_loss(
    logits: Tensor, posterior: Tensor, labels: Tensor, origin: Tensor, beta: float, floor: float | None = None
) -> dict[str, Tensor]:
    """The compound loss (17) and its parts.

    L = E_in[-ln P(y|x) - ln P(d_in|x)] + beta E_out[-ln P(d_out|x) + ln p̂(x)]

    Args:
        logits: [B, K, H, W].
        posterior: [B, 2, H, W]; index 1 = outlier.
        labels: integer [B, H, W], train ids, 255 = void (pasted pixels are void).
        origin: integer [B, H, W]: 0 inlier, 1 outlier, 255 neither.
        beta: Weight of the negatives.
        floor: See ``outlier_likelihood``.

    Returns:
        ``loss`` and the parts ``closed_set``, ``inlier_posterior``, ``outlier_posterior``, ``outlier_likelihood``.
    """
    closed_set = closed_set_loss(logits, labels)
    terms = posterior_loss(posterior, origin)
    likelihood = outlier_likelihood(logits, origin, floor)
    return {
        "loss": closed_set + terms.inlier + beta * (terms.outlier + likelihood),
        "closed_set": closed_set,
        "inlier_posterior": terms.inlier,
        "outlier_posterior": terms.outlier,
        "outlier_likelihood": likelihood,
    }


def authors_loss(
    logits: Tensor, posterior: Tensor, labels: Tensor, origin: Tensor, beta: float, floor: float | None = None
) -> dict[str, Tensor]:
    """The authors' public code: NLL + beta E_out[ln p̂] + 10 beta NLL of the posterior over all pixels.

    Arguments and result as ``compound_loss``. Unlike there, the posterior's mean runs over inliers and outliers
    together, so that few negatives weigh little. Void pixels stay out here; in the authors' code they are inliers.
    """
    closed_set = closed_set_loss(logits, labels)
    likelihood = outlier_likelihood(logits, origin, floor)
    terms = posterior_loss(posterior, origin)
    inliers, outliers = (origin == INLIER).sum(), (origin == OUTLIER).sum()
    together = (terms.inlier * inliers + terms.outlier * outliers) / (inliers + outliers).clamp(min=1)
    return {
        "loss": closed_set + beta * likelihood + 10 * beta * together,
        "closed_set": closed_set,
        "inlier_posterior": terms.inlier,
        "outlier_posterior": terms.outlier,
        "outlier_likelihood": likelihood,
    }


class Margins(NamedTuple):
    """How ``margin_loss`` weighs its parts.

    Attributes:
        beta: Of the likelihood, on outliers and on inliers.
        floor: ln p̂ of outliers is not pushed below this.
        ceiling: ln p̂ of inliers is not pushed above this.
        posterior: Of the dataset posterior.
        hard_share: Share of the inlier pixels that make up half of the inliers' part of the posterior and of the
            likelihood loss: the hardest ones, which are the false positives.
    """

    beta: float
    floor: float
    ceiling: float
    posterior: float
    hard_share: float


def margin_loss(
    logits: Tensor, posterior: Tensor, labels: Tensor, origin: Tensor, margins: Margins, weights: Tensor | None = None
) -> dict[str, Tensor]:
    """The compound loss with margins: every term of (17) is bounded, and both its expectations count alike.

    L = E_in[-ln P(y|x)] + posterior (E_in[-ln P(d_in|x)] + E_out[-ln P(d_out|x)])
        + beta (E_out[max(floor, ln p̂(x))] + E_in[max(0, ceiling - ln p̂(x))])

    where the inliers' terms are the mean of those over all and over the hardest inliers. As ln p̂ keeps to a bounded
    range, the posterior has a say in the hybrid score.

    Args:
        logits: [B, K, H, W].
        posterior: [B, 2, H, W]; index 1 = outlier.
        labels: integer [B, H, W], train ids, 255 = void (pasted pixels are void).
        origin: integer [B, H, W]: 0 inlier, 1 outlier, 255 neither.
        margins: Weights and margins.
        weights: float [B, H, W], how much each outlier counts; None: all alike.

    Returns:
        As ``compound_loss``, and ``inlier_likelihood``.
    """
    closed_set = closed_set_loss(logits, labels)
    log_posterior = functional.log_softmax(exact(posterior), dim=1)
    known = origin == INLIER
    inlier = with_hardest(-log_posterior[:, 0], known, margins.hard_share)
    outlier = mean_where(-log_posterior[:, 1], origin == OUTLIER, weights)
    below = outlier_likelihood(logits, origin, margins.floor, weights)
    above = inlier_likelihood(logits, origin, margins.ceiling, margins.hard_share)
    return {
        "loss": closed_set + margins.posterior * (inlier + outlier) + margins.beta * (below + above),
        "closed_set": closed_set,
        "inlier_posterior": inlier,
        "outlier_posterior": outlier,
        "outlier_likelihood": below,
        "inlier_likelihood": above,
    }


def distillation_loss(logits: Tensor, teacher: Tensor, origin: Tensor) -> Tensor:
    """KL(teacher || student) of the class posteriors, mean over pixels that are no outliers.

    Args:
        logits: [B, K, h, w], of the model that learns.
        teacher: [B, K, h, w], of a frozen one.
        origin: integer [B, H, W]; 1 = outlier. Taken at the nearest pixel where its size differs.
    """
    student_log, teacher_log = (functional.log_softmax(exact(values), dim=1) for values in (logits, teacher))
    divergence = functional.kl_div(student_log, teacher_log, reduction="none", log_target=True).sum(1)
    return mean_where(divergence, mask_at(origin, (logits.shape[2], logits.shape[3])) != OUTLIER)


def flow_likelihood_loss(
    flow: Callable[..., Tensor],
    crops: Tensor,
    generator: torch.Generator | None = None,
    noise: list[Tensor] | None = None,
) -> Tensor:
    """L_mle, equation (19), as bits a subpixel: the mean of -log2 p(crop), dequantised.

    Args:
        flow: A ``DenseFlow``, or one inside DistributedDataParallel.
        crops: float [B, 3, h, w] in 0..1.
        generator: Source of the dequantisation.
        noise: What the flow appends; drawn where None.
    """
    likelihood = flow(dequantize(crops, generator), noise)
    return (8 - likelihood / (crops[0].numel() * math.log(2))).mean()


def jensen_shannon_loss(logits: Tensor, generated: Tensor) -> Tensor:
    """L_jsd, equation (20): mean Jensen-Shannon divergence of the class posterior from the uniform one, in nats.

    JSD = (KL(p || m) + KL(u || m)) / 2 with m = (p + u) / 2. The text calls the term its negative, but says that
    confident samples are penalised: so it is the divergence itself that is made small.

    Args:
        logits: [B, K, H, W].
        generated: bool [B, H, W], pixels that the flow made.
    """
    log_p = functional.log_softmax(exact(logits), dim=1)
    log_u = -math.log(logits.shape[1])
    log_m = torch.logaddexp(log_p, torch.full_like(log_p, log_u)) - math.log(2)
    divergence = 0.5 * (log_p.exp() * (log_p - log_m) + math.exp(log_u) * (log_u - log_m)).sum(1)
    return mean_where(divergence, generated)


def held_out_bits(flow: DenseFlow, crops: Tensor, seed: int = 0, chunk: int = 64) -> float:
    """Bits a subpixel of held-out crops, uint8 [N, 3, h, w], with fixed noise: the same figure at every call."""
    device = crops.device
    generator = torch.Generator(device).manual_seed(seed)
    total = 0.0
    with torch.no_grad():
        for part in crops.split(chunk):
            noise = flow.draw_noise(len(part), (part.shape[2], part.shape[3]), generator)
            total += float(flow_likelihood_loss(flow, part, generator, noise)) * len(part)
    return total / len(crops)


OPEN_SET_LOSSES = {"paper": compound_loss, "authors": authors_loss}
"""Name in a configuration -> weighting of the open-set loss."""


class BaselineLoss(NamedTuple):
    """A loss that takes the place of the hybrid one.

    Attributes:
        loss: Of logits, posterior, labels, origin and beta; arguments and result as of ``compound_loss``.
        uses_posterior: Whether the second head gets a gradient.
    """

    loss: Callable[[Tensor, Tensor, Tensor, Tensor, float], dict[str, Tensor]]
    uses_posterior: bool


BASELINE_LOSSES: dict[str, BaselineLoss] = {}
"""``loss.kind`` beside ``hybrid`` -> loss; ``densehybrid_ros.research.register`` fills it."""
