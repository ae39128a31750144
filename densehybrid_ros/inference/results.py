# SPDX-License-Identifier: Apache-2.0
"""What a frame comes back as, and the host buffers that results lie in."""

from __future__ import annotations

import weakref
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
    """Returns all results of a frame as one piece, uint8 [7 * H * W + 1], which one copy moves, and its five views."""
    length = _BYTES_A_PIXEL * size[0] * size[1] + 1
    buffer = torch.zeros(length, dtype=torch.uint8, device=device, pin_memory=pinned)
    return buffer, views(buffer, size)


def views(buffer: Tensor, size: tuple[int, int]) -> DenseOutput:
    """Returns the parts of such a buffer for a frame of (height, width)."""
    pixels = size[0] * size[1]
    score = buffer[: 4 * pixels].view(torch.float32).view(size)
    semantic, open_set, confidence = (buffer[at * pixels : (at + 1) * pixels].view(size) for at in (4, 5, 6))
    return DenseOutput(semantic, score, open_set, confidence, buffer[_BYTES_A_PIXEL * pixels :])


def check_finite(buffer: Tensor, result: FrameResult) -> None:
    """Raises a ComputationError where the last byte of a filled buffer marks a score that is not finite."""
    if buffer[-1]:
        score = result.anomaly_score
        where = f"{np.count_nonzero(~np.isfinite(score))} of {score.size} pixels"
        raise ComputationError(
            f"the score of this frame is not finite ({where}): use precision fp32 or bf16, or another model"
        )


class ResultPool:
    """Host buffers for results, used again once their former results are gone.

    A caller that drops each result before it asks for the second next one, as the node does, needs two buffers in all;
    one that keeps results gets new ones. So nothing is overwritten, and nothing is allocated for each frame.
    """

    def __init__(self, size: tuple[int, int], pinned: bool) -> None:
        """Makes an empty pool; ``pinned``: of page-locked memory, which a GPU copies to without help of the CPU."""
        self._size, self._pinned = size, pinned
        self._buffers: list[tuple[Tensor, weakref.ref[np.ndarray] | None]] = []

    def __len__(self) -> int:
        """Number of buffers that were allocated."""
        return len(self._buffers)

    def take(self) -> tuple[Tensor, FrameResult]:
        """Returns a free buffer, uint8 [7 * H * W + 1], and the result that looks at it."""
        free = (index for index, (_, user) in enumerate(self._buffers) if user is None or user() is None)
        index = next(free, len(self._buffers))
        if index == len(self._buffers):
            self._buffers.append((packed_output(self._size, "cpu", self._pinned)[0], None))
        buffer = self._buffers[index][0]
        # Every view of this array keeps it alive, and nothing else does.
        root = buffer.numpy()
        self._buffers[index] = (buffer, weakref.ref(root))
        pixels = self._size[0] * self._size[1]
        score = root[: 4 * pixels].view(np.float32).reshape(self._size)
        semantic, open_set, confidence = (root[at * pixels : (at + 1) * pixels].reshape(self._size) for at in (4, 5, 6))
        return buffer, FrameResult(semantic, score, open_set, confidence)
