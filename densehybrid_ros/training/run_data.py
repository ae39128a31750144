# SPDX-License-Identifier: Apache-2.0
"""What a training run reads: frames, negatives, and the frames it is validated on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.datasets.check import SeenFrames, check_frames, check_negatives
from densehybrid_ros.datasets.known_objects import cut_known_objects
from densehybrid_ros.datasets.labelled_set import LabelledSet
from densehybrid_ros.datasets.negative_recipes import RECIPES
from densehybrid_ros.datasets.negative_sets import load_cutouts
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
    checked = CheckedData()
    unknown = 0
    for split in ("train", "val"):
        held = [_cityscapes_640(config, split)] if config.data.cityscapes_640 else []
        for frames in [*open_sets(config, split), *held]:
            chosen = frames.subset(config.data.limit)
            seen = check_frames(chosen)
            checked.faults += seen.faults
            sizes = [f"{width}x{height}" for width, height in sorted(seen.sizes)]
            if frames in held and len(sizes) > 1:
                checked.faults.append(f"{frames.name}: frames of {name_some(sizes)}; they must be of one size")
            checked.found.append(f"{len(chosen)} {split} frames of {frames.name} ({name_some(sizes)})")
            if split == "train":
                unknown += seen.unknown if frames.anomaly else seen.pixels[VOID]
                checked.warnings += _warnings(config, frames, seen)
    if config.stage == "open_set" and config.negatives.source == "void" and not unknown and not checked.faults:
        checked.faults.append("negatives.source=void: no pixel is of an unknown id, or void; use other negatives")
    if config.stage == "open_set" and config.negatives.source == "dataset":
        pictures = open_negatives(_named(config), Path(_root(config)))
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


def training_sources(
    config: TrainConfig, sets: Sequence[LabelledSet], device: torch.device
) -> list[tuple[Source, float]]:
    """Opens the frames of a run with their share of the crops.

    Raises:
        InputError: The run names no frames, they can't be read, or a weight is of a set that is not there.
    """
    data = config.data
    named = (*data.sets, "cityscapes_640")
    for name, weight in data.weights.items():
        if name not in named:
            raise InputError(f"data.weights.{name}: no such set; choose one of {', '.join(named)}")
        if not 0 <= weight < math.inf:
            raise InputError(f"data.weights.{name}={weight}: must be a finite number of at least 0")
    sources: list[tuple[Source, float]] = []
    for frames in sets:
        chosen = frames.subset(data.limit)
        sources.append((chosen, len(chosen) * data.weights.get(frames.name, 1.0)))
    if data.cityscapes_640:
        store = hold_in_memory(_cityscapes_640(config, "train").subset(data.limit), labels_real_unknowns(config))
        sources.append((store.to(device), len(store) * data.weights.get("cityscapes_640", 1.0)))
    if not sources:
        raise InputError("data: no frames to train on; set data.cityscapes_640 or data.sets")
    return sources


def validation_sources(config: TrainConfig) -> list[Source]:
    """Opens what a segmentation model is validated on: the val splits of the run's data sets."""
    limit = config.data.limit
    sources: list[Source] = [frames.subset(limit) for frames in open_sets(config, "val")]
    if config.data.cityscapes_640:
        sources.append(hold_in_memory(_cityscapes_640(config, "val").subset(limit)))
    return sources


def counted(config: TrainConfig, sources: Sequence[tuple[Source, float]], held_out: Sequence[Source]) -> dict[str, Any]:
    """Says what a run learns from: number of frames by data set and split, and of negatives."""
    names = [*config.data.sets, *(["cityscapes_640"] if config.data.cityscapes_640 else [])]
    found: dict[str, Any] = {name: {"train": len(source)} for name, (source, _) in zip(names, sources, strict=False)}
    for name, source in zip(names, held_out, strict=False):
        found[name]["val"] = len(source)
    if config.stage == "open_set":
        settings = config.negatives
        found["negatives"] = {"source": settings.source} | ({"dataset": settings.dataset} if settings.dataset else {})
        if settings.source == "cutouts":
            found["negatives"]["pictures"] = len(list_pictures(Path(_root(config)), deep=True))
    return found


def labels_real_unknowns(config: TrainConfig) -> bool:
    """Whether real unknowns that the labels name are negatives of the run."""
    return config.stage == "open_set" and (config.negatives.labelled or config.negatives.source == "void")


