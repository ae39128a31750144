# SPDX-License-Identifier: Apache-2.0
"""``densehybrid compile``, ``info`` and ``benchmark engine``: real builds of a tiny network."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from densehybrid_ros.cli.main import main
from densehybrid_ros.networks import DenseHybrid, ModelCard, save_model
from densehybrid_ros.networks.registry import ARCHITECTURES

sys.path.insert(0, str(Path(__file__).parents[1] / "inference"))
from tiny_network import SIZE, TinyNetwork


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model on disk, of an architecture that the registry knows for this test."""
    monkeypatch.setitem(ARCHITECTURES, "tiny", TinyNetwork)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    torch.manual_seed(0)
    path = tmp_path / "tiny.safetensors"
    card = ModelCard("tiny", "tiny", input_size=SIZE)
    save_model(path, DenseHybrid(TinyNetwork(card.num_classes)).eval(), card)
    return path


def test_compiles_once_and_the_cache_is_shown_and_measured(model: Path, tmp_path: Path, capsys) -> None:
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler on this machine")
    command = ["compile", "--model", str(model), "--size", "46x31", "--device", "cpu", "--backend", "inductor"]
    assert main(command) == 0
    captured = capsys.readouterr()
    assert "compile: compiling with inductor" in captured.err
    assert "tiny, inductor fp32, 46x31, padded to 48x32: built in" in captured.out
    assert str(tmp_path / "user" / "densehybrid_ros") in captured.out
    assert main(command) == 0
    assert "already there" in capsys.readouterr().out

    assert main(["info", "--json", str(tmp_path / "info.json")]) == 0
    facts = json.loads((tmp_path / "info.json").read_text())
    assert facts["engine cache"] == str(tmp_path / "user" / "densehybrid_ros")
    assert len(facts["engines"]) == 1
    assert "48x32 fp32, inductor for" in facts["engines"][0]
    capsys.readouterr()

    measure = ["benchmark", "engine", "--models", str(model), "--size", "48x32", "--repeats", "2"]
    assert main([*measure, "--device", "cpu", "--no-build", "--json", str(tmp_path / "rows.json")]) == 0
    rows = {row["name"]: row for row in json.loads((tmp_path / "rows.json").read_text())["rows"]}
    assert rows["tiny on the CPU: inductor fp32"]["values"]["times_faster_than_eager"] > 0
    assert "none in the cache" in rows["tiny on the CPU: inductor bf16"]["problem"]  # that row alone
    assert "none in the cache" in capsys.readouterr().out
