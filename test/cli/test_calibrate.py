# SPDX-License-Identifier: Apache-2.0
"""``densehybrid calibrate`` writes named thresholds into a card."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from still_hazards import still_hazards

from densehybrid_ros.cli import calibrate
from densehybrid_ros.cli.commands import OneLineParser
from densehybrid_ros.errors import InputError
from densehybrid_ros.inference import Segmenter
from densehybrid_ros.networks import DenseHybrid, ModelCard, build_network, load_model, read_card, save_model, upsample
from densehybrid_ros.scores import hybrid


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_model(tmp_path / "tiny.safetensors", DenseHybrid(build_network("light", 19)), ModelCard("tiny", "light"))
    return tmp_path / "tiny.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for role in ("image", "label"):
        (tmp_path / "data" / role).mkdir(parents=True)
    for index in range(3):
        label = (rng.random((64, 64)) < 0.1).astype(np.uint8)
        assert cv2.imwrite(str(tmp_path / "data" / "label" / f"{index}.png"), label)
        image = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        assert cv2.imwrite(str(tmp_path / "data" / "image" / f"{index}.png"), image)
    return tmp_path / "data"


def _calibrate(model: Path, folder: Path, *options: str) -> int:
    parser = OneLineParser(prog="densehybrid calibrate")
    calibrate.configure(parser)
    words = ["--model", str(model), "--dataset", "folder", "--root", str(folder), "--device", "cpu", *options]
    return calibrate.run(parser.parse_args(words))


def _scores(model: Path, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    network, scores, labels = load_model(model).network, [], []
    for index in range(3):
        image = cv2.imread(str(folder / "image" / f"{index}.png"))[:, :, ::-1].copy()
        with torch.inference_mode():
            output = network(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
            score = hybrid(upsample(output.logits, (64, 64)), upsample(output.posterior, (64, 64)))
        scores.append(score.numpy().ravel())
        labels.append(cv2.imread(str(folder / "label" / f"{index}.png"), cv2.IMREAD_UNCHANGED).ravel())
    return np.concatenate(scores), np.concatenate(labels)


def test_inlier_quantile_is_the_default_and_becomes_the_node_s(model_path: Path, folder: Path, capsys) -> None:
    assert _calibrate(model_path, folder) == 0
    card = read_card(model_path.with_suffix(".yaml"))
    scores, labels = _scores(model_path, folder)
    assert (scores[labels == 0] > card.thresholds["inlier_q95"]).mean() == pytest.approx(0.05, abs=2e-3)
    assert card.default_threshold == "inlier_q95"
    assert card.details["calibration"]["inlier_q95"]["frames"] == 3
    assert "the node's default" in capsys.readouterr().out


def test_the_card_says_how_the_model_ran(model_path: Path, folder: Path) -> None:
    _calibrate(model_path, folder, "--backend", "eager", "--size", "96x32")
    card = read_card(model_path.with_suffix(".yaml"))
    entry = card.details["calibration"]["inlier_q95"]
    assert (entry["backend"], entry["size"]) == ("eager fp32", "96x32")
    segmenter = Segmenter(load_model(model_path), "eager", "cpu", size=(32, 96), input_policy="resize")
    above, inliers = 0, 0
    for index in range(3):
        score = segmenter(cv2.imread(str(folder / "image" / f"{index}.png"))[:, :, ::-1], 0.0).anomaly_score
        inlier = cv2.imread(str(folder / "label" / f"{index}.png"), cv2.IMREAD_UNCHANGED) == 0
        above += int((score[inlier] > card.thresholds["inlier_q95"]).sum())
        inliers += int(inlier.sum())
    assert above / inliers == pytest.approx(0.05, abs=1e-3)  # equal scores may stand at the quantile


def test_outlier_tpr_is_added_beside_it(model_path: Path, folder: Path) -> None:
    _calibrate(model_path, folder)
    _calibrate(model_path, folder, "--by", "outlier_tpr95")
    card = read_card(model_path.with_suffix(".yaml"))
    scores, labels = _scores(model_path, folder)
    assert (scores[labels == 1] > card.thresholds["outlier_tpr95"]).mean() == pytest.approx(0.95, abs=1e-2)
    assert card.default_threshold == "inlier_q95"
    assert set(card.thresholds) == {"inlier_q95", "outlier_tpr95"}


def test_probability_stands_in_the_card_and_leaves_the_thresholds(model_path: Path, folder: Path, capsys) -> None:
    _calibrate(model_path, folder)
    before = read_card(model_path.with_suffix(".yaml"))
    scores, _ = _scores(model_path, folder)
    for index, score in enumerate(np.split(scores, 3)):  # anomalies are where the score is highest, with some noise
        noise = np.random.default_rng(index).normal(0.0, scores.std(), score.shape)
        label = (score + noise > np.quantile(scores, 0.9)).astype(np.uint8).reshape(64, 64)
        assert cv2.imwrite(str(folder / "label" / f"{index}.png"), label)
    assert _calibrate(model_path, folder, "--by", "probability") == 0
    card = read_card(model_path.with_suffix(".yaml"))
    assert card.thresholds == before.thresholds
    labels = _scores(model_path, folder)[1]
    expected = card.confidence.probability(scores.astype(np.float64))
    assert expected.mean() == pytest.approx(labels.mean(), rel=0.02)  # maximum likelihood keeps the share
    assert card.details["calibration"]["probability"]["prior"] == pytest.approx(labels.mean(), abs=1e-6)
    assert "P(anomaly) is 1/2 at" in capsys.readouterr().out


def test_regions_are_classified_and_stand_in_the_card(model_path: Path, folder: Path, capsys) -> None:
    random, images = np.random.default_rng(0), []
    for index in range(6):
        image = random.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        assert cv2.imwrite(str(folder / "image" / f"{index}.png"), image)
        images.append(image[:, :, ::-1])
    segmenter = Segmenter(load_model(model_path), "eager", "cpu")
    for index, image in enumerate(images):  # anomalies are the highest scores of the left half
        score = segmenter(image, 0.0).anomaly_score
        label = (score > np.quantile(score, 0.95)) & (np.arange(64) < 32)
        assert cv2.imwrite(str(folder / "label" / f"{index}.png"), label.astype(np.uint8))
    assert _calibrate(model_path, folder, "--by", "regions", "--min-area", "4") == 0
    card = read_card(model_path.with_suffix(".yaml"))
    assert card.region_classifier is not None
    assert card.default_threshold == "regions"
    assert card.details["calibration"]["regions"]["frames"] == 6
    assert "false ones a frame, by the mean score" in capsys.readouterr().out


def test_false_hazards_a_minute_are_those_of_the_node_s_stage(model_path: Path, folder: Path, capsys) -> None:
    for index in range(3):  # smooth pictures have regions; a square is the obstacle
        path, label = str(folder / "image" / f"{index}.png"), np.zeros((64, 64), np.uint8)
        label[40:52, 10 * index : 10 * index + 12] = 1
        image = cv2.GaussianBlur(cv2.imread(path), (0, 0), 4).astype(np.float32)
        image = 128 + 6 * (image - image.mean()) + 60 * label[:, :, None]
        assert cv2.imwrite(path, image.clip(0, 255).astype(np.uint8))
        assert cv2.imwrite(str(folder / "label" / f"{index}.png"), label)
    segmenter = Segmenter(load_model(model_path), "eager", "cpu")
    options = ("--backend", "eager", "--hertz", "0.05", "--default", "--json", str(folder / "r.json"))
    found = {}
    for rate in (0, 3):  # of 3 frames in a minute
        assert _calibrate(model_path, folder, "--false-hazards-per-minute", str(rate), *options) == 0
        card = read_card(model_path.with_suffix(".yaml"))
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


def test_usage_is_named(model_path: Path, folder: Path) -> None:
    with pytest.raises(InputError, match="--ego-mask: is for --false-hazards-per-minute"):
        _calibrate(model_path, folder, "--ego-mask", "own.png")
    card = model_path.with_suffix(".yaml").read_text()
    for number in ("-1", "nan", "inf"):
        with pytest.raises(SystemExit, match="2"):
            _calibrate(model_path, folder, "--false-hazards-per-minute", number)
    assert model_path.with_suffix(".yaml").read_text() == card


def test_a_bad_frame_stops_it(model_path: Path, folder: Path) -> None:
    (folder / "image" / "1.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"1\.png: truncated"):
        _calibrate(model_path, folder)
    assert read_card(model_path.with_suffix(".yaml")).thresholds == {}
