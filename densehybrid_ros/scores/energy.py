# SPDX-License-Identifier: Apache-2.0
"""Entropy and free energy of the class posterior, from closed-set logits alone."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def entropy(logits: Tensor, posterior: Tensor | None = None) -> Tensor:
    """Returns the entropy of the softmax in nats (Steinhardt & Liang 2016, table 3's baseline).

    Args:
        logits: [B, K, H, W].
        posterior: Not used; there so that all scores are called alike.

    Returns:
        float32 [B, H, W] in 0..ln K; higher = more anomalous.
    """
    log_probabilities = functional.log_softmax(logits.float(), dim=1)
    return -(log_probabilities.exp() * log_probabilities).sum(dim=1)


def energy(logits: Tensor, posterior: Tensor | None = None, temperature: float = 1.0) -> Tensor:
    """Returns the free energy -T logsumexp(s / T) (Liu et al. 2020); at T = 1 it equals ``likelihood``.

    Args:
        logits: [B, K, H, W].
        posterior: Not used; there so that all scores are called alike.
        temperature: T, above 0.

    Returns:
        float32 [B, H, W]; higher = more anomalous.
    """
    return -temperature * (logits.float() / temperature).logsumexp(dim=1)
