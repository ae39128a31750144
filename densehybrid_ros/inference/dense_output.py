# SPDX-License-Identifier: Apache-2.0
"""From the network's low-resolution outputs to full-size class ids, score, open-set ids and confidence: the reference.

``host_kernels`` and ``device_kernels`` compute the same in one pass and are tested against this.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from densehybrid_ros.confidence import Confidence
from densehybrid_ros.inference.input_policy import Sampling, resample
from densehybrid_ros.networks import HybridOutput, upsample
from densehybrid_ros.scores import hybrid

PLAIN_CONFIDENCE = Confidence(0.0, 1.0)
"""Odds that change by one a nat and are even at score 0."""


class DenseOutput(NamedTuple):
    """Full-size results on the device.

    Attributes:
        semantic: uint8 [H, W], train ids 0..K-1.
        anomaly_score: float32 [H, W], the hybrid score s(x) in nats; higher = more anomalous.
        open_set: uint8 [H, W], as ``semantic`` but K where the score exceeds the threshold.
        confidence: uint8 [H, W], round(255 * P(anomaly)), see ``confidence.Confidence``.
        not_finite: uint8 [1], 1 where any score is not finite, else 0. Such a frame says nothing.
    """

    semantic: Tensor
    anomaly_score: Tensor
    open_set: Tensor
    confidence: Tensor
    not_finite: Tensor


def enlarge(
    maps: Tensor, size: tuple[int, int], align_corners: bool = False, sampling: Sampling | None = None
) -> Tensor:
    """Enlarges [1, C, h, w] of the network's output bilinearly to float32 [1, C, H, W]; see ``dense_output``."""
    if sampling is None:
        return upsample(maps.float(), size, align_corners)
    return resample(maps.float(), size, sampling)


def dense_output(
    output: HybridOutput,
    size: tuple[int, int],
    threshold: Tensor | float,
    confidence: Confidence = PLAIN_CONFIDENCE,
    align_corners: bool = False,
    sampling: Sampling | None = None,
) -> DenseOutput:
    """Upsamples both heads to ``size``, then takes argmax, score (8), the thresholded fusion (figure 3) and confidence.

    Both heads are upsampled *before* log-sum-exp and softmax, as the authors do.

    Args:
        output: Outputs of one image, [1, K, h, w] and [1, 2, h, w].
        size: (rows, columns) of the result.
        threshold: Anomaly threshold in nats; a 0-d tensor keeps compiled graphs valid when it changes.
        confidence: How the score becomes a probability.
        align_corners: The ``align_corners`` of the model.
        sampling: Where result pixels lie in the output, if the frame is not the network's input, pixel by pixel.
    """
    logits, posterior = (enlarge(maps, size, align_corners, sampling) for maps in output)
    score = hybrid(logits, posterior)[0]
    semantic = logits.argmax(dim=1)[0].to(torch.uint8)
    unknown = torch.full_like(semantic, logits.shape[1])
    probability = (255 * confidence.probability(score)).round().to(torch.uint8)
    not_finite = (~score.isfinite()).any().to(torch.uint8).view(1)
    return DenseOutput(semantic, score, torch.where(score > threshold, unknown, semantic), probability, not_finite)
