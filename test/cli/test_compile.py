# SPDX-License-Identifier: Apache-2.0
"""``densehybrid compile``, ``info`` and ``benchmark engine``: real builds of a tiny network, and refusals."""

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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--precision", "fp16"], "use bf16 or fp32"),
        (["--backend", "tensorrt"], "it needs an NVIDIA GPU"),
        (["--device", "cuda:99"], "cuda:99"),
    ],
)
def test_refusals_are_one_line_and_status_2(model: Path, capsys, options: list[str], message: str) -> None:
    assert main(["compile", "--model", str(model), "--device", "cpu", *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]


@pytest.mark.parametrize("command", ["compile --size", "benchmark engine --size"])
def test_the_former_order_of_a_size_is_refused_with_a_hint(command: str, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command.split(), "512x1024"])
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert f"{command.split()[-1]}: 512x1024: sizes are WIDTHxHEIGHT; did you mean 1024x512?" in lines[0]
