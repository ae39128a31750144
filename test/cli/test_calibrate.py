# SPDX-License-Identifier: Apache-2.0
"""``densehybrid calibrate`` writes named thresholds into a card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from still_hazards import still_hazards

from densehybrid_ros.cli import calibrate
from densehybrid_ros.cli.commands import OneLineParser
from densehybrid_ros.datasets.pictures import write_picture
from densehybrid_ros.errors import InputError
from densehybrid_ros.inference import Segmenter
from densehybrid_ros.networks import ModelCard, load_model, read_card


@pytest.fixture
def model(model_path: Path, tmp_path: Path) -> Path:
    """A copy that may be written to."""
    for ending in (".safetensors", ".yaml"):
        shutil.copy(model_path.with_suffix(ending), tmp_path)
    return tmp_path / model_path.name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for index in range(3):
        label = (rng.random((64, 64)) < 0.1).astype(np.uint8)
        write_picture(tmp_path / "data" / "label" / f"{index}.png", label)
        image = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        write_picture(tmp_path / "data" / "image" / f"{index}.png", image)
    return tmp_path / "data"


def _calibrate(model: Path, folder: Path, *options: str) -> ModelCard:
    parser = OneLineParser(prog="densehybrid calibrate")
    calibrate.configure(parser)
    words = ["--model", str(model), "--dataset", "folder", "--root", str(folder), "--device", "cpu", *options]
    assert calibrate.run(parser.parse_args(words)) == 0
    return read_card(model.with_suffix(".yaml"))


def _scores(model: Path, folder: Path, **how: object) -> tuple[np.ndarray, np.ndarray]:
    """All scores, as a drive has them, and all labels."""
    segmenter, scores, labels = Segmenter(load_model(model), "eager", "cpu", **how), [], []
    for path in sorted((folder / "image").iterdir()):
        scores.append(segmenter(cv2.imread(str(path))[:, :, ::-1], 0.0).anomaly_score.ravel())
        labels.append(cv2.imread(str(folder / "label" / path.name), cv2.IMREAD_UNCHANGED).ravel())
    return np.concatenate(scores), np.concatenate(labels)


def test_thresholds_of_both_kinds_stand_in_the_card_and_how_the_model_ran(model: Path, folder: Path, capsys) -> None:
    card = _calibrate(model, folder, "--backend", "eager", "--size", "96x32")
    scores, labels = _scores(model, folder, size=(32, 96), input_policy="resize")
    assert (scores[labels == 0] > card.thresholds["inlier_q95"]).mean() == pytest.approx(0.05, abs=2e-3)
    assert card.default_threshold == "inlier_q95"
    entry = card.details["calibration"]["inlier_q95"]
    assert (entry["backend"], entry["size"], entry["frames"]) == ("eager fp32", "96x32", 3)
    assert "the node's default" in capsys.readouterr().out
    card = _calibrate(model, folder, "--by", "outlier_tpr95")
    scores, labels = _scores(model, folder)
    assert (scores[labels == 1] > card.thresholds["outlier_tpr95"]).mean() == pytest.approx(0.95, abs=1e-2)
    assert card.default_threshold == "inlier_q95"
    assert set(card.thresholds) == {"inlier_q95", "outlier_tpr95"}


def test_probability_stands_in_the_card_and_leaves_the_thresholds(model: Path, folder: Path, capsys) -> None:
    before = _calibrate(model, folder)
    scores, _ = _scores(model, folder)
    noise = np.random.default_rng(0).normal(0.0, scores.std(), scores.shape)
    labels = scores + noise > np.quantile(scores, 0.9)  # anomalies are where the score is highest, with some noise
    for index, label in enumerate(np.split(labels, 3)):
        write_picture(folder / "label" / f"{index}.png", label.astype(np.uint8).reshape(64, 64))
    card = _calibrate(model, folder, "--by", "probability")
    assert card.thresholds == before.thresholds
    expected = card.confidence.probability(scores.astype(np.float64))
    assert expected.mean() == pytest.approx(labels.mean(), rel=0.02)  # maximum likelihood keeps the share
    assert card.details["calibration"]["probability"]["prior"] == pytest.approx(labels.mean(), abs=1e-6)
    assert "P(anomaly) is 1/2 at" in capsys.readouterr().out


def test_regions_are_classified_and_stand_in_the_card(model: Path, folder: Path, capsys) -> None:
    random, images = np.random.default_rng(0), []
    for index in range(6):
        images.append(random.integers(0, 255, (64, 64, 3), dtype=np.uint8))
        write_picture(folder / "image" / f"{index}.png", images[-1])
    segmenter = Segmenter(load_model(model), "eager", "cpu")
    for index, image in enumerate(images):  # anomalies are the highest scores of the left half
        score = segmenter(image, 0.0).anomaly_score
        label = (score > np.quantile(score, 0.95)) & (np.arange(64) < 32)
        write_picture(folder / "label" / f"{index}.png", label.astype(np.uint8))
    card = _calibrate(model, folder, "--by", "regions", "--min-area", "4")
    assert card.region_classifier is not None
    assert card.default_threshold == "regions"
    assert card.details["calibration"]["regions"]["frames"] == 6
    assert "false ones a frame, by the mean score" in capsys.readouterr().out


def test_false_hazards_a_minute_are_those_of_the_node_s_stage(model: Path, folder: Path, capsys) -> None:
    for index in range(3):  # smooth pictures have regions; a square is the obstacle
        path, label = str(folder / "image" / f"{index}.png"), np.zeros((64, 64), np.uint8)
        label[40:52, 10 * index : 10 * index + 12] = 1
        image = cv2.GaussianBlur(cv2.imread(path), (0, 0), 4).astype(np.float32)
        image = 128 + 6 * (image - image.mean()) + 60 * label[:, :, None]
        assert cv2.imwrite(path, image.clip(0, 255).astype(np.uint8))
        assert cv2.imwrite(str(folder / "label" / f"{index}.png"), label)
    segmenter = Segmenter(load_model(model), "eager", "cpu")
    options = ("--backend", "eager", "--hertz", "0.05", "--default", "--json", str(folder / "r.json"))
    found = {}
    for rate in (0, 3):  # of 3 frames in a minute
        card = _calibrate(model, folder, "--false-hazards-per-minute", str(rate), *options)
        name = f"false_hazards_{rate}_per_minute"
        assert card.default_threshold == name
        entry = card.details["calibration"][name]
        squares, false, _ = still_hazards(folder, segmenter, card.thresholds[name])
        assert (entry["hertz"], entry["obstacles"], entry["min_area"]) == (0.05, 3, 50)
        assert entry["false_hazards"] == false <= rate
        assert entry["recall"] == round(squares / 3, 4)
        assert json.loads((folder / "r.json").read_text())["false_hazards"] == false
        found[rate] = card.thresholds[name]
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert found[0] > found[3]
    assert "false hazards: 0 in 1.00 minutes at 0.05 frames a second, too short" in capsys.readouterr().out


def test_one_run_of_the_network_finds_all_that_is_asked_for(model: Path, folder: Path, capsys) -> None:
    alone = [("--by", "outlier_tpr95"), ("--by", "inlier_q95"), ("--false-hazards-per-minute", "0")]
    expected = {}
    for options in alone:
        expected |= _calibrate(model, folder, *options).thresholds
    text = capsys.readouterr().out
    model.with_suffix(".yaml").write_text(model.with_suffix(".yaml").read_text().replace("inlier_q95", "former"))
    options = ("--by", "outlier_tpr95,inlier_q95", "--false-hazards-per-minute", "0,100000")
    result = folder / "r.json"
    card = _calibrate(model, folder, *options, "--default", "outlier_tpr95", "--json", str(result))
    names = ["outlier_tpr95", "inlier_q95", "false_hazards_0_per_minute", "false_hazards_100000_per_minute"]
    assert {name: card.thresholds[name] for name in names[:3]} == expected
    assert card.thresholds[names[3]] < card.thresholds[names[2]]
    assert card.thresholds["former"] == expected["inlier_q95"]
    assert [each["name"] for each in json.loads(result.read_text())["results"]] == names
    assert card.default_threshold == "outlier_tpr95"
    lines = [line.split(" = ")[0].split()[-1] for line in capsys.readouterr().out.splitlines() if " = " in line]
    assert lines == names
    assert text.count(" = ") == 3


def test_a_bad_frame_leaves_the_card_as_it_is(model: Path, folder: Path) -> None:
    card = model.with_suffix(".yaml").read_text()
    (folder / "image" / "1.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"1\.png: truncated"):
        _calibrate(model, folder)
    assert model.with_suffix(".yaml").read_text() == card
