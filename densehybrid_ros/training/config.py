# SPDX-License-Identifier: Apache-2.0
"""The configuration of a training run, read from YAML with ``key=value`` overrides; one line for what does not fit."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import math
import re
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from densehybrid_ros.errors import InputError, first_line
from densehybrid_ros.networks import model_path, read_card
from densehybrid_ros.resources import resource_path
from densehybrid_ros.training.crops import CropConfig
from densehybrid_ros.training.losses import BASELINE_LOSSES
from densehybrid_ros.training.pasting import PasteConfig

STAGES = ("closed_set", "open_set", "flow")
SCHEDULES = ("cosine", "constant")
SOURCES = ("cutouts", "dataset", "flow", "void")
SMALLEST_PATCH = 16
"""Pixels of the shortest side of a flow's patch."""
IMAGENET = "imagenet"
_OF_ANY_SIGN = ("likelihood_floor", "likelihood_ceiling")  # nats
_ENTRY = re.compile(r"^(\w+): (.*)$")  # of ``Attributes`` in a docstring
FINE_TUNE = "fine_tune"
"""The recipe of a run that names none: any model, other classes."""
_RISING = ("scale", "count", "size", "ground_size")  # pairs of a smallest and a largest value


@dataclass
class DataConfig:
    """What is trained and validated on.

    Attributes:
        cityscapes_640: Folder with ``train`` and ``val``; held in memory whole, on the device.
        sets: Name of a data set (docs/datasets.md) -> its folder; ``folder`` is one of your own frames with its
            classes.yaml (docs/your-data.md). Read from the files step by step. Frames of all sets are drawn alike, so
            that large sets count for more, unless ``weights`` says otherwise.
        weights: Name of a data set -> how often one of its frames is drawn beside one of a set that is not named.
        limit: At most this many frames of each set and split (evenly spread); all where null.
        workers: Processes, at most one a core, that decode frames and prepare crops and negatives; 0 = none, all in the
            training loop.
    """

    cityscapes_640: str | None = None
    sets: dict[str, str] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    limit: int | None = None
    workers: int = 10


@dataclass
class NegativesConfig(PasteConfig):
    """Which negatives are pasted, and how.

    Attributes:
        source: ``cutouts`` (a folder of them), ``dataset`` (ADE20k, COCO, ... by a recipe), ``flow`` (samples of a
            flow that learns beside the model, section 4.2) or ``void`` (nothing is pasted: pixels of the unknown ids of
            the frames are the negatives or, where no set names such ids, void ones, as in the void classifier).
        root: Folder of the cut-outs or of the data set, or the ``.safetensors`` file of the pre-trained flow.
        dataset: Name in ``datasets.registry.NEGATIVE_SETS``.
        recipe: Name in ``datasets.negative_sets.RECIPES``.
        labelled: Whether real unknowns that the labels of the frames name are negatives as well.
        ground_textures: Folder of pictures of asphalt seen from above; patches of them are laid on the road as road.
    """

    source: str = "cutouts"
    root: str | None = None
    dataset: str | None = None
    recipe: str | None = None
    labelled: bool = False
    ground_textures: str | None = None


@dataclass
class LossConfig:
    """The open-set loss.

    Attributes:
        kind: ``hybrid`` (equation 17), or a baseline: ``ood_head``, ``outlier_exposure``, ``energy``, ``k_plus_1``.
        weighting: Of ``hybrid``: ``paper`` (equation 17), ``authors`` (their public code) or ``margins`` (17 with every
            term bounded).
        beta: Weight of the negatives; with ``margins``, of the likelihood.
        likelihood_floor: ln p̂ of negatives is not pushed below this (the energy margin against divergence); null =
            unbounded, as in the paper.
        likelihood_ceiling: Of ``margins``: ln p̂ of inliers is not pushed above this.
        posterior_weight: Of ``margins``: weight of the dataset posterior's loss.
        hard_share: Of ``margins``: share of inlier pixels, the hardest, that count for half of the inliers' posterior.
        distillation: Weight of the divergence, on inlier pixels, from the model that the run starts from, which holds
            the closed-set accuracy; 0 = off.
    """

    kind: str = "hybrid"
    weighting: str = "paper"
    beta: float = 0.03
    likelihood_floor: float | None = None
    likelihood_ceiling: float = 5.0
    posterior_weight: float = 0.3
    hard_share: float = 0.0
    distillation: float = 0.0


