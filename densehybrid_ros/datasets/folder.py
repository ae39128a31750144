# SPDX-License-Identifier: Apache-2.0
"""Your own frames: a folder of pictures and label pictures, which ``classes.yaml`` in it describes."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from pathlib import Path

from densehybrid_ros.datasets.class_file import ClassFile, read_class_file
from densehybrid_ros.datasets.evaluation_set import IGNORE, FrameFiles, pair_files, require_folder
from densehybrid_ros.datasets.label_values import ANOMALY_VALUES
from densehybrid_ros.datasets.labelled_set import LabelledSet
from densehybrid_ros.datasets.pictures import PICTURE_SUFFIXES
from densehybrid_ros.datasets.taxonomy import VOID
from densehybrid_ros.errors import InputError, name_some

CLASS_FILE = "classes.yaml"
_SPLIT = "{split}"
_LAYOUTS = (
    *(
        (before + image + after, before + label + after)
        for image, label in (("image", "label"), ("images", "labels"))
        for before, after in ((f"{_SPLIT}/", "/**/*"), ("", f"/{_SPLIT}/**/*"), ("", "/**/*"))
    ),
    *(
        (f"{before}**/*", f"{before}**/*_{ending}")
        for ending in ("label", "labels", "mask")
        for before in (f"{_SPLIT}/", "")
    ),
)
"""Patterns of images and labels that are tried, in this order, where ``classes.yaml`` names none."""
_STARS = {"**/": "((?:[^/]+/)*)", "*": "([^/]*)"}


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


def open_folder(root: Path) -> FolderSet:
    """Opens own frames to evaluate: the split ``val`` where there are splits, else all.

    Without ``classes.yaml`` labels are 0 (inlier), 1 (anomaly) and 255 (ignore).

    Raises:
        InputError: A folder is missing or empty, an image lacks its label, or ``classes.yaml`` is wrong.
    """
    require_folder(root, "give a folder that holds image/ and label/")
    path = root / CLASS_FILE
    described = read_class_file(path) if path.is_file() else ClassFile((), {}, ANOMALY_VALUES)
    return _open(root, described, "val", all_without_split=True)


def open_folder_training(root: Path, split: str) -> FolderSet:
    """Opens the split ``train`` or ``val`` of own frames.

    Raises:
        InputError: There is no ``classes.yaml`` or no split, or as ``open_folder`` says.
    """
    path = require_folder(root, "give the folder of your frames") / CLASS_FILE
    if not path.is_file():
        raise InputError(f"{path}: missing; it names the classes of the label pictures (docs/your-data.md)")
    return _open(root, read_class_file(path), split, all_without_split=False)


def _open(root: Path, described: ClassFile, split: str, all_without_split: bool) -> FolderSet:
    value = {name: str(described.split.get(name, name)) for name in ("train", "val")}
    images, labels = described.patterns or _usual_patterns(root, list(value.values()))
    by_folder = _SPLIT in images
    images, labels = (pattern.replace(_SPLIT, value[split]) for pattern in (images, labels))
    found_labels = _find(root, labels)
    found_images = {key: path for key, path in _find(root, images).items() if path not in found_labels.values()}
    files = pair_files(found_images, found_labels, root / images, root / labels)
    if not by_folder:
        chosen = _chosen(root, dict(zip(found_images, files, strict=True)), described, split)
        if chosen is None and not all_without_split:
            mend = "make folders train/ and val/, a list val.txt, or write split: {every: 5}"
            raise InputError(f"{root / CLASS_FILE}: no frames are set apart for validation; {mend}")
        files = files if chosen is None else chosen
    if not files:
        raise InputError(f"{root}: no frame is of the split {split}; look at {CLASS_FILE} and the lists of names")
    return FolderSet("folder", files, described.classes, described.semantic, described.anomaly)


def _usual_patterns(root: Path, splits: Sequence[str]) -> tuple[str, str]:
    for images, labels in _LAYOUTS:
        if any(_find(root, labels.replace(_SPLIT, split)) for split in splits):
            return images, labels
    raise InputError(
        f"{root}: no label pictures; give a folder that holds image/ and label/, or NAME_label.png by NAME"
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


def _chosen(root: Path, files: dict[str, FrameFiles], described: ClassFile, split: str) -> list[FrameFiles] | None:
    """The frames of a split by lists of names, or by every how many-th; None where neither is given."""
    lists = {name: root / str(described.split.get(name, f"{name}.txt")) for name in ("train", "val")}
    if every := described.split.get("every"):
        return [item for index, item in enumerate(files.values()) if (index % every == 0) == (split == "val")]
    names = {name: _names(path) for name, path in lists.items() if path.is_file() or name in described.split}
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
