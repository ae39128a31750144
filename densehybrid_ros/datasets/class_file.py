# SPDX-License-Identifier: Apache-2.0
"""``classes.yaml`` in a folder of own frames: what the numbers of its label pictures mean, and where the files lie."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from densehybrid_ros.datasets.evaluation_set import ANOMALY, IGNORE, INLIER
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES, VOID, SemanticClass
from densehybrid_ros.errors import InputError

_KEYS = ("classes", "ignore", "unknown", "images", "labels", "split")
_CLASS_KEYS = ("id", "name", "color", "drivable")
_MOST_CLASSES = 254  # the id after the last one is "unknown", and 255 is void


@dataclass(frozen=True)
class ClassFile:
    """What ``classes.yaml`` says.

    Attributes:
        classes: The classes in the order of their train ids.
        semantic: Value in the label picture -> train id, 255 = void.
        anomaly: Value in the label picture -> 0 inlier, 1 anomaly, 255 ignore; empty without unknown ids.
        patterns: Where images and labels lie; None: in one of the usual layouts.
        split: ``train`` and ``val``: a list of names or a folder; ``every``: each how many-th frame is for validation.
    """

    classes: tuple[SemanticClass, ...]
    semantic: dict[int, int]
    anomaly: dict[int, int]
    patterns: tuple[str, str] | None = None
    split: dict[str, Any] = field(default_factory=dict)


def read_class_file(path: Path) -> ClassFile:
    """Reads ``classes.yaml``.

    Raises:
        InputError: It can't be read, or an entry is wrong; the message names it.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not valid YAML ({str(error).splitlines()[0]})") from error
    try:
        return _class_file(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _class_file(content: Any) -> ClassFile:
    if not isinstance(content, dict) or not isinstance(content.get("classes"), list):
        raise InputError("needs a list of classes, such as classes: [{id: 0, name: road}]")
    _check_keys(content, _KEYS, "")
    classes = tuple(_class(entry, number) for number, entry in enumerate(content["classes"]))
    if not 1 <= len(classes) <= _MOST_CLASSES:
        raise InputError(f"has {len(classes)} classes; 1 to {_MOST_CLASSES} are possible")
    semantic: dict[int, int] = {}
    anomaly: dict[int, int] = {}

    def note(values: Any, where: str, train_id: int, kind: int) -> None:
        for value in values if isinstance(values, list) else [values]:
            if type(value) is not int or not 0 <= value <= 255:
                raise InputError(f"{where}: {value!r} is no value of a label picture, 0 to 255")
            if value in semantic:
                raise InputError(f"{where}: the value {value} is there twice")
            semantic[value], anomaly[value] = train_id, kind

    for number, (item, entry) in enumerate(zip(classes, content["classes"], strict=True)):
        if item.name in {other.name for other in classes[:number]}:
            raise InputError(f"classes[{number}]: {item.name!r} is there twice; give the first one a list of ids")
        note(entry.get("id", number), f"classes[{number}].id", number, INLIER)
    note(content.get("unknown", []), "unknown", VOID, ANOMALY)
    note(content.get("ignore", [] if VOID in semantic else VOID), "ignore", VOID, IGNORE)
    has_unknown = ANOMALY in anomaly.values()
    return ClassFile(classes, semantic, anomaly if has_unknown else {}, _patterns(content), _split(content))


def _class(entry: Any, number: int) -> SemanticClass:
    where = f"classes[{number}]"
    name = entry.get("name") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise InputError(f"{where}: needs a name of one line, such as {{id: {number}, name: road}}")
    _check_keys(entry, _CLASS_KEYS, f"{where}: ")
    drivable, color = entry.get("drivable", False), entry.get("color")
    if not isinstance(drivable, bool):
        raise InputError(f"{where}.drivable: {drivable!r} is neither true nor false")
    if color is None:
        known = {item.name: item.color for item in CITYSCAPES_CLASSES}
        return SemanticClass(name, known.get(name) or _color(number), drivable)
    if not isinstance(color, list) or len(color) != 3 or any(type(c) is not int or not 0 <= c <= 255 for c in color):
        raise InputError(f"{where}.color: {color!r} is no red, green and blue of 0 to 255")
    return SemanticClass(name, (color[0], color[1], color[2]), drivable)


def _color(number: int) -> tuple[int, int, int]:
    """Colours that differ, one a class."""
    red, green, blue = colorsys.hsv_to_rgb(number * 0.618 % 1, 0.7, 0.5 + 0.4 * (number % 2))
    return round(255 * red), round(255 * green), round(255 * blue)


def _patterns(content: dict[str, Any]) -> tuple[str, str] | None:
    if "images" not in content and "labels" not in content:
        return None
    return _pattern(content, "images"), _pattern(content, "labels")


def _pattern(content: dict[str, Any], key: str) -> str:
    pattern = content.get(key)
    if not isinstance(pattern, str) or "*" not in pattern or pattern.startswith("/") or ".." in pattern:
        mend = "give images and labels, each a pattern below this folder with a star, such as images/*.png"
        raise InputError(f"{key}: {pattern!r}; {mend}")
    return pattern


def _split(content: dict[str, Any]) -> dict[str, Any]:
    split = content.get("split") or {}
    if not isinstance(split, dict) or set(split) - {"train", "val", "every"}:
        raise InputError(f"split: {split!r}; write {{every: 5}}, or {{train: NAME, val: NAME}} of lists or folders")
    every = split.get("every", 2)
    if type(every) is not int or every < 2:
        raise InputError(f"split.every: {every!r} is no whole number of at least 2")
    return split


def _check_keys(content: dict[Any, Any], known: tuple[str, ...], where: str) -> None:
    if strange := [key for key in content if key not in known]:
        raise InputError(f"{where}unknown key {strange[0]}; known: {', '.join(known)}")