@dataclass
class TrainConfig:
    """A training run.

    Attributes:
        name: Name of the model; also of its files.
        architecture: As ``networks.build_network`` takes it, or a key of ``dense_flow.FLOWS`` in the stage ``flow``.
        stage: ``closed_set`` (loss 9), ``open_set`` (negatives, see ``loss``) or ``flow`` (likelihood of crops).
        init: ``random``, ``imagenet`` (the encoder alone: that of ``light`` from its package, of others from the file
            that ``imagenet:FILE`` names), or a model to go on from: a shipped name or a ``.safetensors`` file. Where
            the data have other classes, its classifier gets theirs, and keeps the rows of those of the same name.
        seed: Repeats a run on the CPU bit for bit.
        steps: Number of parameter updates.
        batch_size: Crops an update, over all processes.
        learning_rate: Peak of the schedule.
        schedule: ``cosine`` or ``constant``, after the warm-up.
        encoder_rate_factor: The encoder learns at this share of the rate.
        weight_decay: Decoupled (AdamW), or added to the gradient (Adamax, which flows learn by).
        warmup_steps: Linear warm-up.
        ema_decay: Decay of the exponential moving average, which is what gets saved; 0 = none.
        cuda_graph: Whether to replay the network's passes as a CUDA graph, without kernel launches.
        validate_every: Steps between validations, and pictures; 0 = at the end only.
        checkpoint_every: Steps between checkpoints to resume from; 0 = at the end only.
        crops: How crops are drawn.
        data: What is trained on.
        negatives: What is pasted, in the open-set stage.
        loss: The open-set loss.
        terms: Terms of use that the data impose on the weights; goes into the model card.
    """

    name: str
    architecture: str
    stage: str = "closed_set"
    init: str = "random"
    seed: int = 1
    steps: int = 1000
    batch_size: int = 16
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    encoder_rate_factor: float = 1.0
    weight_decay: float = 0.01
    warmup_steps: int = 100
    ema_decay: float = 0.999
    cuda_graph: bool = False
    validate_every: int = 0
    checkpoint_every: int = 0
    crops: CropConfig = field(default_factory=CropConfig)
    data: DataConfig = field(default_factory=DataConfig)
    negatives: NegativesConfig = field(default_factory=NegativesConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    terms: str = ""

    def __post_init__(self) -> None:
        for key, value, choices in (
            ("stage", self.stage, STAGES),
            ("schedule", self.schedule, SCHEDULES),
            ("negatives.source", self.negatives.source, SOURCES),
            ("loss.kind", self.loss.kind, ("hybrid", *BASELINE_LOSSES)),
            ("loss.weighting", self.loss.weighting, ("paper", "authors", "margins")),
        ):
            if value not in choices:
                raise InputError(f"{key}={value}: choose one of {', '.join(choices)}")
        for key in ("steps", "batch_size"):
            if getattr(self, key) < 1:
                raise InputError(f"{key}={getattr(self, key)}: must be at least 1")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate={self.learning_rate}: must be above 0")
        if not 0 <= self.ema_decay < 1:
            raise InputError(f"ema_decay={self.ema_decay}: must be at least 0 and below 1")
        for section in ("", "crops", "data", "negatives", "loss"):
            _check_numbers(section, getattr(self, section) if section else self)
        if self.joint and min(self.crops.height, self.crops.width) < SMALLEST_PATCH:
            raise InputError(f"crops: must be {SMALLEST_PATCH} pixels high and wide for the patches of a flow")
        # A captured backward pass overwrites the activations that it has read, so that it can't be run twice.
        if self.joint and self.cuda_graph:
            raise InputError("cuda_graph=true: not with a flow that learns along, whose step runs two backward passes")

    @property
    def joint(self) -> bool:
        """Whether a flow that learns along makes negatives."""
        return self.stage == "open_set" and self.negatives.source == "flow"

    @property
    def goes_on(self) -> bool:
        """Whether ``init`` is a model."""
        return is_model(self.init)


def is_model(init: str) -> bool:
    """Whether a run's ``init`` is a model to go on from."""
    return init != "random" and init.partition(":")[0] != IMAGENET


def _check_numbers(section: str, values: Any) -> None:
    """Checks what holds for all numbers of a section: shares and probabilities, signs, and pairs that rise."""
    for each in fields(values):
        value, key = getattr(values, each.name), f"{section}.{each.name}".lstrip(".")
        if isinstance(value, tuple) and each.name in _RISING:
            low, high = value
            bound, begins = ("of at least 0", low >= 0) if each.name == "count" else ("above 0", low > 0)
            if not (begins and low <= high < math.inf):
                raise InputError(f"{key}={[low, high]}: must be two numbers {bound}, the smaller one first")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or each.name in _OF_ANY_SIGN:
            continue
        if each.name.endswith(("_share", "probability")) and not 0 <= value <= 1:
            raise InputError(f"{key}={value}: must be within 0..1")
        if not 0 <= value < math.inf:
            raise InputError(f"{key}={value}: must be a finite number of at least 0")


def read_config(path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Reads a run's YAML, or the shipped one of this name, and applies overrides (``negatives.size=[16,320]``).

    Raises:
        InputError: The file can't be read, or a key is unknown, or a value has the wrong type.
    """
    return merge_config(path, None, None, overrides)


def merge_config(
    config: str | Path | None,
    init: str | None,
    data: str | Path | None,
    overrides: Sequence[str] = (),
    name: str | None = None,
) -> TrainConfig:
    """Puts a run together: a recipe, what is the user's, the model to start from, ``key=value`` overrides.

    Negatives make an open-set stage of a run that names no stage.

    Args:
        config: The recipe: a file, or the name of a shipped one; None: ``fine_tune``.
        init: The model to start from: a shipped name or a file. The architecture is that of its card.
        data: A file of entries that go over those of the recipe. Those of its section ``data`` may stand at the top;
            relative folders are relative to the file.
        overrides: Entries to replace last.
        name: Name of the model where no file says one; None: that of ``init``.

    Raises:
        InputError: A file can't be read, or a key is unknown, or a value has the wrong type.
    """
    if config is None and init is None and data is None:
        raise InputError("--config: missing; name a recipe, or give --init MODEL and --data FILE to fine-tune a model")
    path = _recipe_path(config or FINE_TUNE)
    content = _read_yaml(path)
    if data is not None:
        _merge(content, _user_entries(Path(data)))
    if init is not None:
        content["init"] = init
    for override in overrides:
        _apply(content, override)
    negatives = content.get("negatives")
    if isinstance(negatives, dict) and not {"root", "source"}.isdisjoint(negatives):
        content.setdefault("stage", "open_set")
    start = str(content.get("init", "random"))
    if is_model(start):
        content.setdefault("name", name or Path(start).stem)
        if "architecture" not in content:
            content["architecture"] = read_card(model_path(start).with_suffix(".yaml")).architecture
    return build_config(content, (), f"{path}: ")


def _recipe_path(config: str | Path) -> Path:
    if Path(config).suffix or "/" in str(config):
        return Path(config)
    folder = resource_path("config/train")
    if not (folder / f"{config}.yaml").is_file():
        known = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
        raise InputError(f"--config {config}: no shipped recipe; give a file, or one of {known}")
    return folder / f"{config}.yaml"


def _user_entries(path: Path) -> dict[str, Any]:
    content = _read_yaml(path)
    known = {item.name for item in fields(DataConfig)}
    section = content.setdefault("data", {})
    if not isinstance(section, dict):
        raise InputError(f"{path}: data: must be a section of keys")
    section |= {key: content.pop(key) for key in list(content) if key in known}
    negatives = content.get("negatives")
    for holder, keys in ((section.get("sets"), None), (section, ("cityscapes_640",)), (negatives, ("root",))):
        if isinstance(holder, dict):
            for key in keys or list(holder):
                if isinstance(holder.get(key), str):
                    holder[key] = str(path.parent / Path(holder[key]).expanduser())
    return content


def _merge(content: dict[str, Any], other: dict[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(content.get(key), dict) and key != "sets":
            _merge(content[key], value)
        else:
            content[key] = value


def _read_yaml(path: Path, reading: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Reads a file, over the one that its key ``extends`` names, relative to it."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML ({first_line(error)})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: must be a mapping of keys to values")
    below = content.pop("extends", None)
    if below is None:
        return content
    if not isinstance(below, str):
        raise InputError(f"{path}: extends={below}: must be the name of a file")
    reading = (*reading, path.resolve())
    if (path.parent / below).resolve() in reading:
        raise InputError(f"{path}: extends={below}: leads back to a file that extends this one; take it out")
    whole = _read_yaml(path.parent / below, reading)
    _merge(whole, content)
    return whole


def build_config(content: dict[str, Any], overrides: Sequence[str] = (), where: str = "") -> TrainConfig:
    """Builds a run's configuration from a mapping and overrides; ``where`` begins the message of an error.

    Raises:
        InputError: A key is unknown, or a value has the wrong type.
    """
    for override in overrides:
        _apply(content, override)
    return _build(TrainConfig, content, where)


def to_mapping(config: Any) -> dict[str, Any]:
    """Returns the entries that differ from the defaults, in plain types; ``build_config`` makes the same of them."""
    found: dict[str, Any] = {}
    for item in fields(config):
        value = getattr(config, item.name)
        factory = item.default_factory
        if value == (item.default if factory is dataclasses.MISSING else factory()):
            continue
        if dataclasses.is_dataclass(value):
            value = to_mapping(value)
        found[item.name] = list(value) if isinstance(value, tuple) else value
    return found


def config_text(config: Any, indent: str = "") -> str:
    """Returns the whole configuration as YAML, each key below its meaning in the dataclasses' docstrings."""
    meanings, lines = _meanings(type(config)), []
    for item in fields(config):
        value = getattr(config, item.name)
        lines += [f"{indent}# {line}" for line in meanings.get(item.name, [])]
        if dataclasses.is_dataclass(value):
            lines += [f"{indent}{item.name}:", config_text(value, indent + "  ").rstrip("\n")]
            continue
        plain = list(value) if isinstance(value, tuple) else value
        written = yaml.safe_dump(plain, default_flow_style=True, width=10**6, sort_keys=False, allow_unicode=True)
        lines.append(f"{indent}{item.name}: {written.removesuffix('...' + chr(10)).strip()}")
    return "\n".join(lines) + "\n"


def _meanings(kind: type) -> dict[str, list[str]]:
    """Reads ``Attributes`` of a dataclass and of what it inherits from: name -> lines."""
    found: dict[str, list[str]] = {}
    for each in reversed(kind.__mro__):
        _, _, attributes = (inspect.getdoc(each) or "").partition("Attributes:\n")
        name = ""
        for line in inspect.cleandoc(attributes).splitlines():
            if match := _ENTRY.match(line):
                name = match[1]
                found[name] = [match[2]]
            elif name and line.strip():
                found[name].append(line.strip())
    return found


def _apply(content: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator:
        raise InputError(f"{override!r}: an override has the form key=value")
    *sections, last = key.split(".")
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise InputError(f"{override!r}: {section} is not a section")
    try:
        content[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{override!r}: the value is not valid YAML") from error


def _build(kind: Any, content: dict[str, Any], where: str) -> Any:
    """Builds the dataclass ``kind`` from a mapping, converting each value to its field's type."""
    hints = typing.get_type_hints(kind)
    names = {item.name for item in fields(kind)}
    unknown = [key for key in content if key not in names]
    if unknown:
        raise InputError(f"{where}unknown key {unknown[0]}; known: {', '.join(sorted(names))}")
    values = {key: _convert(hints[key], value, where, key) for key, value in content.items()}
    for item in fields(kind):
        required = item.default is item.default_factory is dataclasses.MISSING
        if required and item.name not in values:
            raise InputError(f"{where}the key {item.name} is missing")
    return kind(**values)


def _convert(hint: Any, value: Any, where: str, key: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise InputError(f"{where}{key} must be a section of keys")
        return _build(hint, value, f"{where}{key}.")
    if isinstance(hint, types.UnionType):
        if value is None and type(None) in typing.get_args(hint):
            return None
        hint = next(kind for kind in typing.get_args(hint) if kind is not type(None))
    if typing.get_origin(hint) is dict:
        kind = typing.get_args(hint)[1]
        if not isinstance(value, dict):
            raise InputError(f"{where}{key}={value}: must be a mapping of names to values")
        return {str(name): _convert(kind, item, where, f"{key}.{name}") for name, item in value.items()}
    if typing.get_origin(hint) is tuple:
        kinds = typing.get_args(hint)
        if not isinstance(value, list) or len(value) != len(kinds):
            raise InputError(f"{where}{key}={value}: must be a list of {len(kinds)} numbers")
        return tuple(_convert(kind, item, where, key) for kind, item in zip(kinds, value, strict=True))
    if hint is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError):
            value = float(value)  # YAML reads 1e-4, without a point, as text
    if isinstance(value, float) and math.isnan(value):
        raise InputError(f"{where}{key}={value}: must be a number")
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        raise InputError(f"{where}{key}={value}: must be of type {hint.__name__}")
    return value
