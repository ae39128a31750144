# SPDX-License-Identifier: Apache-2.0
"""Evaluation on own frames: classes by name, unknown numbers as anomalies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from own_frames import write_own_frames

from densehybrid_ros.cli.main import main
from densehybrid_ros.networks import DenseHybrid, ModelCard, build_network, save_model


def test_shared_classes_have_iou_and_unknown_numbers_ap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    model, figures = tmp_path / "light.safetensors", tmp_path / "figures.json"
    save_model(model, DenseHybrid(build_network("light", 19)), ModelCard("light", "light"))
    root = write_own_frames(tmp_path, count=2)
    command = ["evaluate", "--dataset", "folder", "--root", str(root), "--model", str(model), "--scores", "hybrid"]
    assert main([*command, "--json", str(figures)]) == 0
    found = json.loads(figures.read_text())
    assert sorted(found["class_iou"]) == ["sky", "vegetation"]
    assert found["mean_iou"] == pytest.approx(np.mean(list(found["class_iou"].values())))
    assert found["frames"] == 2
    assert found["pixel"]["hybrid"]["average_precision"] > 0
    (root / "classes.yaml").write_text("classes: [{id: [0, 1, 2, 3, 9], name: water}]\n")
    assert main(command) == 2
    assert "classes.yaml: the model knows none of its classes; it has road, " in capsys.readouterr().err
