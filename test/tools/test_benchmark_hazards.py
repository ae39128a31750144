# SPDX-License-Identifier: Apache-2.0
"""``tools/benchmarks/hazards.py``."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest


def test_cost_quality_and_picture(benchmark, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--repeats", "3", "--size", "1024x512", "--frames", "4", "--drive-size", "256x128"]
    files = ["--json", tmp_path / "figures.json", "--picture", tmp_path / "hazards.png"]
    assert benchmark("hazards", *options, *files) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    clean = figures["costs"][0]
    assert (clean["noise"], clean["hazards"], clean["left_out"]) == (0.0, 50, 0)
    assert all(cost["hazards"] <= 50 and cost["stage_ms"] > 0 for cost in figures["costs"])
    assert figures["quality"]["frames"] == 4
    assert figures["quality"]["ground_plane"]["positions"] > 0
    assert cv2.imread(str(tmp_path / "hazards.png")).shape == (128, 256 + 64, 3)
    assert "false alarms a frame at equal recall" in capsys.readouterr().out


def test_picture_of_no_known_kind(benchmark, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark("hazards", "--picture", "hazards.txt") == 2
    assert "--picture hazards.txt: name a .jpg or .png file" in capsys.readouterr().err
