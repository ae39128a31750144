"""Fits scores that need statistics of training frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from densehybrid_ros.datasets.evaluation_set import EvaluationSet
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.dense_scores import LeftOut, read_ahead
from densehybrid_ros.networks import DenseHybrid
from densehybrid_ros.progress import progress
from densehybrid_ros.scores.model_score import ModelScore, TrainingPixels, training_pixels
from densehybrid_ros.scores.model_scores import MODEL_SCORES

PIXELS_PER_FRAME = 4096


def build_model_scores(names: Sequence[str]) -> dict[str, ModelScore]:
    """Builds those of the named scores that need the model itself, not yet fitted."""
    return {name: MODEL_SCORES[name]() for name in names if name in MODEL_SCORES}


@torch.inference_mode()
def collect_pixels(
    model: DenseHybrid,
    dataset: EvaluationSet,
    indices: Sequence[int],
    device: torch.device,
    per_frame: int = PIXELS_PER_FRAME,
) -> TrainingPixels:
    """Samples labelled pixels of training frames.

    Args:
        model: The model, on ``device``.
        dataset: Frames with semantic labels of the model's classes.
        indices: Which of them.
        device: Where the model is.
        per_frame: Pixels of a frame at most.

    Raises:
        InputError: A frame can't be read, has no semantic labels, or none has a labelled pixel.
    """
    parts = []
    frames = progress(read_ahead(dataset, indices), "fit scores", total=len(indices))
    for index, frame in zip(indices, frames, strict=True):
        if isinstance(frame, LeftOut):
            raise InputError(frame.reason)
        if frame.semantic is None:
            raise InputError(f"{frame.name}: no semantic labels; fit scores on a data set that has classes")
        images = torch.from_numpy(np.require(frame.image, requirements=["C", "W"])).to(device)
        labels = torch.from_numpy(np.require(frame.semantic, requirements=["C", "W"])).to(device)
        scaled = images.permute(2, 0, 1)[None].float() / 255
        parts.append(training_pixels(model, scaled, labels[None], per_frame, seed=index))
    if not sum(len(part.labels) for part in parts):
        raise InputError("--fit-dataset: none of its frames has a labelled pixel")
    return TrainingPixels(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def fit_scores(scores: dict[str, ModelScore], pixels: TrainingPixels) -> None:
    """Fits every score that needs it."""
    for score in scores.values():
        if score.needs_fit:
            score.fit(pixels)
