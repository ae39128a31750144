# SPDX-License-Identifier: Apache-2.0
"""The baselines of the paper's tables: scores of the two heads, and the losses that belong to them.

Scores take logits [B, K, H, W] and posterior [B, 2, H, W] (index 1 = outlier), as those of ``densehybrid_ros.scores``,
and return float32 [B, H, W], higher = more anomalous. Arguments and result of a loss are those of
``training.losses.compound_loss``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from densehybrid_ros.datasets.taxonomy import VOID
from densehybrid_ros.training.losses import (
    INLIER,
    OUTLIER,
    BaselineLoss,
    closed_set_loss,
    exact,
    mean_where,
    posterior_loss,
)

_INLIER_ENERGY, _OUTLIER_ENERGY = -15.0, -5.0  # nats: inliers are pushed below, outliers above


def entropy(logits: Tensor, posterior: Tensor | None = None) -> Tensor:
    """Returns the entropy of the softmax in nats, 0..ln K (Steinhardt & Liang 2016, table 3's baseline)."""
    log_probabilities = functional.log_softmax(logits.float(), dim=1)
    return -(log_probabilities.exp() * log_probabilities).sum(dim=1)


def energy(logits: Tensor, posterior: Tensor | None = None) -> Tensor:
    """Returns the free energy -logsumexp(s) (Liu et al. 2020) at temperature 1, where it equals ``likelihood``."""
    return -logits.float().logsumexp(dim=1)


def outlier_head(logits: Tensor | None, posterior: Tensor) -> Tensor:
    """Returns P(d_out|x), the outlier head's probability; it saturates where ``posterior``, its logarithm, does not."""
    return functional.softmax(posterior.float(), dim=1)[:, 1]


def outlier_head_max_softmax(logits: Tensor, posterior: Tensor) -> Tensor:
    """Returns -P(d_in|x) max_k P(k|x): a pixel is inlier where both the head and the classifier say so."""
    inlier = functional.softmax(posterior.float(), dim=1)[:, 0]
    return -inlier * functional.softmax(logits.float(), dim=1).amax(dim=1)


def k_plus_1(logits: Tensor, posterior: Tensor) -> Tensor:
    """Returns ln P(K|x), the class "unknown" among K+1, whose logit is the outlier logit of the second head."""
    return functional.log_softmax(torch.cat([logits.float(), posterior.float()[:, 1:]], dim=1), dim=1)[:, -1]


BASELINE_SCORES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "entropy": entropy,
    "energy": energy,
    "oh": outlier_head,
    "oh_msp": outlier_head_max_softmax,
    "k_plus_1": k_plus_1,
}
"""Name -> score."""


def ood_head_loss(logits: Tensor, posterior: Tensor, labels: Tensor, origin: Tensor, beta: float) -> dict[str, Tensor]:
    """The OOD head alone (Bevandić et al. 2022): closed-set loss and the posterior's, no likelihood term."""
    closed_set, terms = closed_set_loss(logits, labels), posterior_loss(posterior, origin)
    return {
        "loss": closed_set + terms.inlier + beta * terms.outlier,
        "closed_set": closed_set,
        "inlier_posterior": terms.inlier,
        "outlier_posterior": terms.outlier,
    }


def outlier_exposure_loss(
    logits: Tensor, posterior: Tensor, labels: Tensor, origin: Tensor, beta: float
) -> dict[str, Tensor]:
    """Outlier exposure (Hendrycks et al. 2019): the classifier shall be undecided on negatives.

    L = E_in[-ln P(y|x)] + beta E_out[-(1/K) sum_k ln P(k|x)]; the published beta is 0.5.
    """
    closed_set = closed_set_loss(logits, labels)
    undecided = mean_where(-functional.log_softmax(exact(logits), dim=1).mean(1), origin == OUTLIER)
    return {"loss": closed_set + beta * undecided, "closed_set": closed_set, "outlier_uniform": undecided}


def energy_loss(logits: Tensor, posterior: Tensor, labels: Tensor, origin: Tensor, beta: float) -> dict[str, Tensor]:
    """Energy fine-tuning (Liu et al. 2020, equation 6) with the energy E(x) = -ln sum_k exp s_k.

    L = E_in[-ln P(y|x)] + beta (E_in[max(0, E - m_in)^2] + E_out[max(0, m_out - E)^2]); the published beta is 0.1. With
    the paper's m_in = -15 and m_out = -5 the log-sum-exp of inliers is pushed above 15, that of outliers below 5.
    """
    closed_set = closed_set_loss(logits, labels)
    values = -exact(logits).logsumexp(1)
    inlier = mean_where((values - _INLIER_ENERGY).clamp(min=0).square(), origin == INLIER)
    outlier = mean_where((_OUTLIER_ENERGY - values).clamp(min=0).square(), origin == OUTLIER)
    return {
        "loss": closed_set + beta * (inlier + outlier),
        "closed_set": closed_set,
        "inlier_energy": inlier,
        "outlier_energy": outlier,
    }


def k_plus_1_loss(logits: Tensor, posterior: Tensor, labels: Tensor, origin: Tensor, beta: float) -> dict[str, Tensor]:
    """A classifier with one class more: outliers are class K, whose logit is the outlier logit of the second head.

    L = E_in[-ln P(y|x)] + beta E_out[-ln P(K|x)], both by the softmax over K+1 logits. With ``negatives.source: void``
    it is the void classifier (Blum et al. 2021).
    """
    everything = functional.log_softmax(torch.cat([exact(logits), exact(posterior)[:, 1:]], dim=1), dim=1)
    known = labels != VOID
    own = everything.gather(1, torch.where(known, labels, 0).long().unsqueeze(1)).squeeze(1)
    closed_set = mean_where(-own, known)
    unknown = mean_where(-everything[:, -1], origin == OUTLIER)
    return {"loss": closed_set + beta * unknown, "closed_set": closed_set, "outlier_class": unknown}


BASELINE_LOSSES = {
    "ood_head": BaselineLoss(ood_head_loss, uses_posterior=True),
    "outlier_exposure": BaselineLoss(outlier_exposure_loss, uses_posterior=False),
    "energy": BaselineLoss(energy_loss, uses_posterior=False),
    "k_plus_1": BaselineLoss(k_plus_1_loss, uses_posterior=True),
}
"""``loss.kind`` in a configuration -> loss."""
