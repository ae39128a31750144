"""``densehybrid balance`` from a model and frames to a model."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from densehybrid_ros.cli.main import main
from densehybrid_ros.networks import DenseHybrid, ModelCard, build_network, load_model, save_model
from densehybrid_ros.scores import SCORES


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "light.safetensors"
    details = {"terms": "none", "training": [{"stage": "open_set"}], "figures": {"old": 1}}
    card = ModelCard("light", "light", thresholds={"old": 1.0}, default_threshold="old", details=details)
    save_model(path, DenseHybrid(build_network("light", 19)), card, half=False)
    return path


def _balance(model: Path, frames: Path, *options: object) -> int:
    sets = "road_anomaly21_val,road_obstacle21_val"
    words = ["balance", "--model", model, "--dataset", sets, "--root", frames, "--device", "cpu", *options]
    return main([str(word) for word in words])


def test_the_best_weight_is_printed_and_lies_in_the_model_written(
    model: Path, frames: Path, tmp_path: Path, capsys
) -> None:
    output = tmp_path / "balanced" / "light.safetensors"
    assert _balance(model, frames, "--weights", "0.5,1,64", "--rarities", "0", "--output", output) == 0
    printed = capsys.readouterr().out.splitlines()
    means = {line.split("  ")[0]: float(line.split()[-1]) for line in printed[1:8]}
    assert set(means) == {
        "posterior",
        "likelihood",
        "max_softmax",
        "max_logit",
        *(f"hybrid, weight {weight}" for weight in ("0.5", "1", "64")),
    }
    weight = float(printed[8].split("weight ")[1].split(";")[0])
    assert means[f"hybrid, weight {weight:g}"] == max(means[f"hybrid, weight {each}"] for each in ("0.5", "1", "64"))

    before, after = load_model(model), load_model(output)
    image = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        old, new = before.network(image), after.network(image)
        expected = SCORES["hybrid"](old.logits, weight * old.posterior)
        torch.testing.assert_close(SCORES["hybrid"](*new), expected, atol=0.05 * weight, rtol=0.01)  # stored in fp16
    assert after.card.thresholds == {}
    assert "figures" not in after.card.details
    assert [stage["stage"] for stage in after.card.details["training"]] == ["open_set", "balance"]
    assert after.card.details["training"][-1]["posterior_weight"] == weight


def test_frames_without_anomalies_are_refused(model: Path, frames: Path, tmp_path: Path, capsys) -> None:
    root = tmp_path / "frames"
    shutil.copytree(frames / "road_anomaly21_val", root)
    for path in (root / "label").iterdir():
        assert cv2.imwrite(str(path), np.zeros((64, 96), np.uint8))
    words = ["balance", "--model", model, "--dataset", "road_anomaly21_val", "--root", root, "--device", "cpu"]
    output = tmp_path / "light.safetensors"
    assert main([str(word) for word in (*words, "--output", output)]) == 2
    assert "road_anomaly21_val: its frames need anomalous and inlier pixels" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--weights", "1,0"], "--weights 1,0: '0' is not a number above 0"),
        (["--rarities", "0,-1"], "--rarities 0,-1: write numbers of at least 0"),
        (["--output", "model.pt"], "--output model.pt: the name must end in .safetensors"),
        (["--root", "nowhere"], "nowhere"),
    ],
)
def test_wrong_usage_is_one_line(model: Path, frames: Path, options: list[str], message: str, capsys) -> None:
    assert _balance(model, frames, *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
