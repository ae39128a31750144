# SPDX-License-Identifier: Apache-2.0
"""Fits scores that need statistics of training frames."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from densehybrid_ros.datasets.evaluation_set import EvaluationSet
from densehybrid_ros.datasets.taxonomy import VOID
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.dense_scores import LeftOut, read_ahead
from densehybrid_ros.inference import Segmenter
from densehybrid_ros.inference.input_policy import Placement
from densehybrid_ros.progress import progress
from densehybrid_ros.scores.model_score import ModelScore, TrainingPixels, training_pixels
from densehybrid_ros.scores.model_scores import MODEL_SCORES

PIXELS_PER_FRAME = 4096


def build_model_scores(names: Sequence[str]) -> dict[str, ModelScore]:
    """Builds those of the named scores that need the model itself, not yet fitted."""
    return {name: MODEL_SCORES[name]() for name in names if name in MODEL_SCORES}


@torch.inference_mode()
def collect_pixels(
    segmenter: Segmenter, dataset: EvaluationSet, indices: Sequence[int], per_frame: int = PIXELS_PER_FRAME
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


def fit_scores(scores: dict[str, ModelScore], pixels: TrainingPixels) -> None:
    """Fits every score that needs it."""
    for score in scores.values():
        if score.needs_fit:
            score.fit(pixels)
