"""``densehybrid level`` from a model and frames to a model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from densehybrid_ros.cli.main import main
from densehybrid_ros.networks import (
    DenseHybrid,
    ModelCard,
    ScoreLevel,
    build_network,
    load_model,
    read_card,
    save_model,
)

OLD = ScoreLevel(0.9, 1, -1.0, 1.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "light.safetensors"
    details = {"terms": "none", "training": [{"stage": "balance"}], "figures": {"old": 1}}
    card = ModelCard("light", "light", thresholds={"old": 1.0}, score_level=OLD, details=details)
    network = DenseHybrid(build_network("light", 19))
    network.network.classifier.conv.weight.data *= 3e4  # scores of random weights are nearly the same everywhere
    save_model(path, network, card, half=False)
    return path


def _level(model: Path, frames: Path, *options: object) -> int:
    sets = "road_anomaly21_val,road_obstacle21_val"
    words = ["level", "--model", model, "--dataset", sets, "--root", frames, "--device", "cpu", *options]
    return main([str(word) for word in words])


def test_the_best_level_is_printed_and_lies_in_the_card_written(
    model: Path, frames: Path, tmp_path: Path, capsys
) -> None:
    output = tmp_path / "level" / "light.safetensors"
    assert _level(model, frames, "--shares", "0.3,1", "--reaches", "1", "--output", output) == 0
    printed = capsys.readouterr().out.splitlines()
    rows = {line.split("  ")[0]: float(line.split()[-1]) for line in printed[1:-2]}
    named = [name for name in rows if name.startswith("share")]
    assert len(named) == 6  # three midpoints of two shares
    assert set(rows) - set(named) == {"posterior", "likelihood", "max_softmax", "max_logit", "hybrid"}
    best = max(("hybrid", *named), key=lambda name: rows[name])
    card = load_model(output).card
    assert printed[-2].startswith("best by mean AP: ")
    assert card.thresholds == {}
    assert "figures" not in card.details
    assert [stage["stage"] for stage in card.details["training"]] == ["balance", "level"]
    if card.score_level is None:
        assert best == "hybrid"
    else:
        chosen = f"share {card.score_level.share:g}, reach 1, midpoint {card.score_level.midpoint:.4g}"
        assert rows[chosen] == rows[best]  # of equal ones either


def test_a_table_alone_leaves_the_model_and_its_level_as_they_are(model: Path, frames: Path, capsys) -> None:
    assert _level(model, frames, "--shares", "0.5", "--reaches", "1") == 0
    assert "measured anew" not in capsys.readouterr().out
    assert read_card(model.with_suffix(".yaml")).score_level == OLD


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shares", "0.5,2"], "--shares 0.5,2: must be within 0..1"),
        (["--reaches", "2.5"], "--reaches 2.5: must be whole numbers of cells"),
        (["--reaches", "0"], "--reaches 0: '0' is not a number above 0"),
        (["--output", "model.pt"], "--output model.pt: the name must end in .safetensors"),
        (["--root", "nowhere"], "nowhere"),
    ],
)
def test_wrong_usage_is_one_line(model: Path, frames: Path, options: list[str], message: str, capsys) -> None:
    assert _level(model, frames, *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
