# SPDX-License-Identifier: Apache-2.0
"""Your own frames: a folder of pictures and label pictures, and ``classes.yaml`` in it, which describes them."""

from __future__ import annotations

import colorsys
import copy
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

from densehybrid_ros.datasets.evaluation_set import ANOMALY, IGNORE, INLIER, FrameFiles, pair_files, require_folder
from densehybrid_ros.datasets.labelled_set import ANOMALY_VALUES, LabelledSet
from densehybrid_ros.datasets.pictures import PICTURE_SUFFIXES
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES, VOID, SemanticClass
from densehybrid_ros.errors import InputError, first_line, name_some

CLASS_FILE = "classes.yaml"
_SPLIT = "{split}"
_LAYOUTS = [
    (f"{before}image{s}{after}/**/*", f"{before}label{s}{after}/**/*")
    for s in ("", "s")
    for before, after in ((f"{_SPLIT}/", ""), ("", f"/{_SPLIT}"), ("", ""))
]
_LAYOUTS += [(f"{at}**/*", f"{at}**/*_{end}") for end in ("label", "labels", "mask") for at in (f"{_SPLIT}/", "")]
"""Patterns of images and labels that are tried, in this order, where ``classes.yaml`` names none."""
_STARS = {"**/": "((?:[^/]+/)*)", "*": "([^/]*)"}
_KEYS = ("classes", "ignore", "unknown", "images", "labels", "split")
_CLASS_KEYS = ("id", "name", "color", "drivable")
_MOST_CLASSES = 254  # the id after the last one is "unknown", and 255 is void


class FolderSet(LabelledSet):
    """Own frames, whose classes are those of a model by name."""

    def for_classes(self, names: Sequence[str]) -> FolderSet:
        """Returns the set with the train ids of a model's classes; what the model does not know is ignored.

        Raises:
            InputError: The model has none of its classes.
        """
        if not self.classes:
            return self
        ids = {index: names.index(name) for index, name in enumerate(self.class_names) if name in names}
        if not ids:
            raise InputError(f"{CLASS_FILE}: the model knows none of its classes; it has {name_some(names)}")
        strange = {value for value, train_id in self.semantic.items() if train_id != VOID and train_id not in ids}
        found = copy.copy(self)
        found.class_names = tuple(name if name in self.class_names else "" for name in names)
        found.semantic = {value: ids.get(train_id, VOID) for value, train_id in self.semantic.items()}
        found.anomaly = {value: IGNORE if value in strange else kind for value, kind in self.anomaly.items()}
        return found


class _ClassFile(NamedTuple):
    """What ``classes.yaml`` says: the set without its files, where images and labels lie, and how frames are split."""

    frames: FolderSet
    patterns: tuple[str, str] | None = None  # None: in one of the usual layouts
    split: Mapping[str, Any] = MappingProxyType({})  # `train`, `val`: list of names or folder; `every`: how many-th


def open_folder(root: Path) -> FolderSet:
    """Opens own frames to evaluate: the split ``val`` where there are splits, else all.

    Without ``classes.yaml`` labels are 0 (inlier), 1 (anomaly) and 255 (ignore).

    Raises:
        InputError: A folder is missing or empty, an image lacks its label, or ``classes.yaml`` is wrong.
    """
    path = require_folder(root, f"give the folder that holds {CLASS_FILE}") / CLASS_FILE
    masks = FolderSet("folder", (), anomaly=ANOMALY_VALUES)
    return _open(root, _read_class_file(path) if path.is_file() else _ClassFile(masks), "val", all_without_split=True)


def open_folder_training(root: Path, split: str) -> FolderSet:
    """Opens the split ``train`` or ``val`` of own frames.

    Raises:
        InputError: There is no ``classes.yaml`` or no split, or as ``open_folder`` says.
    """
    path = require_folder(root, "give the folder of your frames") / CLASS_FILE
    if not path.is_file():
        raise InputError(f"{path}: missing; it names the classes of the label pictures (docs/your-data.md)")
    return _open(root, _read_class_file(path), split, all_without_split=False)


