"""The losses of the paper (section 4), each a pure function of logits and labels.

Labels are train ids with 255 = void. A mask ``origin`` says where a pixel comes from: 0 inlier, 1 outlier (pasted
negative), 255 neither (a mixed border, or void). Every mean over an empty set is 0 with a zero gradient, so a batch
without negatives, or one that is all void, trains on.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from densehybrid_ros.datasets.taxonomy import VOID

INLIER, OUTLIER, NEITHER = 0, 1, 255


def exact(values: Tensor) -> Tensor:
    """Returns ``values`` in float32, or in float64 where they are that: half precision is too coarse for losses."""
    return values if values.dtype == torch.float64 else values.float()


def mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Returns the mean of ``values`` where ``mask``; 0 (with a zero gradient) where nothing is selected."""
    return torch.where(mask, values, torch.zeros_like(values)).sum() / mask.sum().clamp(min=1)


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


def likelihood_loss(logits: Tensor, labels: Tensor, origin: Tensor) -> Tensor:
    """The upper bound of the likelihood loss, equation (14): -E_in[s_y] + E_out[ln p̂(x)].

    Args:
        logits: [B, K, H, W].
        labels: integer [B, H, W], train ids, 255 = void.
        origin: integer [B, H, W]: 0 inlier, 1 outlier, 255 neither.
    """
    logits = exact(logits)
    known = labels != VOID
    own_logit = logits.gather(1, torch.where(known, labels, 0).long().unsqueeze(1)).squeeze(1)
    return outlier_likelihood(logits, origin) - mean_where(own_logit, known)


def outlier_likelihood(logits: Tensor, origin: Tensor, floor: float | None = None) -> Tensor:
    """E_out[ln p̂(x)], the part of (14) that the compound loss keeps.

    Args:
        logits: [B, K, H, W].
        origin: integer [B, H, W]; 1 = outlier.
        floor: The energy margin: a hinge, so that ln p̂ of an outlier is not pushed below this. Unbounded, the term
            can diverge on some data.
    """
    values = exact(logits).logsumexp(dim=1)
    if floor is not None:
        values = values.clamp(min=floor)
    return mean_where(values, origin == OUTLIER)


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


OPEN_SET_LOSSES = {"paper": compound_loss, "authors": authors_loss}
"""Name in a configuration -> weighting of the open-set loss."""
