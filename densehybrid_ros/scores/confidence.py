# SPDX-License-Identifier: Apache-2.0
"""Classical scores from closed-set logits alone, the baselines of the paper's tables 1, 2, 4 and 6."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def max_softmax(logits: Tensor, posterior: Tensor | None = None) -> Tensor:
    """Returns minus the largest softmax probability (Hendrycks & Gimpel 2017).

    Args:
        logits: [B, K, H, W].
        posterior: Not used; there so that all scores are called alike.

    Returns:
        float32 [B, H, W] in -1..-1/K; higher = more anomalous.
    """
    return -functional.softmax(logits.float(), dim=1).amax(dim=1)


def max_logit(logits: Tensor, posterior: Tensor | None = None) -> Tensor:
    """Returns minus the largest logit (Hendrycks et al. 2022).

    Args:
        logits: [B, K, H, W].
        posterior: Not used; there so that all scores are called alike.

    Returns:
        float32 [B, H, W]; higher = more anomalous.
    """
    return -logits.float().amax(dim=1)
