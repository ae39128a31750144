# SPDX-License-Identifier: Apache-2.0
"""A training run put together from its configuration."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from densehybrid_ros.errors import InputError
from densehybrid_ros.networks import ModelCard
from densehybrid_ros.training.batches import BatchMaker, BatchSource, plain_crops
from densehybrid_ros.training.config import TrainConfig
from densehybrid_ros.training.distributed import Processes
from densehybrid_ros.training.flow_task import FlowTask, flow_figures, held_out_crops
from densehybrid_ros.training.run_data import (
    classes_of,
    counted,
    held_out_frames,
    labels_real_unknowns,
    names_unknowns,
    open_overlays,
    open_sets,
    training_sources,
    validation_sources,
)
from densehybrid_ros.training.run_models import initial_flow, initial_model, open_partner
from densehybrid_ros.training.segmentation_task import SegmentationTask, mean_iou
from densehybrid_ros.training.synthetic_negatives import FlowPartner

_HELD_OUT_CROPS = 256
_CPU_BYTES = 3072  # a pixel of a crop: activations and gradients of the light network; others need more


@dataclass
class RunParts:
    """What a run consists of.

    Attributes:
        task: What is trained.
        maker: Makes its batches.
        validate: Figures of a model or flow; None where there is nothing to validate on.
        card: Card of the model that the run starts from, or of the new one, with the classes of the frames.
        data: Number of frames and negatives by name, as a card says it.
        partner: The jointly trained flow, if there is one.
    """

    task: Any
    maker: BatchSource
    validate: Callable[..., dict[str, float]] | None
    card: ModelCard
    data: dict[str, Any]
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
    card = ModelCard(config.name, config.architecture)
    return RunParts(FlowTask(config, flow, device, processes), maker, validate, card, counted(config, sources, []))


def _segmentation_run(config: TrainConfig, device: torch.device, processes: Processes) -> RunParts:
    sets = open_sets(config, "train")
    _check_batch(config, device, processes)
    model, card = initial_model(config, classes_of(config, sets))
    partner = open_partner(config, device, processes)
    sources = training_sources(config, sets, device)
    overlays = open_overlays(config, sources, card.classes)
    held_out = validation_sources(config)
    only_labels = config.stage == "open_set" and config.negatives.source == "void"
    void_is_outlier = only_labels and not names_unknowns(config, sets)
    unknown = labels_real_unknowns(config)
    maker = BatchMaker(config.seed, config.crops, sources, device, overlays, void_is_outlier, unknown)
    validate = partial(mean_iou, sources=held_out, device=device, processes=processes) if held_out else None
    task = SegmentationTask(config, model, device, processes, partner)
    return RunParts(task, maker, validate, card, counted(config, sources, held_out), partner)


def _check_batch(config: TrainConfig, device: torch.device, processes: Processes) -> None:
    """Refuses batches that can't be trained with, before anything is read.

    Raises:
        InputError: Batch norm would see a single crop, or the CPU's memory would not do.
    """
    count = processes.share(config.batch_size)
    if count == 1:
        mend = f"set batch_size={2 * config.batch_size}"
        raise InputError(f"batch_size={config.batch_size}: batch norm needs two crops at least; {mend}")
    crops = config.crops
    needed, there = count * crops.height * crops.width * _CPU_BYTES, _memory()
    if device.type == "cpu" and needed * processes.count > there:
        size = f"{count} crops of {crops.width}x{crops.height} at a time"
        mend = "lower batch_size and crops, such as batch_size=2 crops.height=256 crops.width=256, or use a GPU"
        raise InputError(f"{size}: need about {needed >> 30} GiB on a CPU, which has {there >> 30}; {mend}")


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
