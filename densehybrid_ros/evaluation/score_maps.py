# SPDX-License-Identifier: Apache-2.0
"""Score maps of others, one file a frame, in the place of a model: they are measured as its scores are."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from densehybrid_ros.datasets.evaluation_set import EvaluationFrame
from densehybrid_ros.datasets.labelled_set import LabelledSet
from densehybrid_ros.datasets.pictures import read_values
from densehybrid_ros.datasets.taxonomy import SemanticClass
from densehybrid_ros.errors import InputError, name_some
from densehybrid_ros.evaluation.dense_scores import ScoredFrame

_ARRAYS, _PICTURES = (".npy", ".npz"), (".tif", ".tiff", ".png")
SUFFIXES = (*_ARRAYS, *_PICTURES)
"""Files that count as score maps, in lower case."""


def read_score_map(path: Path) -> np.ndarray:
    """Reads a score map as float32 [H, W], higher = more anomalous.

    Raises:
        InputError: It can't be read, or holds more than one number a pixel.
    """
    values = (_read_array(path) if path.suffix.lower() in _ARRAYS else read_values(path)).squeeze()
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        shape = "x".join(map(str, values.shape))
        raise InputError(f"{path}: holds {values.dtype} of shape {shape}; a score map is one number a pixel")
    return np.ascontiguousarray(values, dtype=np.float32)


def _read_array(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            stored = np.load(file, allow_pickle=False)
            names = getattr(stored, "files", None)  # an array has none
            if names is None or len(names) == 1:
                found: np.ndarray = stored if names is None else stored[names[0]]
                return found
            problem = f"holds the arrays {name_some(names)}; keep one"
    except OSError as error:
        problem = f"can't be read ({error.strerror or error})"
    except (ValueError, EOFError) as error:
        problem = f"is no NumPy array ({error})"
    raise InputError(f"{path}: {problem}")


class ScoreMaps:
    """Scores the frames of a data set with the maps of a folder; a ``Scorer``.

    A map has its frame's name with another ending, in any folder below. Of several of one name, the one counts whose
    folders agree with the frame's the furthest.

    Raises:
        InputError: Frames of ``indices`` lack their maps; it names them.
    """

    input_size: tuple[int, int] | None = None
    classes: tuple[SemanticClass, ...] = ()
    device = torch.device("cpu")

    def __init__(self, folder: Path, name: str, dataset: LabelledSet, indices: Iterable[int]) -> None:
        self.name = name
        self.judged: str | None = name
        self.scores = [name]
        found: dict[str, list[Path]] = {}
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if path.suffix.lower() in SUFFIXES:
                found.setdefault(path.stem, []).append(path)
        if not found:
            raise InputError(f"--score-maps {folder}: holds no score maps ({', '.join(SUFFIXES)})")
        images = {index: dataset.files[index].image for index in indices}
        missing = [path.stem for path in images.values() if path.stem not in found]
        if missing:
            raise InputError(
                f"--score-maps {folder}: {len(missing)} of {len(images)} frames have no map: {name_some(missing)}; "
                f"name maps as the frames, with {', '.join(SUFFIXES)}"
            )
        self._paths = {index: _nearest(path, found[path.stem]) for index, path in images.items()}

    def __call__(self, index: int, frame: EvaluationFrame) -> ScoredFrame:
        """Reads the map of a frame.

        Raises:
            InputError: It can't be read, or has another size than the frame.
        """
        path = self._paths[index]
        values = read_score_map(path)
        height, width = frame.image.shape[:2]
        if values.shape != (height, width):
            rows, columns = values.shape
            raise InputError(f"{path}: is {columns}x{rows}, but its frame is {width}x{height}; they must agree")
        if frame.anomaly is not None and np.isnan(values[frame.anomaly <= 1]).any():
            raise InputError(f"{path}: has NaN at labelled pixels; write a number there")
        nothing = torch.zeros(values.shape, dtype=torch.uint8)
        return ScoredFrame(index, frame, {self.name: torch.from_numpy(values)}, nothing, "score maps")


def _nearest(image: Path, maps: list[Path]) -> Path:
    """The map that shares most of the last folders with an image; other folders between them are no matter."""
    shared = set(image.parent.parts[-4:])
    return max(maps, key=lambda path: sum(part in shared for part in path.parent.parts[-4:]))
