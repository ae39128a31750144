# SPDX-License-Identifier: Apache-2.0
"""Scores of more than the two heads of one pass: features, statistics of training frames, gradients, several passes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from densehybrid_ros.datasets.labelled_set import LabelledSet
from densehybrid_ros.datasets.taxonomy import VOID
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.dense_scores import LeftOut, read_ahead
from densehybrid_ros.inference import Segmenter
from densehybrid_ros.inference.input_policy import Placement
from densehybrid_ros.inference.look import Observation
from densehybrid_ros.networks import DenseHybrid
from densehybrid_ros.networks.base import AdaptedNetwork
from densehybrid_ros.progress import progress

PIXELS_PER_FRAME = 4096


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


def classifier_features(model: DenseHybrid, prelogits: Tensor) -> Tensor:
    """What the classifier's convolution sees: pre-logits after its batch norm and ReLU, if it has any, [B, C, h, w].

    Raises:
        InputError: The classifier of a foreign network is more than a convolution.
    """
    network, (outer, _, last) = model.network, model.network.classifier_layer.rpartition(".")
    if isinstance(network, AdaptedNetwork):
        if last != "layer":
            raise InputError(f"classifier {outer}: this score needs one that is a convolution alone")
        return prelogits
    norm = getattr(network.get_submodule(outer), "norm", None) if outer else None
    return prelogits if norm is None else torch.relu(norm(prelogits))


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


@torch.inference_mode()
def collect_pixels(
    segmenter: Segmenter, dataset: LabelledSet, indices: Sequence[int], per_frame: int = PIXELS_PER_FRAME
) -> TrainingPixels:
    """Samples labelled pixels of training frames.

    Args:
        segmenter: What runs the model.
        dataset: Frames with semantic labels of the model's classes.
        indices: Which of them.
        per_frame: Pixels of a frame at most.

    Raises:
        InputError: A frame can't be read, has no semantic labels, or none has a labelled pixel.
    """
    parts = []
    dataset = dataset.for_classes([item.name for item in segmenter.card.classes])
    frames = progress(read_ahead(dataset, indices), "fit scores", total=len(indices))
    for index, frame in zip(indices, frames, strict=True):
        if isinstance(frame, LeftOut):
            raise InputError(frame.reason)
        if frame.semantic is None:
            raise InputError(f"{frame.name}: no semantic labels; fit scores on a data set that has classes")
        look = segmenter.look(frame.image)
        labels = torch.from_numpy(_fit(frame.semantic, look.placement)).to(segmenter.device)
        parts.append(training_pixels(look.seen, labels[None], per_frame, seed=index))
    if not sum(len(part.labels) for part in parts):
        raise InputError("--fit-dataset: none of its frames has a labelled pixel")
    return TrainingPixels(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def _fit(labels: np.ndarray, placement: Placement) -> np.ndarray:
    """Brings labels, uint8 [H, W], to where their frame lies in the network's input; the rest of it is void."""
    fitted = np.full(placement.network, VOID, dtype=np.uint8)
    rows, columns = placement.content
    fitted[:rows, :columns] = cv2.resize(np.ascontiguousarray(labels), (columns, rows), interpolation=cv2.INTER_NEAREST)
    return fitted
