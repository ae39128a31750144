# SPDX-License-Identifier: Apache-2.0
"""Anomaly scores from logits and dataset posterior (paper, equations 1 to 8).

Each maps logits [B, K, H, W] and posterior [B, 2, H, W] (index 1 = outlier), of any floating dtype, to float32
[B, H, W]; higher = more anomalous. All are called alike; what a score does not need may be None.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional


def likelihood(logits: Tensor, posterior: Tensor | None = None) -> Tensor:
    """Returns -ln p̂(x) = -logsumexp of the logits, equation (4)."""
    return -logits.float().logsumexp(dim=1)


def posterior(logits: Tensor | None, posterior: Tensor) -> Tensor:
    """Returns ln P(d_out|x), equation (6), at most 0.

    As the log-sigmoid of the logits' difference: the logarithm of a softmax underflows to -inf on confident inliers,
    and ``log_softmax`` rounds to 0 on outliers from 17 nats on, where they could no longer be told apart.
    """
    return _log_outlier(posterior)


def hybrid(logits: Tensor, posterior: Tensor) -> Tensor:
    """Returns s(x) = ln P(d_out|x) - ln p̂(x), equation (8)."""
    return _log_outlier(posterior) - logits.float().logsumexp(dim=1)


def _log_outlier(posterior: Tensor) -> Tensor:
    return functional.logsigmoid(posterior[:, 1].float() - posterior[:, 0].float())


def max_softmax(logits: Tensor, posterior: Tensor | None = None) -> Tensor:
    """Returns minus the largest softmax probability (Hendrycks & Gimpel 2017), in -1..-1/K."""
    return -functional.softmax(logits.float(), dim=1).amax(dim=1)


def max_logit(logits: Tensor, posterior: Tensor | None = None) -> Tensor:
    """Returns minus the largest logit (Hendrycks et al. 2022)."""
    return -logits.float().amax(dim=1)


SCORES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "hybrid": hybrid,
    "posterior": posterior,
    "likelihood": likelihood,
    "max_softmax": max_softmax,
    "max_logit": max_logit,
}
"""Name -> function of full-resolution logits [B, K, H, W] and posterior [B, 2, H, W]; ``research`` adds baselines."""
