"""Any folder of image/label pairs: ``image/NAME.*`` beside ``label/NAME.*``, anomaly labels 0, 1 and 255."""

from __future__ import annotations

from pathlib import Path

from densehybrid_ros.datasets.evaluation_set import (
    EvaluationFrame,
    EvaluationSet,
    FrameFiles,
    check_sizes,
    index_by_stem,
    require_folder,
)
from densehybrid_ros.datasets.label_values import ANOMALY_VALUES, translate_labels
from densehybrid_ros.datasets.pictures import read_color, read_labels
from densehybrid_ros.errors import InputError


class AnomalyPairs(EvaluationSet):
    """Pairs of an image and an anomaly label map of the same size.

    Args:
        files: The pairs.
        values: Value in the label file -> 0 inlier, 1 anomaly, 255 ignore.
    """

    def __init__(self, files: list[FrameFiles], values: dict[int, int] = ANOMALY_VALUES) -> None:
        super().__init__(files)
        self._values = values

    def __getitem__(self, index: int) -> EvaluationFrame:
        """Reads a pair."""
        files = self.files[index]
        image, labels = read_color(files.image), read_labels(files.label)
        check_sizes(image, files.image, labels, files.label)
        anomaly = translate_labels(labels, self._values, files.label)
        return EvaluationFrame(str(files.label), image, anomaly=anomaly, group=files.group)


def open_folder(root: Path) -> AnomalyPairs:
    """Opens a folder with ``image/`` and ``label/``, files of a pair named alike.

    Raises:
        InputError: A folder is missing or empty, or an image lacks its label.
    """
    hint = "give a folder that holds image/ and label/"
    images = index_by_stem(require_folder(root / "image", hint), "*")
    labels = index_by_stem(require_folder(root / "label", hint), "*")
    return AnomalyPairs(pair_files(images, labels, root / "image", root / "label"))


def pair_files(images: dict[str, Path], labels: dict[str, Path], image_folder: Path, label_folder: Path) -> list:
    """Puts images and labels of the same key together; a label without an image is left out.

    Raises:
        InputError: There is no image, or one has no label.
    """
    if not images:
        raise InputError(f"{image_folder}: holds no pictures; check --root and --dataset")
    for key, path in images.items():
        if key not in labels:
            raise InputError(f"{path}: its label is missing in {label_folder}; add it or remove the image")
    return [FrameFiles(path, labels[key]) for key, path in images.items()]
