# SPDX-License-Identifier: Apache-2.0
"""What a frame comes back as, and the memory that it lies in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.confidence import Confidence
from densehybrid_ros.errors import ComputationError
from densehybrid_ros.inference.dense_output import DenseOutput

_BYTES_A_PIXEL = 7  # float32 score and three masks


class Levels(NamedTuple):
    """What turns scores into masks.

    Attributes:
        threshold: Anomaly threshold in nats.
        confidence: How the score becomes a probability.
    """

    threshold: float
    confidence: Confidence


@dataclass(frozen=True)
class FrameResult:
    """Results of one frame on the host; the arrays are contiguous.

    They belong to the caller for as long as it keeps them, or anything that looks at them.

    Attributes:
        semantic: uint8 [H, W], train ids 0..K-1.
        anomaly_score: float32 [H, W], s(x) in nats; higher = more anomalous.
        open_set: uint8 [H, W], train ids, K where the score exceeds the threshold.
        confidence: uint8 [H, W], P(anomaly) in 255 steps; empty [0, 0] in results that were not made by a segmenter.
    """

    semantic: np.ndarray
    anomaly_score: np.ndarray
    open_set: np.ndarray
    confidence: np.ndarray = field(default_factory=lambda: np.empty((0, 0), dtype=np.uint8))

    @property
    def probability(self) -> np.ndarray:
        """float32 [H, W], the calibrated P(anomaly) in 0..1, in 255 steps."""
        return self.confidence * np.float32(1 / 255)


def packed_output(
    size: tuple[int, int], device: torch.device | str, pinned: bool = False
) -> tuple[Tensor, DenseOutput]:
    """Returns room for all results of a frame, uint8 [7 * H * W + 1], which one copy moves, and its five parts.

    On the host it is new for each frame, so that results belong to the caller: PyTorch keeps page-locked memory that is
    freed, and glibc the other (``host_memory``), so a frame costs no allocation where results are dropped.
    """
    pixels = size[0] * size[1]
    buffer = torch.empty(_BYTES_A_PIXEL * pixels + 1, dtype=torch.uint8, device=device, pin_memory=pinned)
    score = buffer[: 4 * pixels].view(torch.float32).view(size)
    semantic, open_set, confidence = (buffer[at * pixels : (at + 1) * pixels].view(size) for at in (4, 5, 6))
    return buffer, DenseOutput(semantic, score, open_set, confidence, buffer[-1:].zero_())


def frame_result(output: DenseOutput) -> FrameResult:
    """Returns what lies on the host as a result.

    Raises:
        ComputationError: A score is not finite, as the output's mark says.
    """
    semantic, score, open_set, confidence, _ = (part.numpy() for part in output)
    if output.not_finite:
        where = f"{np.count_nonzero(~np.isfinite(score))} of {score.size} pixels"
        raise ComputationError(
            f"the score of this frame is not finite ({where}): use precision fp32 or bf16, or another model"
        )
    return FrameResult(semantic, score, open_set, confidence)
