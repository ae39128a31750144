"""``densehybrid average`` from files to a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from densehybrid_ros.cli.main import main
from densehybrid_ros.evaluation.balance import Balance, balances
from densehybrid_ros.networks import DenseHybrid, ModelCard, ScoreLevel, build_network, load_model, save_model


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


def test_a_closed_set_model_counts_for_the_posterior_if_it_ever_learnt_one(files: list[str], tmp_path: Path) -> None:
    second, output = load_model(files[1]), tmp_path / "light.safetensors"
    second.network.posterior_head.norm.weight.data += 1.0
    for stages, share in ((["closed_set"], 0.0), (["open_set", "closed_set"], 0.25)):
        card = replace(second.card, details={"training": [{"stage": stage} for stage in stages]})
        save_model(Path(files[1]), second.network, card, half=False)
        assert main(["average", *files, "--shares", "3,1", "--output", str(output)]) == 0
        mean, first = (load_model(path).network.posterior_head.norm.weight for path in (output, files[0]))
        torch.testing.assert_close(mean, first + share)


def test_balanced_models_are_averaged_as_they_were_trained(files: list[str], tmp_path: Path, capsys) -> None:
    first, second = (load_model(path) for path in files)
    trained = {key: value.clone() for key, value in first.network.state_dict().items()}
    balanced, output = tmp_path / "balanced.safetensors", tmp_path / "light.safetensors"
    for weight in (4.0, 2.0):
        Balance(weight, 3.0).apply(first.network)
        first.card.details["training"].append({"stage": "balance", "posterior_weight": weight, "rarity": 3.0})
    save_model(balanced, first.network, replace(first.card, score_level=ScoreLevel(0.4, 1, -3.0, 2.0)), half=False)
    assert main(["average", str(balanced), files[1], "--shares", "1,1", "--output", str(output)]) == 0
    assert "its posterior as it was trained, on no level" in capsys.readouterr().out
    mean = load_model(output)
    for key in ("posterior_head.conv.weight", "posterior_head.conv.bias"):
        torch.testing.assert_close(mean.network.state_dict()[key], trained[key], atol=1e-3, rtol=1e-2)  # fp16
    key = "network.stem.1.bias"
    torch.testing.assert_close(mean.network.state_dict()[key], (trained[key] + second.network.state_dict()[key]) / 2)
    assert balances(mean.card) == []
    assert mean.card.score_level is None


@pytest.mark.parametrize("shares", ["1", "1,x", "-1,2"])
def test_wrong_shares_are_one_line(files: list[str], tmp_path: Path, shares: str, capsys) -> None:
    output = tmp_path / "light.safetensors"
    assert main(["average", *files, f"--shares={shares}", "--output", str(output)]) == 2
    error = capsys.readouterr().err
    assert "--shares" in error
    assert len(error.splitlines()) == 1
    assert not output.exists()


def test_a_model_of_other_classes_is_named(files: list[str], tmp_path: Path, capsys) -> None:
    other, output = tmp_path / "other.safetensors", tmp_path / "mean" / "light.safetensors"
    card = load_model(files[0]).card
    save_model(other, DenseHybrid(build_network("light", 12)), replace(card, classes=card.classes[:12]), half=False)
    assert main(["average", files[0], str(other), "--output", str(output)]) == 2
    error = capsys.readouterr().err.splitlines()
    assert error == [
        f"densehybrid average: {other}: is light with 12 classes, {files[0]} light with 19; leave it out, "
        "only like models have a mean"
    ]
    assert not output.parent.exists()


def test_a_model_of_the_same_classes_in_another_order_is_named(files: list[str], tmp_path: Path, capsys) -> None:
    card, output = load_model(files[0]).card, tmp_path / "mean" / "light.safetensors"
    turned = replace(card, classes=tuple(reversed(card.classes)))
    save_model(Path(files[1]), DenseHybrid(build_network("light", 19)), turned, half=False)
    assert main(["average", *files, "--output", str(output)]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"densehybrid average: {files[1]}: calls class 0 'bicycle', not 'road' as {files[0]} does; leave it out, "
        "only like models have a mean"
    ]
    assert not output.parent.exists()


@pytest.mark.parametrize("shares", ["nan,1", "inf,1", "-1,2", "one,1"])
def test_shares_are_finite_numbers(files: list[str], tmp_path: Path, shares: str, capsys) -> None:
    output = tmp_path / "mean" / "light.safetensors"
    assert main(["average", *files, f"--shares={shares}", "--output", str(output)]) == 2
    assert f"--shares {shares}: write numbers of at least 0" in capsys.readouterr().err
    assert not output.parent.exists()