def names_unknowns(config: TrainConfig, sets: Sequence[LabelledSet]) -> bool:
    """Whether the labels of a training set name real unknowns."""
    held = [_cityscapes_640(config, "train")] if config.data.cityscapes_640 else []
    return any(frames.anomaly for frames in (*sets, *held))


def open_overlays(
    config: TrainConfig, sources: Sequence[tuple[Source, float]], classes: Sequence[SemanticClass]
) -> DrawOverlay | None:
    """Opens what is pasted; None where a flow makes the negatives, void pixels are them, or nothing is pasted.

    Raises:
        InputError: The folder, data set or recipe is missing or unknown.
    """
    settings = config.negatives
    known = []
    if settings.known_count:
        if not config.data.cityscapes_640:
            raise InputError("negatives.known_count: known objects come from data.cityscapes_640; name it, or set 0")
        known = cut_known_objects(next(source for source, _ in sources if isinstance(source, FrameStore)))
    ground = ground_ids(classes)
    if config.stage != "open_set" or settings.source in ("flow", "void"):
        return cutout_overlays(lambda size, rng: None, settings, known) if known else None
    if settings.source == "cutouts":
        cutouts = load_cutouts(Path(_root(config)))
        folder = settings.ground_textures
        textures = [read_color(path) for path in list_pictures(Path(folder))] if folder else []
        road = next((number for number, item in enumerate(classes) if item.name == _ROAD), 0)

        def draw_cutout(size: tuple[int, int], rng: np.random.Generator) -> Tensor | None:
            return cutouts[int(rng.integers(len(cutouts)))]

        return cutout_overlays(draw_cutout, settings, known, ground, textures, road)
    pictures = open_negatives(_named(config), Path(_root(config)))
    recipe = settings.recipe or _RESIZED_RECIPE
    if recipe not in RECIPES:
        raise InputError(f"negatives.recipe={recipe}: unknown; choose one of {', '.join(RECIPES)}")

    def draw(size: tuple[int, int], rng: np.random.Generator) -> Tensor | None:
        return RECIPES[recipe](pictures, size, rng)

    return cutout_overlays(draw, settings, known, ground) if recipe == _RESIZED_RECIPE else recipe_overlays(draw)


def frame_tensors(source: Source, index: int) -> tuple[Tensor, Tensor]:
    """Returns a frame's image, uint8 [3, H, W] RGB, and its label, uint8 [H, W] train ids."""
    if isinstance(source, FrameStore):
        return source.images[index], source.labels[index]
    frame = source[index]
    assert frame.semantic is not None
    return torch.from_numpy(frame.image.transpose(2, 0, 1).copy()), torch.from_numpy(frame.semantic)


def open_sets(config: TrainConfig, split: str) -> list[LabelledSet]:
    """Opens ``data.sets`` of a run."""
    return [open_training_set(name, Path(root), split) for name, root in config.data.sets.items()]


def classes_of(config: TrainConfig, sets: Sequence[LabelledSet]) -> tuple[SemanticClass, ...]:
    """The classes of a run's frames; those of Cityscapes where it names no sets.

    Raises:
        InputError: The frames have different ones.
    """
    if not sets:
        return CITYSCAPES_CLASSES
    others = [(f"data.sets: {other.name}", other.classes) for other in sets[1:]]
    if config.data.cityscapes_640:
        others.append(("data.cityscapes_640", CITYSCAPES_CLASSES))
    for name, classes in others:
        if difference := class_difference(classes, sets[0].classes):
            raise InputError(f"{name} {difference} as {sets[0].name} does; train on one of them")
    return sets[0].classes


def held_out_frames(config: TrainConfig) -> list[Tensor]:
    """Frames that a flow is not trained on: some of the val splits."""
    frames = []
    for source in validation_sources(config):
        chosen = np.linspace(0, len(source) - 1, min(_HELD_OUT_FRAMES, len(source))).astype(int)
        frames += [frame_tensors(source, index)[0] for index in chosen.tolist()]
    return frames


def _cityscapes_640(config: TrainConfig, split: str) -> LabelledSet:
    return open_training_set("cityscapes_640", Path(config.data.cityscapes_640 or ""), split)


def _root(config: TrainConfig) -> str:
    if not config.negatives.root:
        raise InputError(f"negatives.root: negatives.source={config.negatives.source} needs a folder")
    return config.negatives.root


def _named(config: TrainConfig) -> str:
    if not config.negatives.dataset:
        raise InputError("negatives.dataset: negatives.source=dataset needs the name of one (ade20k, coco, folder)")
    return config.negatives.dataset
