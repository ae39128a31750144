# SPDX-License-Identifier: Apache-2.0
"""Frames with labels: the numbers of label pictures become classes and anomalies, or one line says why they can't."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.datasets.evaluation_set import ANOMALY, IGNORE, INLIER, EvaluationFrame, FrameFiles, check_sizes
from densehybrid_ros.datasets.pictures import read_color, read_disparity, read_instances, read_labels
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES, VOID, SemanticClass
from densehybrid_ros.errors import InputError, name_some

ANOMALY_VALUES = {0: INLIER, 1: ANOMALY, 255: IGNORE}
"""Label values of SegmentMeIfYouCan, Fishyscapes and of any folder of masks."""
TRAIN_IDS = {value: value for value in (*range(len(CITYSCAPES_CLASSES)), VOID)}
"""Label values that are train ids of Cityscapes already."""
ANOMALY_MEND = "save inliers as 0 and anomalies as 1; 255 means ignore"
_NEAREST = "resize and save labels without smoothing"
_LABEL_IDS = range(34)  # of Cityscapes


@dataclass(eq=False, repr=False)
class LabelledSet:
    """Pairs of an image and a label picture of the same size, read when asked for.

    A set can be pickled and read from several threads or processes, as the workers of a data loader do.
    """

    name: str  # Of the data set
    files: Sequence[FrameFiles]  # Of every frame, in the order of the frames
    classes: tuple[SemanticClass, ...] = ()  # In the order of their train ids; empty where there are none
    semantic: Mapping[int, int] = field(default_factory=dict)  # Value in the label picture -> train id, 255 = void
    anomaly: Mapping[int, int] = field(default_factory=dict)  # Value -> 0 inlier, 1 anomaly, 255 ignore
    stretched: bool = False  # Whether frames are stored as squares and get their 2:1 geometry back when they are read
    read: Callable[[FrameFiles], np.ndarray] | None = None  # Another way to read labels
    width: int | None = None  # Frames are resized to this width when they are read; None: they stay as they are
    class_names: tuple[str, ...] = field(default=(), init=False)  # Empty for a class of a model that has no label here

    def __post_init__(self) -> None:
        self.class_names = tuple(item.name for item in self.classes)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> EvaluationFrame:
        """Reads a frame with what there is of instances, disparity and camera; an overlay is added to its image.

        Raises:
            InputError: A file is missing or damaged, sizes disagree, or a label value is not the set's.
        """
        files = self.files[index]
        image = read_color(files.image)

        def beside(path: Path | None, read: Callable[[Path], np.ndarray]) -> np.ndarray | None:
            if path is None:
                return None
            found = read(path)
            check_sizes(image, files.image, found, path)
            return found

        labels = self.read(files) if self.read else read_labels(files.label)
        check_sizes(image, files.image, labels, files.label)
        overlay = beside(files.overlay, _read_overlay)
        instances, disparity = beside(files.instances, read_instances), beside(files.disparity, read_disparity)
        if overlay is not None:
            image = np.clip(image + overlay, 0, 255).astype(np.uint8)
        height, width = labels.shape
        camera = Camera.from_cityscapes_json(files.camera, width, height) if files.camera else None
        size = (width, height)
        if self.stretched:
            size = (2 * height, height)
        elif self.width is not None:
            size = (self.width, round(height * self.width / width))
        if size != (width, height):
            image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
            labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
        semantic = translate_labels(labels, self.semantic, files.label) if self.semantic else None
        anomaly = translate_labels(labels, self.anomaly, files.label) if self.anomaly else None
        if instances is not None:
            instances = np.where(anomaly == ANOMALY, instances, np.uint16(0))
        group = files.image.parent.name
        return EvaluationFrame(str(files.label), image, anomaly, semantic, instances, disparity, camera, group)

    def for_classes(self, names: Sequence[str]) -> LabelledSet:
        """Returns the set with the train ids of a model's classes by name, where it is of own frames, else as it is."""
        return self

    def subset(self, limit: int | None) -> LabelledSet:
        """Returns an evenly spread subset of at most ``limit`` frames; the set itself where ``limit`` is None."""
        if limit is None or limit >= len(self):
            return self
        chosen = np.linspace(0, len(self) - 1, limit).round().astype(int)
        found = copy.copy(self)
        found.files = [self.files[index] for index in chosen.tolist()]
        return found


def _read_overlay(path: Path) -> np.ndarray:
    """Reads what is added to an image, int16 [H, W, 3]: the signed array ``rgb`` of an .npz file."""
    try:
        overlay: np.ndarray = np.load(path)["rgb"].astype(np.int16)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: holds no array 'rgb' ({error})") from error
    return overlay


def translate_labels(labels: np.ndarray, table: Mapping[int, int], path: Path, mend: str = "") -> np.ndarray:
    """Replaces the values of a label map.

    Args:
        labels: uint8 [H, W].
        table: Value in the file -> value of the result (0..255).
        path: The file, for the message.
        mend: What to do about values that the table lacks, for the message; by default what fits the table.

    Raises:
        InputError: The map holds values that the table lacks; the message names the lowest.
    """
    lookup, known = np.zeros(256, np.uint8), np.zeros(256, np.uint8)
    lookup[list(table)], known[list(table)] = list(table.values()), 1
    if not cv2.LUT(labels, known).all():
        foreign = [value for value in np.unique(labels).tolist() if value not in table]
        several = f"values {name_some(foreign)} are not those" if len(foreign) > 1 else f"value {foreign[0]} is not one"
        if not mend and table == TRAIN_IDS and foreign[-1] in _LABEL_IDS:
            mend = "these are label ids of Cityscapes: save train ids"
        elif not mend:
            mend = f"{ANOMALY_MEND if table == ANOMALY_VALUES else 'check which data set it is'}; {_NEAREST}"
        raise InputError(f"{path}: label {several} of this data set ({_ranges(table)}); {mend}")
    found: np.ndarray = cv2.LUT(labels, lookup)
    return found


def anomaly_values(labels: np.ndarray) -> set[int]:
    """Returns which of 0 (inlier), 1 (anomaly) and 255 (ignore) an anomaly label, uint8 [H, W], holds."""
    return {value for value in (INLIER, ANOMALY, IGNORE) if np.any(labels == value)}


def what_is_lacking(found: Collection[int]) -> str:
    """Says why a data set with only these anomaly labels has no figures of anomalies; empty where it has them."""
    if {INLIER, ANOMALY} <= set(found):
        return ""
    kind = "an inlier" if ANOMALY in found else "an anomaly" if INLIER in found else "labelled"
    names = {INLIER: "inlier", ANOMALY: "anomaly", IGNORE: "ignore"}
    values = ", ".join(f"{value} ({name})" for value, name in names.items() if value in found)
    return f"no pixel is {kind}; the labels hold {values} alone; {ANOMALY_MEND}"


def _ranges(table: Mapping[int, int]) -> str:
    """Writes sorted values with runs shortened: 0..18, 255."""
    parts: list[list[int]] = []
    for value in sorted(table):
        if parts and value == parts[-1][1] + 1:
            parts[-1][1] = value
        else:
            parts.append([value, value])
    return ", ".join(str(low) if low == high else f"{low}..{high}" for low, high in parts)
