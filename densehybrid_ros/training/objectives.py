# SPDX-License-Identifier: Apache-2.0
"""From a configuration to the loss of a batch."""

from __future__ import annotations

import math

from torch import Tensor

from densehybrid_ros.training.baseline_losses import (
    energy_loss,
    k_plus_1_loss,
    ood_head_loss,
    outlier_exposure_loss,
)
from densehybrid_ros.training.config import TrainConfig
from densehybrid_ros.training.losses import OPEN_SET_LOSSES, Margins, closed_set_loss, margin_loss


def objective(
    config: TrainConfig,
    logits: Tensor,
    posterior: Tensor,
    labels: Tensor,
    origin: Tensor,
    weights: Tensor | None = None,
) -> dict[str, Tensor]:
    """Returns ``loss`` and its parts for logits [B, K, H, W] and [B, 2, H, W] of a batch; see ``losses``.

    ``weights`` of outliers count in the loss with margins alone.
    """
    settings = config.loss
    if config.stage == "closed_set":
        return {"loss": closed_set_loss(logits, labels)}
    if settings.kind == "ood_head":
        return ood_head_loss(logits, posterior, labels, origin, settings.beta)
    if settings.kind == "outlier_exposure":
        return outlier_exposure_loss(logits, labels, origin, settings.beta)
    if settings.kind == "energy":
        return energy_loss(logits, labels, origin, settings.beta)
    if settings.kind == "k_plus_1":
        return k_plus_1_loss(logits, posterior, labels, origin, settings.beta)
    if settings.weighting == "margins":
        margins = Margins(
            settings.beta,
            settings.likelihood_floor if settings.likelihood_floor is not None else -math.inf,
            settings.likelihood_ceiling,
            settings.posterior_weight,
            settings.hard_share,
        )
        return margin_loss(logits, posterior, labels, origin, margins, weights)
    weighting = OPEN_SET_LOSSES[settings.weighting]
    return weighting(logits, posterior, labels, origin, settings.beta, settings.likelihood_floor)


def uses_posterior(config: TrainConfig) -> bool:
    """Whether the second head gets a gradient."""
    return config.stage == "open_set" and config.loss.kind in ("hybrid", "ood_head", "k_plus_1")
