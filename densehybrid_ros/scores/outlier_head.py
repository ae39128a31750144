# SPDX-License-Identifier: Apache-2.0
"""The outlier head of Bevandić et al. (2022), alone and times max-softmax (OH and OH*MSP in the paper's table 4)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def outlier_head(logits: Tensor | None, posterior: Tensor) -> Tensor:
    """Returns P(d_out|x), the outlier head's probability.

    Args:
        logits: Not used; there so that all scores are called alike.
        posterior: [B, 2, H, W], index 1 = outlier.

    Returns:
        float32 [B, H, W] in 0..1; higher = more anomalous. It saturates where ``posterior``, its logarithm, does not.
    """
    return functional.softmax(posterior.float(), dim=1)[:, 1]


def outlier_head_max_softmax(logits: Tensor, posterior: Tensor) -> Tensor:
    """Returns -P(d_in|x) max_k P(k|x): a pixel is inlier where both the head and the classifier say so.

    Args:
        logits: [B, K, H, W].
        posterior: [B, 2, H, W], index 1 = outlier.

    Returns:
        float32 [B, H, W] in -1..0; higher = more anomalous.
    """
    inlier = functional.softmax(posterior.float(), dim=1)[:, 0]
    return -inlier * functional.softmax(logits.float(), dim=1).amax(dim=1)
