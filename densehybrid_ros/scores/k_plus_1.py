# SPDX-License-Identifier: Apache-2.0
"""The score of a classifier with one class more, which ``densehybrid train`` makes with ``loss.kind: k_plus_1``."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def k_plus_1(logits: Tensor, posterior: Tensor) -> Tensor:
    """Returns ln P(K|x), the class "unknown" among K+1, whose logit is the outlier logit of the second head.

    Args:
        logits: [B, K, H, W].
        posterior: [B, 2, H, W], index 1 = outlier.

    Returns:
        float32 [B, H, W], at most 0; higher = more anomalous.
    """
    return functional.log_softmax(torch.cat([logits.float(), posterior.float()[:, 1:]], dim=1), dim=1)[:, -1]