def _open(root: Path, described: _ClassFile, split: str, all_without_split: bool) -> FolderSet:
    value = {name: str(described.split.get(name, name)) for name in ("train", "val")}
    patterns = described.patterns or _usual_patterns(root, list(value.values()))
    images, labels = (pattern.replace(_SPLIT, value[split]) for pattern in patterns)
    found_labels = _find(root, labels)
    found_images = {key: path for key, path in _find(root, images).items() if path not in found_labels.values()}
    files: list[FrameFiles] = pair_files(found_images, found_labels, root / images, root / labels)
    if _SPLIT not in patterns[0]:
        chosen = _chosen(root, dict(zip(found_images, files, strict=True)), described.split, split)
        if chosen is None and not all_without_split:
            mend = "make folders train/ and val/, a list val.txt, or write split: {every: 5}"
            raise InputError(f"{root / CLASS_FILE}: no frames are set apart for validation; {mend}")
        files = files if chosen is None else chosen
    if not files:
        raise InputError(f"{root}: no frame is of the split {split}; look at {CLASS_FILE} and the lists of names")
    described.frames.files = files
    return described.frames


def _usual_patterns(root: Path, splits: Sequence[str]) -> tuple[str, str]:
    for images, labels in _LAYOUTS:
        if any(_find(root, labels.replace(_SPLIT, split)) for split in splits):
            return images, labels
    raise InputError(
        f"{root}: no label pictures; they lie as val/labels/NAME.png beside val/images/NAME.jpg, or as NAME_label.png "
        "beside NAME.jpg (docs/your-data.md)"
    )


def _find(root: Path, pattern: str) -> dict[str, Path]:
    """Finds pictures by a pattern; the key is what its stars stand for, without the ending."""
    pattern = pattern.removesuffix(".*")
    suffix = Path(pattern).suffix if Path(pattern).suffix.lower() in PICTURE_SUFFIXES else ""
    parts = re.split(r"(\*\*/|\*)", pattern.removesuffix(suffix))
    expression = re.compile("".join(_STARS.get(part, re.escape(part)) for part in parts))
    found = {}
    for path in sorted(root.glob(pattern if suffix else f"{pattern}.*")):
        match = expression.fullmatch(path.relative_to(root).with_suffix("").as_posix())
        if match and path.suffix.lower() in PICTURE_SUFFIXES:
            found["/".join(part.strip("/") for part in match.groups() if part)] = path
    return found


def _chosen(root: Path, files: dict[str, FrameFiles], given: Mapping[str, Any], split: str) -> list[FrameFiles] | None:
    """The frames of a split by lists of names, or by every how many-th; None where neither is given."""
    if every := given.get("every"):
        return [item for index, item in enumerate(files.values()) if (index % every == 0) == (split == "val")]
    lists = {name: root / str(given.get(name, f"{name}.txt")) for name in ("train", "val")}
    names = {name: _names(path) for name, path in lists.items() if path.is_file() or name in given}
    if not names:
        return None
    listed = names.get(split) or next(iter(names.values()))
    return [
        item
        for key, item in files.items()
        if listed.isdisjoint({key, item.image.name, item.image.stem}) != (split in names)
    ]


def _names(path: Path) -> set[str]:
    try:
        return {line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read as a list of names") from error


def _read_class_file(path: Path) -> _ClassFile:
    try:
        return _class_file(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not valid YAML ({first_line(error)})") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _class_file(content: Any) -> _ClassFile:
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
    frames = FolderSet("folder", (), classes, semantic, anomaly if ANOMALY in anomaly.values() else {})
    return _ClassFile(frames, _patterns(content), _split(content))


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
        by_number = colorsys.hsv_to_rgb(number * 0.618 % 1, 0.7, 0.5 + 0.4 * (number % 2))  # colours that differ
        known = {item.name: list(item.color) for item in CITYSCAPES_CLASSES}
        color = known.get(name) or [round(255 * share) for share in by_number]
    if not isinstance(color, list) or len(color) != 3 or any(type(c) is not int or not 0 <= c <= 255 for c in color):
        raise InputError(f"{where}.color: {color!r} is no red, green and blue of 0 to 255")
    return SemanticClass(name, (color[0], color[1], color[2]), drivable)


def _patterns(content: dict[str, Any]) -> tuple[str, str] | None:
    if "images" not in content and "labels" not in content:
        return None
    for key in ("images", "labels"):
        pattern = content.get(key)
        if not isinstance(pattern, str) or "*" not in pattern or pattern.startswith("/") or ".." in pattern:
            mend = "give images and labels, each a pattern below this folder with a star, such as images/*.png"
            raise InputError(f"{key}: {pattern!r}; {mend}")
    return content["images"], content["labels"]


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
