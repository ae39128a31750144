"""The configuration of a training run: one YAML file, each key of which can be overridden as ``key=value``."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from densehybrid_ros.errors import InputError
from densehybrid_ros.training.crops import CropConfig
from densehybrid_ros.training.mixed_content import PasteConfig


@dataclass
class DataConfig:
    """What is trained and validated on.

    Attributes:
        cityscapes_640: Folder with ``train`` and ``val``.
        limit: At most this many training frames (evenly spread); all where null.
        validation_limit: The same for validation.
        rendered_frames: Number of rendered scenes held in memory; 0 = none.
        rendered_share: Share of the crops that come from rendered scenes.
        rendered_seed: Seed of the first rendered scene.
        rendered_size: (height, width) of a rendered scene.
        rendered_cache: Folder that keeps rendered scenes between runs.
    """

    cityscapes_640: str | None = None
    limit: int | None = None
    validation_limit: int | None = None
    rendered_frames: int = 0
    rendered_share: float = 0.0
    rendered_seed: int = 1_000_000
    rendered_size: tuple[int, int] = (640, 1280)
    rendered_cache: str | None = None


@dataclass
class NegativesConfig(PasteConfig):
    """Which negatives are pasted, and how.

    Attributes:
        root: Folder of cut-outs.
        limit: At most this many of them.
    """

    root: str | None = None
    limit: int | None = None


@dataclass
class LossConfig:
    """The open-set loss.

    Attributes:
        weighting: ``paper`` (equation 17) or ``authors`` (their public code).
        beta: Weight of the negatives.
        likelihood_floor: ln p̂ of negatives is not pushed below this; null = unbounded, as in the paper.
    """

    weighting: str = "paper"
    beta: float = 0.03
    likelihood_floor: float | None = None


@dataclass
class TrainConfig:
    """A training run.

    Attributes:
        name: Name of the model; also of its files.
        architecture: Key of ``networks.ARCHITECTURES``.
        stage: ``closed_set`` (loss 9) or ``open_set`` (loss 17 on mixed-content images).
        init: ``random``, ``imagenet`` (light only) or the path of a ``.safetensors`` model to go on from.
        seed: Repeats a run on the CPU bit for bit.
        steps: Number of parameter updates.
        batch_size: Crops an update.
        learning_rate: Peak of the cosine schedule (AdamW).
        encoder_rate_factor: The encoder learns at this share of the rate.
        weight_decay: AdamW's decoupled weight decay.
        warmup_steps: Linear warm-up.
        ema_decay: Decay of the exponential moving average, which is what gets saved; 0 = none.
        precision: ``auto`` (bfloat16 autocast on a GPU, float32 on a CPU), ``bf16`` or ``fp32``.
        compile: Whether to run the network through torch.compile.
        validate_every: Steps between validations; 0 = at the end only.
        checkpoint_every: Steps between checkpoints to resume from; 0 = none.
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
    encoder_rate_factor: float = 1.0
    weight_decay: float = 0.01
    warmup_steps: int = 100
    ema_decay: float = 0.999
    precision: str = "auto"
    compile: bool = False
    validate_every: int = 0
    checkpoint_every: int = 0
    crops: CropConfig = field(default_factory=CropConfig)
    data: DataConfig = field(default_factory=DataConfig)
    negatives: NegativesConfig = field(default_factory=NegativesConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    terms: str = ""

    def __post_init__(self) -> None:
        for key, choices in (("stage", ("closed_set", "open_set")), ("precision", ("auto", "bf16", "fp32"))):
            if getattr(self, key) not in choices:
                raise InputError(f"{key}={getattr(self, key)}: choose one of {', '.join(choices)}")
        for key in ("steps", "batch_size"):
            if getattr(self, key) < 1:
                raise InputError(f"{key}={getattr(self, key)}: must be at least 1")
        if not 0 <= self.data.rendered_share <= 1:
            raise InputError(f"data.rendered_share={self.data.rendered_share}: must be within 0..1")


def read_config(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Reads a run's YAML and applies ``key=value`` overrides (``negatives.size=[16,320]``; values are YAML).

    Raises:
        InputError: The file can't be read, or a key is unknown, or a value has the wrong type.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML ({str(error).splitlines()[0]})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: must be a mapping of keys to values")
    for override in overrides:
        _apply(content, override)
    return _build(TrainConfig, content, f"{path}: ")


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
    names = {item.name for item in dataclasses.fields(kind)}
    unknown = [key for key in content if key not in names]
    if unknown:
        raise InputError(f"{where}unknown key {unknown[0]}; known: {', '.join(sorted(names))}")
    values = {key: _convert(hints[key], value, where, key) for key, value in content.items()}
    missing = [
        item.name
        for item in dataclasses.fields(kind)
        if item.name not in values
        and item.default is dataclasses.MISSING
        and item.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise InputError(f"{where}the key {missing[0]} is missing")
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
    if typing.get_origin(hint) is tuple:
        kinds = typing.get_args(hint)
        if not isinstance(value, list) or len(value) != len(kinds):
            raise InputError(f"{where}{key}={value}: must be a list of {len(kinds)} numbers")
        return tuple(_convert(kind, item, where, key) for kind, item in zip(kinds, value, strict=True))
    if hint is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML reads 1e-4, without a point, as text
        except ValueError:
            pass
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        raise InputError(f"{where}{key}={value}: must be of type {hint.__name__}")
    return value
