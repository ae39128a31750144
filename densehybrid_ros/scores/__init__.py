# SPDX-License-Identifier: Apache-2.0
"""Anomaly scores from logits and dataset posterior; float32, higher = more anomalous."""

from collections.abc import Callable

from torch import Tensor

from densehybrid_ros.scores.confidence import max_logit, max_softmax
from densehybrid_ros.scores.energy import energy, entropy
from densehybrid_ros.scores.hybrid import hybrid, likelihood, posterior
from densehybrid_ros.scores.k_plus_1 import k_plus_1
from densehybrid_ros.scores.outlier_head import outlier_head, outlier_head_max_softmax

SCORES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "hybrid": hybrid,
    "posterior": posterior,
    "likelihood": likelihood,
    "max_softmax": max_softmax,
    "max_logit": max_logit,
    "entropy": entropy,
    "energy": energy,
    "oh": outlier_head,
    "oh_msp": outlier_head_max_softmax,
    "k_plus_1": k_plus_1,
}
"""Name -> function of full-resolution logits [B, K, H, W] and posterior [B, 2, H, W]."""

__all__ = ["SCORES", "hybrid", "likelihood", "max_logit", "max_softmax", "posterior"]
