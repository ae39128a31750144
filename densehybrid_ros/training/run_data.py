# SPDX-License-Identifier: Apache-2.0
"""What a training run reads: frames, negatives, and the frames it is validated on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.datasets.check import SeenFrames, check_frames, check_negatives
from densehybrid_ros.datasets.known_objects import cut_known_objects
from densehybrid_ros.datasets.labelled_set import LabelledSet
from densehybrid_ros.datasets.negative_recipes import RECIPES
from densehybrid_ros.datasets.negative_sets import NegativeSet, load_cutouts
from densehybrid_ros.datasets.pictures import list_pictures, read_color
from densehybrid_ros.datasets.registry import open_negatives, open_training_set
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES, VOID, SemanticClass, class_difference
from densehybrid_ros.datasets.training_frames import FrameStore, hold_in_memory
from densehybrid_ros.errors import InputError, name_some
from densehybrid_ros.training.batches import Source
from densehybrid_ros.training.config import TrainConfig
from densehybrid_ros.training.mixed_content import DrawOverlay
from densehybrid_ros.training.pasting import cutout_overlays, ground_ids, recipe_overlays

_HELD_OUT_FRAMES = 64
_ROAD = "road"
_RESIZED_RECIPE = "objects"  # the others give cut-outs in their final size


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


def frame_tensors(source: Source, index: int) -> tuple[Tensor, Tensor]:
    """Returns a frame's image, uint8 [3, H, W] RGB, and its label, uint8 [H, W] train ids."""
    if isinstance(source, FrameStore):
        return source.images[index], source.labels[index]
    frame = source[index]
    assert frame.semantic is not None
    return torch.from_numpy(frame.image.transpose(2, 0, 1).copy()), torch.from_numpy(frame.semantic)


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
