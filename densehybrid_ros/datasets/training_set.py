"""What every data set for training looks like: frames with train ids, read one at a time from their files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from densehybrid_ros.datasets.evaluation_set import FrameFiles, check_sizes
from densehybrid_ros.datasets.label_values import translate_labels
from densehybrid_ros.datasets.pictures import read_color, read_labels
from densehybrid_ros.datasets.taxonomy import SemanticClass

ReadLabels = Callable[[FrameFiles], np.ndarray]
"""Reads the labels of a frame as train ids, uint8 [H, W], 255 = void; a foreign value raises an InputError."""


@dataclass(frozen=True)
class MappedLabels:
    """Reads 8-bit label pictures and turns their values into train ids.

    Attributes:
        table: Value in the file -> train id, 255 = void.
    """

    table: Mapping[int, int]

    def __call__(self, files: FrameFiles) -> np.ndarray:
        """Reads the labels of a frame, uint8 [H, W].

        Raises:
            InputError: The file can't be read or holds a value outside the table.
        """
        return translate_labels(read_labels(files.label), self.table, files.label)


@dataclass(frozen=True)
class TrainingFrame:
    """A frame to train or to validate on.

    Attributes:
        name: The file of its labels, for messages.
        image: uint8 [H, W, 3], RGB; frames of one set may differ in size.
        label: uint8 [H, W], train ids, 255 = void.
    """

    name: str
    image: np.ndarray
    label: np.ndarray


class TrainingSet:
    """Frames by index, each read from its files when asked for.

    A set can be pickled and read from several threads or processes, as the workers of a data loader do.

    Attributes:
        name: Name of the data set.
        files: The files of every frame, in the order of the frames.
        classes: Names and colours in the order of the train ids.
        stretched: Whether frames are stored as squares and given their 2:1 geometry back when they are read.
    """

    def __init__(
        self,
        name: str,
        files: Sequence[FrameFiles],
        classes: tuple[SemanticClass, ...],
        read_labels: ReadLabels,
        stretched: bool = False,
    ) -> None:
        self.name = name
        self.files = list(files)
        self.classes = classes
        self.stretched = stretched
        self._read_labels = read_labels

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> TrainingFrame:
        """Reads a frame.

        Raises:
            InputError: A file is missing or damaged, sizes disagree, or a label value is not the set's.
        """
        files = self.files[index]
        image, label = read_color(files.image), self.read_label(index)
        check_sizes(image, files.image, label, files.label)
        if self.stretched:
            size = (2 * image.shape[0], image.shape[0])
            image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
            label = cv2.resize(label, size, interpolation=cv2.INTER_NEAREST)
        return TrainingFrame(str(files.label), image, label)

    def read_label(self, index: int) -> np.ndarray:
        """Reads the labels of a frame alone, as stored: uint8 [H, W], train ids, 255 = void.

        Raises:
            InputError: The file is missing or damaged, or a label value is not the set's.
        """
        return self._read_labels(self.files[index])

    def subset(self, limit: int | None) -> TrainingSet:
        """Returns an evenly spread subset of at most ``limit`` frames; the set itself where ``limit`` is None."""
        if limit is None or limit >= len(self):
            return self
        chosen = np.linspace(0, len(self) - 1, limit).round().astype(int)
        files = [self.files[index] for index in chosen.tolist()]
        return TrainingSet(self.name, files, self.classes, self._read_labels, self.stretched)
