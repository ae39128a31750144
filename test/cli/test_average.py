"""``densehybrid average`` from files to a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from densehybrid_ros.cli.main import main
from densehybrid_ros.networks import DenseHybrid, ModelCard, build_network, load_model, save_model


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = []
    for seed, stage in ((1, "open_set"), (2, "closed_set")):
        torch.manual_seed(seed)
        card = ModelCard("light", "light", details={"terms": "none", "training": [{"stage": stage, "seed": seed}]})
        path = tmp_path / f"{stage}.safetensors"
        save_model(path, DenseHybrid(build_network("light", 19)), card, half=False)
        paths.append(str(path))
    return paths


def test_the_mean_is_written_with_its_members(files: list[str], tmp_path: Path) -> None:
    output = tmp_path / "mean" / "light.safetensors"
    assert main(["average", *files, "--shares", "3,1", "--output", str(output)]) == 0
    mean, first, second = (load_model(path).network.state_dict() for path in (output, *files))
    key = "network.stem.1.bias"  # stored in float32
    torch.testing.assert_close(mean[key], 0.75 * first[key] + 0.25 * second[key])
    torch.testing.assert_close(mean["posterior_head.norm.weight"], first["posterior_head.norm.weight"])
    stage = load_model(output).card.details["training"][-1]
    assert [(member["share"], member["seed"]) for member in stage["members"]] == [(3.0, 1), (1.0, 2)]


@pytest.mark.parametrize("shares", ["1", "1,x", "-1,2"])
def test_wrong_shares_are_one_line(files: list[str], tmp_path: Path, shares: str, capsys) -> None:
    output = tmp_path / "light.safetensors"
    assert main(["average", *files, f"--shares={shares}", "--output", str(output)]) == 2
    error = capsys.readouterr().err
    assert "--shares" in error
    assert len(error.splitlines()) == 1
    assert not output.exists()
