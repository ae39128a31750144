"""A training run put together from its configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from densehybrid_ros.networks import ModelCard
from densehybrid_ros.training.batches import BatchMaker, Maker
from densehybrid_ros.training.closed_set_accuracy import mean_iou
from densehybrid_ros.training.config import TrainConfig
from densehybrid_ros.training.distributed import Processes
from densehybrid_ros.training.flow_task import FlowTask, flow_figures, held_out_crops
from densehybrid_ros.training.plain_crops import plain_crops
from densehybrid_ros.training.run_data import (
    classes_of,
    held_out_frames,
    open_layers,
    open_sets,
    training_sources,
    validation_sources,
)
from densehybrid_ros.training.run_models import initial_flow, initial_model, open_partner, open_teacher
from densehybrid_ros.training.segmentation_task import SegmentationTask
from densehybrid_ros.training.synthetic_negatives import FlowPartner

_HELD_OUT_CROPS = 256


@dataclass
class RunParts:
    """What a run consists of.

    Attributes:
        task: What is trained.
        maker: Makes its batches.
        validate: Figures of a model or flow; None where there is nothing to validate on.
        card: Card of the model that the run starts from, or of the new one.
        partner: The jointly trained flow, if there is one.
    """

    task: Any
    maker: Maker
    validate: Callable[[Any], dict[str, float]] | None
    card: ModelCard
    partner: FlowPartner | None = None


def open_run(config: TrainConfig, device: torch.device, processes: Processes) -> RunParts:
    """Opens frames, negatives and models of a run.

    Raises:
        InputError: Something is missing, unreadable or does not fit together.
    """
    torch.manual_seed(config.seed)
    return (_flow_run if config.stage == "flow" else _segmentation_run)(config, device, processes)


def _flow_run(config: TrainConfig, device: torch.device, processes: Processes) -> RunParts:
    flow = initial_flow(config)
    sources = training_sources(config, open_sets(config, "train"), device)
    maker = plain_crops(config, sources, device) or BatchMaker(config.seed, config.crops, sources, device)
    crops = held_out_crops(held_out_frames(config), _HELD_OUT_CROPS, (config.crops.height, config.crops.width))
    validate = partial(flow_figures, crops=crops.to(device))
    return RunParts(
        FlowTask(config, flow, device, processes), maker, validate, ModelCard(config.name, config.architecture)
    )


def _segmentation_run(config: TrainConfig, device: torch.device, processes: Processes) -> RunParts:
    sets = open_sets(config, "train")
    model, card = initial_model(config, classes_of(sets))
    partner = open_partner(config, device, processes)
    teacher = open_teacher(config, card.classes)  # before the frames, which take their time: a name may be wrong
    sources = training_sources(config, sets, device)
    layers = open_layers(config, sources)
    held_out = validation_sources(config)
    void_is_outlier = config.stage == "open_set" and config.negatives.source == "void"
    plain = config.loss.plain_teacher
    maker = BatchMaker(config.seed, config.crops, sources, device, layers, void_is_outlier, plain)
    validate = partial(mean_iou, sources=held_out, device=device, processes=processes) if held_out else None
    task = SegmentationTask(config, model, device, processes, partner, teacher)
    return RunParts(task, maker, validate, card, partner)
