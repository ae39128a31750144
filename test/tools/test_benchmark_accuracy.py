# SPDX-License-Identifier: Apache-2.0
"""``tools/benchmarks/accuracy.py`` on a data set made here: eager fp32 against eager bf16."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from densehybrid_ros.networks import DenseHybrid, ModelCard, build_network, save_model


def test_each_precision_has_its_difference_to_fp32(
    benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    rng = np.random.default_rng(0)
    for folder in ("image", "label"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    for index in range(2):
        label = np.zeros((40, 60), np.uint8)
        label[10:20, 20 * index + 5 : 20 * index + 15] = 1
        cv2.imwrite(str(tmp_path / "set" / "image" / f"{index}.png"), rng.integers(0, 256, (40, 60, 3), np.uint8))
        cv2.imwrite(str(tmp_path / "set" / "label" / f"{index}.png"), label)
    torch.manual_seed(0)
    model = tmp_path / "seeded.safetensors"
    save_model(model, DenseHybrid(build_network("light", 19)).eval(), ModelCard("seeded", "light"))
    options = ["--model", model, "--dataset", "folder", "--root", tmp_path / "set", "--size", "96x64"]
    assert benchmark("accuracy", *options, "--device", "cpu", "--json", tmp_path / "ap.json") == 0
    backends = json.loads((tmp_path / "ap.json").read_text())["backends"]
    assert set(backends) == {"eager fp32", "eager bf16"}
    assert 0 < backends["eager fp32"]["ap"] < 100
    assert backends["eager fp32"]["ap"] != backends["eager bf16"]["ap"]
    assert "+0.000" in capsys.readouterr().out
