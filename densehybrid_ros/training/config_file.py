# SPDX-License-Identifier: Apache-2.0
"""Reading a run's YAML: dataclasses from mappings, with ``key=value`` overrides and one line for what does not fit."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import math
import re
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from densehybrid_ros.errors import InputError
from densehybrid_ros.networks import model_path, read_card
from densehybrid_ros.resources import resource_path
from densehybrid_ros.training.config import DataConfig, TrainConfig, is_model

_ENTRY = re.compile(r"^(\w+): (.*)$")  # of ``Attributes`` in a docstring
FINE_TUNE = "fine_tune"
"""The recipe of a run that names none: any model, other classes."""


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
    known = {item.name for item in dataclasses.fields(DataConfig)}
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
        raise InputError(f"{path}: not valid YAML ({str(error).splitlines()[0]})") from error
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
    for item in dataclasses.fields(config):
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
    for item in dataclasses.fields(config):
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
