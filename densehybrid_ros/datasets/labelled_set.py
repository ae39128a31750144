# SPDX-License-Identifier: Apache-2.0
"""Frames with labels, for training and evaluation alike: numbers of label pictures become classes and anomalies."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np

from densehybrid_ros.datasets.evaluation_set import EvaluationFrame, EvaluationSet, FrameFiles, check_sizes
from densehybrid_ros.datasets.label_values import translate_labels
from densehybrid_ros.datasets.pictures import read_color, read_labels
from densehybrid_ros.datasets.taxonomy import SemanticClass

ReadLabels = Callable[[FrameFiles], np.ndarray]
"""Reads the label picture of a frame as numbers, uint8 [H, W]; raises an InputError where it can't."""


def _read(files: FrameFiles) -> np.ndarray:
    return read_labels(files.label)


class LabelledSet(EvaluationSet):
    """Pairs of an image and a label picture of the same size.

    A set can be pickled and read from several threads or processes, as the workers of a data loader do.

    Attributes:
        name: Name of the data set.
        classes: The classes in the order of their train ids; empty where there are none.
        semantic: Value in the label picture -> train id, 255 = void; empty where there are no classes.
        anomaly: Value in the label picture -> 0 inlier, 1 anomaly, 255 ignore; empty where there are no anomalies.
        stretched: Whether frames are stored as squares and given their 2:1 geometry back when they are read.
        width: Frames are resized to this width when they are read; None: they stay as they are.
    """

    def __init__(
        self,
        name: str,
        files: Sequence[FrameFiles],
        classes: tuple[SemanticClass, ...] = (),
        semantic: Mapping[int, int] | None = None,
        anomaly: Mapping[int, int] | None = None,
        stretched: bool = False,
        read: ReadLabels = _read,
        width: int | None = None,
    ) -> None:
        super().__init__(files)
        self.name = name
        self.classes = classes
        self.class_names = tuple(item.name for item in classes)
        self.semantic, self.anomaly = semantic or {}, anomaly or {}
        self.stretched, self.width = stretched, width
        self._read_labels = read

    def __getitem__(self, index: int) -> EvaluationFrame:
        """Reads a frame.

        Raises:
            InputError: A file is missing or damaged, sizes disagree, or a label value is not the set's.
        """
        files = self.files[index]
        image, labels = read_color(files.image), self._read_labels(files)
        check_sizes(image, files.image, labels, files.label)
        size = (image.shape[1], image.shape[0])
        if self.stretched:
            size = (2 * image.shape[0], image.shape[0])
        elif self.width is not None:
            size = (self.width, round(image.shape[0] * self.width / image.shape[1]))
        if size != (image.shape[1], image.shape[0]):
            image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
            labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
        semantic = translate_labels(labels, self.semantic, files.label) if self.semantic else None
        anomaly = translate_labels(labels, self.anomaly, files.label) if self.anomaly else None
        return EvaluationFrame(str(files.label), image, anomaly=anomaly, semantic=semantic, group=files.group)

    def subset(self, limit: int | None) -> LabelledSet:
        """Returns an evenly spread subset of at most ``limit`` frames; the set itself where ``limit`` is None."""
        if limit is None or limit >= len(self):
            return self
        chosen = np.linspace(0, len(self) - 1, limit).round().astype(int)
        found = copy.copy(self)
        found.files = [self.files[index] for index in chosen.tolist()]
        return found
