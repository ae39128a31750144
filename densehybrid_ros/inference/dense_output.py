"""From the network's low-resolution outputs to full-size class ids, score and open-set ids."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from densehybrid_ros.networks import HybridOutput, upsample
from densehybrid_ros.scores import hybrid


class DenseOutput(NamedTuple):
    """Full-size results on the device.

    Attributes:
        semantic: uint8 [H, W], train ids 0..K-1.
        anomaly_score: float32 [H, W], the hybrid score s(x) in nats; higher = more anomalous.
        open_set: uint8 [H, W], as ``semantic`` but K where the score exceeds the threshold.
    """

    semantic: Tensor
    anomaly_score: Tensor
    open_set: Tensor


def dense_output(output: HybridOutput, size: tuple[int, int], threshold: Tensor | float) -> DenseOutput:
    """Upsamples both heads to ``size``, then takes argmax, score (8) and the thresholded fusion (figure 3).

    Both heads are upsampled *before* log-sum-exp and softmax, as the authors do.

    Args:
        output: Outputs of one image, [1, K, h, w] and [1, 2, h, w].
        size: (rows, columns) of the result.
        threshold: Anomaly threshold in nats; a 0-d tensor keeps compiled graphs valid when it changes.
    """
    logits = upsample(output.logits.float(), size)
    score = hybrid(logits, upsample(output.posterior.float(), size))[0]
    semantic = logits.argmax(dim=1)[0].to(torch.uint8)
    unknown = torch.full_like(semantic, logits.shape[1])
    return DenseOutput(semantic, score, torch.where(score > threshold, unknown, semantic))
