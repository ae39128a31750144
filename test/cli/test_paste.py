# SPDX-License-Identifier: Apache-2.0
"""``densehybrid paste``: a set that ``evaluate`` takes, and wrong input in one line."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from densehybrid_ros.cli.main import main
from densehybrid_ros.datasets.registry import open_evaluation_set


@pytest.fixture(scope="module")
def road(data: Path) -> Path:
    """``cityscapes_640`` in small whose lower half is road, and in the first frame nothing is."""
    for number in range(2):
        label = np.full((64, 64), 10, np.uint8)
        label[28:] = 0 if number else 10
        cv2.imwrite(str(data / "val" / "label" / f"{number}.png"), label)
    return data


def _paste(data: Path, output: Path, *options: object) -> int:
    words = ("paste", "--dataset", "cityscapes_640", "--root", data, "--output", output, *options)
    return main([str(word) for word in words])


def test_the_set_is_one_to_evaluate(road: Path, tmp_path: Path, capsys) -> None:
    cutouts = ("--cutouts", road / "negatives", road / "negatives")
    assert _paste(road, tmp_path / "set", *cutouts, "--json", tmp_path / "figures.json") == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures | {"objects": 0} == {"output": str(tmp_path / "set"), "frames": 1, "objects": 0, "left_out": 1}
    printed = capsys.readouterr()
    assert f"{figures['objects']} objects in 1 frames, 1 left out without a free place" in printed.out
    assert "paste: 2 frames" in printed.err
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["classes.yaml", "image", "label"]
    (frame,) = open_evaluation_set("folder", tmp_path / "set")
    assert frame.anomaly is not None
    assert frame.image.shape == (64, 128, 3)
    assert (frame.anomaly == 1).any()
    assert _paste(road, tmp_path / "set", *cutouts) == 2
    assert "exists; name a new folder, or remove it" in capsys.readouterr().err


def test_frames_without_a_free_place_are_one_line(road: Path, tmp_path: Path, capsys) -> None:
    assert _paste(road, tmp_path / "set", "--cutouts", road / "negatives", "--frames", "1") == 2
    assert "no frame has a free place on a road or sidewalk" in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())
