# SPDX-License-Identifier: Apache-2.0
"""Mixed-content images, equation (18): what is pasted, laid over inlier crops.

What a crop gets is drawn and put together beforehand, on the CPU, as one overlay with alpha (``pasting``); a batch of
overlays is then laid over a batch of crops on the device, in a handful of kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.datasets.taxonomy import VOID
from densehybrid_ros.datasets.training_frames import KNOWN, UNKNOWN
from densehybrid_ros.training.crops import CropContext
from densehybrid_ros.training.losses import INLIER, NEITHER, OUTLIER

# Alpha above: the object; below: the scene; between: a mixed border that teaches nothing.
_OPAQUE, _CLEAR = 0.5, 0.05

_REAL_WEIGHT = 2.0  # of a real unknown beside a pasted one, of which there are many more

WEIGHT_STEP = 16
"""Weights of outliers are kept as bytes in units of 1/16: 0 to 15.9."""


class MixedBatch(NamedTuple):
    """A batch of mixed-content images."""

    images: Tensor  # float32 [B, 3, h, w], RGB in 0..1
    labels: Tensor  # uint8 [B, h, w], train ids; 255 = void, and on all negatives
    origin: Tensor  # uint8 [B, h, w]: 0 inlier, 1 outlier, 255 neither (void of the scene, mixed borders)
    weights: Tensor | None = None  # float32 [B, h, w], how much each outlier pixel counts; None: all alike


DrawOverlay = Callable[[CropContext, np.random.Generator], Tensor | None]
"""(what the crop shows, random numbers) -> what is laid over it, or None for nothing.

An overlay is uint8 [6, h, w] of the size of the crop: RGB; alpha (255 = covers the scene); train id of what is known
(255 = a negative); weight of negatives in sixteenths.
"""


def without_pasting(images: Tensor, labels: Tensor) -> MixedBatch:
    """Returns crops with their origin mask: known pixels are inliers, real unknowns outliers, void neither.

    Args:
        images: float32 [B, 3, h, w], RGB in 0..1.
        labels: uint8 [B, h, w], train ids, 255 = void, ``UNKNOWN`` and ``KNOWN``.
    """
    origin = torch.where(labels == VOID, NEITHER, INLIER).to(torch.uint8)
    unknown = labels == UNKNOWN
    origin[unknown] = OUTLIER
    return MixedBatch(images, labels.masked_fill(unknown | (labels == KNOWN), VOID), origin)


def void_as_negatives(images: Tensor, labels: Tensor) -> MixedBatch:
    """As ``without_pasting``, with void pixels as the outliers, as the void classifier wants them."""
    return without_pasting(images, torch.where(labels == VOID, UNKNOWN, labels))


def lay_over(images: Tensor, labels: Tensor, overlays: Sequence[Tensor | None]) -> MixedBatch:
    """Lays each inlier crop's overlay over it: x' = (1 - m) x+ + m x-; crops as ``without_pasting`` takes them."""
    mixed = without_pasting(images, labels)
    chosen = [(index, overlay) for index, overlay in enumerate(overlays) if overlay is not None]
    if not chosen:
        return mixed
    pixels = torch.stack([overlay.to(images.device, non_blocking=True) for _, overlay in chosen])
    where = torch.tensor([index for index, _ in chosen]).to(images.device, non_blocking=True)
    color, alpha = pixels[:, :3].float() / 255, pixels[:, 3:4].float() / 255
    known = pixels[:, 4]
    pasted, touched = alpha[:, 0] > _OPAQUE, alpha[:, 0] > _CLEAR
    mixed.images[where] = (1 - alpha) * mixed.images[where] + alpha * color
    mixed.labels[where] = torch.where(pasted, known, torch.where(touched, VOID, mixed.labels[where]))
    border = torch.where(touched, NEITHER, mixed.origin[where])
    mixed.origin[where] = torch.where(pasted, torch.where(known == VOID, OUTLIER, INLIER), border).to(torch.uint8)
    weights = torch.where(mixed.origin == OUTLIER, _REAL_WEIGHT, 1.0)
    weights[where] = pixels[:, 5].float() / WEIGHT_STEP
    return mixed._replace(weights=weights)
