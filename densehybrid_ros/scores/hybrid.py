"""The hybrid anomaly score and its two halves (paper, equations 1 to 8)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def likelihood(logits: Tensor, posterior: Tensor | None = None) -> Tensor:
    """Returns -ln p̂(x) = -logsumexp of the logits, equation (4).

    Args:
        logits: [B, K, H, W], any floating dtype; computed in float32.
        posterior: Not used; there so that all scores are called alike.

    Returns:
        float32 [B, H, W]; higher = more anomalous.
    """
    return -logits.float().logsumexp(dim=1)


def posterior(logits: Tensor | None, posterior: Tensor) -> Tensor:
    """Returns ln P(d_out|x), equation (6), from the two logits of the dataset posterior.

    ``log_softmax`` in float32: the logarithm of a softmax underflows to -inf on confident inliers.

    Args:
        logits: Not used; there so that all scores are called alike.
        posterior: [B, 2, H, W], index 1 = outlier.

    Returns:
        float32 [B, H, W], at most 0; higher = more anomalous.
    """
    return functional.log_softmax(posterior.float(), dim=1)[:, 1]


def hybrid(logits: Tensor, posterior: Tensor) -> Tensor:
    """Returns s(x) = ln P(d_out|x) - ln p̂(x), equation (8).

    Args:
        logits: [B, K, H, W].
        posterior: [B, 2, H, W], index 1 = outlier.

    Returns:
        float32 [B, H, W]; higher = more anomalous.
    """
    return functional.log_softmax(posterior.float(), dim=1)[:, 1] - logits.float().logsumexp(dim=1)
