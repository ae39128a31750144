# SPDX-License-Identifier: Apache-2.0
"""Cut-outs on the ground of labelled frames: labels, places, look, and the folder that they become."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from densehybrid_ros.datasets.evaluation_set import ANOMALY, IGNORE, INLIER, FrameFiles
from densehybrid_ros.datasets.folder import open_folder
from densehybrid_ros.datasets.labelled_set import TRAIN_IDS, LabelledSet
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.evaluation.pasted_set import PastedSet, write_pasted_set

ROAD, SKY, VOID = 0, 10, 255
HORIZON = 0.41 * 160
RED = torch.zeros(4, 60, 60, dtype=torch.uint8)
RED[0], RED[3] = 250, 255


def _frames(folder: Path, count: int = 6, blur: float = 0.0) -> LabelledSet:
    labels = np.full((160, 320), SKY, np.uint8)
    labels[80:], labels[150:] = ROAD, VOID
    files = []
    for number in range(count):
        grain = np.random.default_rng(number).integers(60, 140, (160, 320, 1), np.uint8)
        image = cv2.GaussianBlur(grain, (0, 0), blur) if blur else grain
        files.append(FrameFiles(folder / f"{number}.png", folder / f"{number}_label.png"))
        cv2.imwrite(str(files[-1].image), image)
        cv2.imwrite(str(files[-1].label), labels)
    return LabelledSet("own", files, CITYSCAPES_CLASSES, TRAIN_IDS)


def _written(folder: Path, cutouts: Sequence[torch.Tensor] = (RED,), shadows: float = 0.0, **look: float) -> PastedSet:
    folder.mkdir()
    return write_pasted_set(_frames(folder, **look), cutouts, folder / "pasted", 7, shadows)


def test_objects_stand_on_the_ground_in_their_size_and_are_anomalies(tmp_path: Path) -> None:
    written = _written(tmp_path / "a")
    found = open_folder(tmp_path / "a" / "pasted")
    assert (written.frames, len(found)) == (6, 6)
    assert 6 <= written.objects <= 18
    assert found.class_names == tuple(item.name for item in CITYSCAPES_CLASSES)
    assert found.classes == CITYSCAPES_CLASSES
    for frame in found:
        assert frame.anomaly is not None
        assert frame.semantic is not None
        assert (frame.anomaly[152:] != INLIER).all()
        assert (frame.anomaly[0] == INLIER).all()
        assert set(np.unique(frame.semantic)) == {ROAD, SKY, VOID}
        count, _, boxes, _ = cv2.connectedComponentsWithStats((frame.anomaly == ANOMALY).astype(np.uint8))
        for left, top, width, height, area in boxes[1:count]:
            inside = left > 0 and left + width < 320 and area == width * height  # whole, and before no other
            metre = (top + height - HORIZON) / 1.25
            assert not inside or 0.2 * metre - 2 < height < 1.25 * metre + 2
            assert top + height >= 80
            colour = frame.image[top : top + height, left : left + width].reshape(-1, 3).mean(0)
            assert colour[0] > 1.2 * colour[1]


def test_the_same_seed_writes_the_same_set_and_shadows_count_nowhere(tmp_path: Path) -> None:
    for name, shadows in (("a", 1.0), ("b", 1.0), ("c", 0.0)):
        _written(tmp_path / name, shadows=shadows)
    files = [sorted((tmp_path / name / "pasted").rglob("*.*g")) for name in "abc"]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]
    ignored = [sum(int((frame.anomaly == IGNORE).sum()) for frame in open_folder(tmp_path / name / "pasted"))
               for name in "ac"]  # fmt: skip
    assert ignored[0] > ignored[1] + 100


def test_an_object_is_as_sharp_as_its_frame(tmp_path: Path) -> None:
    lines = RED.clone()
    lines[:3, :, ::6] = 0
    contrast = []
    for name, blur in (("sharp", 0.0), ("blurred", 3.0)):
        _written(tmp_path / name, [lines], blur=blur)
        frames = open_folder(tmp_path / name / "pasted")
        contrast.append(np.mean([frame.image[..., 0][frame.anomaly == ANOMALY].std() for frame in frames]))
    assert contrast[1] < 0.8 * contrast[0]
