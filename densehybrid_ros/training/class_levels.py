"""One level of the score for the inliers of all classes.

A benchmark that counts every pixel of a frame ranks the signs, riders and lorries of which a model is unsure above the
obstacle that it found on the road: between the mean inlier of the road and that of traffic lights lie more than a
hundred nats, because a mean over pixels hardly hears of rare classes, and a teacher hands its own unevenness on. So
inlier pixels may count by class instead, and what is learnt of a teacher may be brought to one level first.
"""

from __future__ import annotations

import torch
from torch import Tensor

_RAREST = 0.004  # of the labelled pixels; what keeps the weight of a class within bounds that has next to none
_BINS = 20  # one a train id; what is no class, void, falls into the last


def _membership(labels: Tensor) -> Tensor:
    """float32 [N, 20]: of which class each pixel is, the last column being void."""
    bins = torch.arange(_BINS, device=labels.device)
    return (labels.flatten().clamp(max=_BINS - 1).unsqueeze(1) == bins).float()


def class_weights(labels: Tensor, share: float) -> Tensor:
    """Returns how much each labelled pixel counts if classes are to count more alike; float32 [B, H, W].

    A pixel of class c, which has the part f_c of all labelled pixels, weighs (f_c + 0.004)^-share: 1 at share 0, and
    at 1 every class that is not very rare weighs as much as any other. Void weighs 1.

    Args:
        labels: integer [B, H, W], train ids below 19, 255 = void.
        share: In 0..1.
    """
    counts = _membership(labels[:, ::4, ::4]).sum(0)
    part = counts / counts[:-1].sum().clamp(min=1)
    weights = (part + _RAREST) ** -share
    weights = torch.cat([weights[:-1], torch.ones_like(weights[-1:])])
    return weights[labels.clamp(max=_BINS - 1).long()]


def evened(halves: Tensor, labels: Tensor, share: float) -> Tensor:
    """Takes from the score what a class is more unknown by, in the mean, than all labelled pixels; [B, 2, h, w].

    Classes that are better known than the mean stay where they are, and so does void, and with it what is pasted.

    Args:
        halves: float32 [B, 2, h, w], see ``teacher.score_halves``: ln p̂(x), and the log-odds of being unknown.
        labels: integer [B, h, w], train ids below 19, 255 = void.
        share: Of the difference that is taken away, in 0..1.
    """
    member = _membership(labels)
    values = halves.permute(1, 0, 2, 3).flatten(1)  # [2, N]
    counts = member.sum(0)
    means = values @ member / counts.clamp(min=1)
    overall = (means[:, :-1] * counts[:-1]).sum(1, keepdim=True) / counts[:-1].sum().clamp(min=1)
    off = means - overall
    off = torch.stack([off[0].clamp(max=0), off[1].clamp(min=0)])
    off[:, -1] = 0
    moved = (off @ member.T).view(2, *labels.shape).transpose(0, 1)
    return halves - share * moved
