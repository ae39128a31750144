# SPDX-License-Identifier: Apache-2.0
"""What scores of more than the two heads have in common: features of one pass, and pixels of training frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from densehybrid_ros.inference.look import Observation
from densehybrid_ros.networks import DenseHybrid
from densehybrid_ros.networks.base import AdaptedNetwork
from densehybrid_ros.progress import progress

_PIXELS_PER_FRAME = 4096

Score = Callable[[Observation], Tensor]
"""One pass of the network -> float32 [B, h, w], higher = more anomalous. The caller enlarges it to the image."""


class TrainingPixels(NamedTuple):
    """Labelled pixels of training frames, from which scores take their statistics."""

    features: Tensor  # float32 [N, C], what the classifier's convolution sees: pre-logits after batch norm and ReLU
    logits: Tensor  # float32 [N, K]
    labels: Tensor  # int64 [N], train ids 0..K-1

    def check(self, score: str, fewest: int, reason: str = "") -> None:
        """Raises an InputError that names the score where there are fewer pixels than it needs."""
        if len(self.labels) < fewest:
            reason = reason or f"; at least {fewest} are needed"
            raise InputError(f"{score}: {len(self.labels)} training pixels are too few{reason}")


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


def rows(maps: Tensor) -> Tensor:
    """Turns [B, C, h, w] into a row for each pixel, float32 [B h w, C]."""
    return maps.float().permute(0, 2, 3, 1).flatten(0, 2)


def of_features(score: Callable[[Tensor], Tensor], chunk: int = 1 << 16) -> Score:
    """Returns the score that ``score``, float32 [n, C] -> [n], gives to every pixel's features, ``chunk`` at once."""

    def scored(seen: Observation) -> Tensor:
        features = classifier_features(seen.model, seen.prelogits)
        values = torch.cat([score(part) for part in rows(features).split(chunk)])
        return values.view(features.shape[0], *features.shape[2:])

    return scored


def training_pixels(seen: Observation, labels: Tensor, count: int, seed: int) -> TrainingPixels:
    """Takes a random sample of the labelled pixels of some frames, at the network's output stride.

    Args:
        seen: The frames.
        labels: uint8 [B, H, W], train ids, 255 void.
        count: Pixels at most.
        seed: Of the choice.
    """
    size = tuple(seen.logits.shape[-2:])
    small = nn.functional.interpolate(labels[:, None].float(), size=size, mode="nearest")[:, 0].long()
    valid = torch.nonzero((small < seen.logits.shape[1]).flatten())[:, 0]
    generator = torch.Generator().manual_seed(seed)
    chosen = valid[torch.randperm(len(valid), generator=generator)[:count].to(valid.device)]
    features = classifier_features(seen.model, seen.prelogits)
    return TrainingPixels(rows(features)[chosen], rows(seen.logits)[chosen], small.flatten()[chosen])


@torch.inference_mode()
def collect_pixels(segmenter: Segmenter, dataset: LabelledSet, indices: Sequence[int]) -> TrainingPixels:
    """Samples labelled pixels of training frames, those of ``indices``, with labels of the model's classes.

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
        # Labels are brought to where their frame lies in the network's input; the rest of it is void.
        fitted, (height, width) = np.full(look.placement.network, VOID, np.uint8), look.placement.content
        semantic = np.ascontiguousarray(frame.semantic)
        fitted[:height, :width] = cv2.resize(semantic, (width, height), interpolation=cv2.INTER_NEAREST)
        labels = torch.from_numpy(fitted).to(segmenter.device)
        parts.append(training_pixels(look.seen, labels[None], _PIXELS_PER_FRAME, seed=index))
    if not sum(len(part.labels) for part in parts):
        raise InputError("--fit-dataset: none of its frames has a labelled pixel")
    return TrainingPixels(*(torch.cat(columns) for columns in zip(*parts, strict=True)))
