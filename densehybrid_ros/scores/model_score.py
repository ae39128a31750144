# SPDX-License-Identifier: Apache-2.0
"""Scores that need more than the two heads of one pass: features, training statistics, gradients or several passes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from densehybrid_ros.networks import DenseHybrid


class Observation(NamedTuple):
    """What one pass over an image yields; maps are at the network's output stride.

    Attributes:
        model: The model that made the pass.
        images: float32 [B, 3, H, W], RGB in 0..1.
        prelogits: [B, C, h, w].
        logits: [B, K, h, w].
        posterior: [B, 2, h, w], index 1 = outlier.
    """

    model: DenseHybrid
    images: Tensor
    prelogits: Tensor
    logits: Tensor
    posterior: Tensor


class TrainingPixels(NamedTuple):
    """Labelled pixels of training frames, from which scores take their statistics.

    Attributes:
        features: float32 [N, C], what the classifier's convolution sees: pre-logits after batch norm and ReLU.
        logits: float32 [N, K].
        labels: int64 [N], train ids 0..K-1.
    """

    features: Tensor
    logits: Tensor
    labels: Tensor


class ModelScore(ABC):
    """An anomaly score of one model.

    Attributes:
        needs_fit: Whether ``fit`` must be called first.
    """

    needs_fit = False

    def fit(self, pixels: TrainingPixels) -> None:
        """Takes its statistics from training pixels; scores without statistics do nothing.

        Raises:
            InputError: There are too few pixels.
        """
        del pixels  # what takes no statistics needs none

    @abstractmethod
    def __call__(self, seen: Observation) -> Tensor:
        """Returns float32 [B, h, w]; higher = more anomalous. The caller enlarges it to the image."""


def observe(model: DenseHybrid, images: Tensor) -> Observation:
    """Runs the model once and keeps what the scores may need."""
    prelogits, logits = model.network(images)
    return Observation(model, images, prelogits, logits, model.posterior_head(prelogits))


def classifier_features(model: DenseHybrid, prelogits: Tensor) -> Tensor:
    """What the classifier's convolution sees: pre-logits after its batch norm and ReLU, [B, C, h, w]."""
    return model.network.classifier_features(prelogits)


def logits_of_features(model: DenseHybrid, features: Tensor) -> Tensor:
    """Applies the classifier's convolution to (altered) features [B, C, h, w]."""
    logits: Tensor = model.network.get_submodule(model.network.classifier_layer)(features)
    return logits


def training_pixels(seen: Observation, labels: Tensor, count: int, seed: int) -> TrainingPixels:
    """Takes a random sample of the labelled pixels of some frames, at the network's output stride.

    Args:
        seen: The frames.
        labels: uint8 [B, H, W], train ids, 255 void.
        count: Pixels at most.
        seed: Of the choice.
    """
    height, width = seen.logits.shape[-2:]
    small = nn.functional.interpolate(labels[:, None].float(), size=(height, width), mode="nearest")[:, 0].long()
    valid = torch.nonzero((small < seen.logits.shape[1]).flatten())[:, 0]
    generator = torch.Generator().manual_seed(seed)
    chosen = valid[torch.randperm(len(valid), generator=generator)[:count].to(valid.device)]
    features = classifier_features(seen.model, seen.prelogits)
    return TrainingPixels(_rows(features)[chosen], _rows(seen.logits)[chosen], small.flatten()[chosen])


def _rows(maps: Tensor) -> Tensor:
    return maps.float().permute(0, 2, 3, 1).flatten(0, 2)


def per_pixel(maps: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
    """Turns [B, C, h, w] into rows, float32 [B h w, C], and the shape (B, h, w) to return to."""
    return _rows(maps), (maps.shape[0], maps.shape[2], maps.shape[3])
