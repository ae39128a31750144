"""``densehybrid refine`` from a model and frames to a model."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
import yaml

from densehybrid_ros.cli.main import main
from densehybrid_ros.cli.refine import _keeps_classes
from densehybrid_ros.cli.training_data import RunData, mean_iou
from densehybrid_ros.datasets.training_frames import load_cityscapes_640
from densehybrid_ros.evaluation.balance import Balance, balances
from densehybrid_ros.networks import DenseHybrid, ModelCard, ScoreLevel, build_network, load_model, save_model
from densehybrid_ros.training.distributed import Processes

LEVEL = ScoreLevel(0.4, 1, -3.0, 2.0)
RUN = {
    "name": "light",
    "architecture": "light",
    "stage": "open_set",
    "seed": 5,
    "steps": 1,
    "batch_size": 2,
    "warmup_steps": 0,
    "learning_rate": 0.01,
    "crops": {"height": 64, "width": 64},
    "data": {"workers": 0},
    "negatives": {"size": [8, 30], "count": [1, 2]},
    "loss": {"weighting": "margins", "distillation": 0.5, "score_distillation": 0.5},
    "terms": "none",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Balanced, and on a level."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "light.safetensors"
    stages = [{"stage": "open_set"}, {"stage": "balance", "posterior_weight": 4.0, "rarity": 3.0}, {"stage": "level"}]
    details = {"terms": "of the first", "training": stages}
    card = ModelCard("light", "light", thresholds={"old": 1.0}, details=details, score_level=LEVEL)
    save_model(path, DenseHybrid(build_network("light", 19)), card, half=False)
    return path


def _refine(data: Path, model: Path, frames: Path, output: Path, *options: object) -> int:
    config = data / "refine.yaml"
    config.write_text(yaml.safe_dump(RUN))
    words = ["refine", "--config", config, "--model", model, "--root", frames, "--device", "cpu"]
    words += ["--dataset", "road_anomaly21_val,road_obstacle21_val", "--output", output, "--every", "1"]
    words += ["--miou-loss", "100", f"data.cityscapes_640={data}", f"negatives.root={data / 'negatives'}"]
    return main([str(word) for word in (*words, *options)])


def test_what_is_kept_is_better_and_is_used_as_the_first_was(
    data: Path, model: Path, frames: Path, tmp_path: Path, capsys
) -> None:
    output = tmp_path / "refined" / "light.safetensors"
    assert _refine(data, model, frames, output, "--rounds", "4", "--shares", "0.5,1") == 0
    printed = capsys.readouterr().out.splitlines()
    best = [float(line.split("best ")[1]) for line in printed[:5]]
    assert printed[0].startswith("start: AP road_anomaly21_val ")
    assert best == sorted(best)
    assert best[-1] > best[0], "noise before, and four chances; if none is better the test is in vain"

    refined = load_model(output)
    stages = refined.card.details["training"]
    assert [stage["stage"] for stage in stages] == ["open_set", "balance", "level", "refine"]
    rounds = stages[-1]["rounds"]
    assert [each["number"] for each in rounds] == [1, 2, 3, 4]
    assert stages[-1]["chosen_on"] == ["road_anomaly21_val", "road_obstacle21_val"]
    kept = [each for each in rounds if each["kept"]]
    assert sum(kept[-1]["figures"].values()) / 2 == pytest.approx(best[-1], abs=0.006)
    assert refined.card.score_level == LEVEL
    assert balances(refined.card) == [Balance(4.0, 3.0)]
    assert refined.card.thresholds == {}
    assert refined.card.details["terms"] == "of the first"

    # Measured alone, as any model, it has the figures that its rounds say.
    words = ["evaluate", "--model", output, "--root", frames, "--device", "cpu", "--scores", "hybrid"]
    words += ["--dataset", "road_anomaly21_val,road_obstacle21_val", "--json", tmp_path / "figures.json"]
    assert main([str(word) for word in words]) == 0
    results = json.loads((tmp_path / "figures.json").read_text())["results"]
    written = {each["dataset"]: each["pixel"]["hybrid"] for each in results}
    for name, value in kept[-1]["figures"].items():
        assert 100 * written[name]["average_precision"] == pytest.approx(value, abs=0.05)  # fp16


def test_classes_may_count_among_the_figures(data: Path, model: Path, frames: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "light.safetensors"
    assert _refine(data, model, frames, output, "--rounds", "3", "--shares", "1", "--with-classes") == 0
    printed = capsys.readouterr().out.splitlines()
    values = [float(part.split()[-1]) for part in printed[0].split(";")[0].split(", ")]
    assert re.search(r"^start: AP road_anomaly21_val .*, AP road_obstacle21_val .*, mIoU ", printed[0])
    assert float(re.search(r"best ([0-9.]+)", printed[0])[1]) == pytest.approx(sum(values) / 3, abs=0.01)
    start = mean_iou(load_model(model).network, [load_cityscapes_640(data, "val")], torch.device("cpu"), Processes())
    assert values[2] == start["mean_iou"]
    assert output.exists(), "noise before, and three chances; if none is better the test is in vain"
    stage = load_model(output).card.details["training"][-1]
    assert stage["chosen_on"] == ["road_anomaly21_val", "road_obstacle21_val", "mean_iou"]
    assert all(len(each["figures"]) == 3 for each in stage["rounds"])


def test_a_run_with_no_better_round_writes_nothing(
    data: Path, model: Path, frames: Path, tmp_path: Path, capsys
) -> None:
    output = tmp_path / "light.safetensors"
    assert _refine(data, model, frames, output, "--rounds", "1", "--shares", "1e-9") == 0
    assert "not written, no round made the model better" in capsys.readouterr().out
    assert not output.exists()


def test_a_model_that_has_lost_its_classes_is_not_accepted(data: Path) -> None:
    held_out = [load_cityscapes_640(data, "val")]
    cpu = torch.device("cpu")
    labels = held_out[0].labels
    frequent = int(labels[labels < 19].flatten().mode().values)
    absent = next(index for index in range(19) if not (labels == index).any())

    def always(index: int) -> DenseHybrid:
        made = DenseHybrid(build_network("light", 19)).eval()
        (classifier,) = (part for part in made.network.modules() if getattr(part, "out_channels", 0) == 19)
        with torch.no_grad():
            classifier.bias[index] = 1000
        return made

    def measured(model: DenseHybrid) -> float:
        return mean_iou(model, held_out, cpu, Processes())["mean_iou"]

    first, lost = always(frequent), always(absent)
    assert measured(lost) < measured(first)
    for loss, accepted in ((1e-6, False), (100.0, True)):
        keeps = _keeps_classes(first, RunData([], None, held_out), cpu, loss)
        assert keeps(first)
        assert keeps(lost) is accepted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shares", "0.5,2"], "--shares 0.5,2: must be within 0..1"),
        (["--shares", "0,1"], "--shares 0,1: '0' is not a number above 0"),
        (["stage=closed_set", "loss.score_distillation=0"], "stage=closed_set; rounds are of stage=open_set"),
        (["architecture=ldn121"], "is light, the configuration wants ldn121"),
        (["loss.teacher=nowhere.safetensors"], "nowhere.safetensors"),
        (["negatives.root=nowhere"], "nowhere"),
    ],
)
def test_what_can_not_be_is_one_line(
    data: Path, model: Path, frames: Path, tmp_path: Path, capsys, options: list[str], message: str
) -> None:
    output = tmp_path / "light.safetensors"
    assert _refine(data, model, frames, output, *options) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("densehybrid refine: ")
    assert message in error
    assert not output.exists()


def test_several_processes_are_refused(
    data: Path, model: Path, frames: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert _refine(data, model, frames, tmp_path / "light.safetensors") == 2
    assert "runs in one process" in capsys.readouterr().err
