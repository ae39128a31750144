# SPDX-License-Identifier: Apache-2.0
"""``densehybrid evaluate`` on small data sets with a network of random weights."""

from __future__ import annotations

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, jaccard_score, roc_auc_score, roc_curve
from small_frames import write_small_frames
from still_hazards import still_hazards

from densehybrid_ros import research
from densehybrid_ros.cli.main import main
from densehybrid_ros.datasets.taxonomy import STREET_HAZARDS
from densehybrid_ros.evaluation.dense_scores import ROAD_PRIOR
from densehybrid_ros.hazards.road import find_ground, road_hazard
from densehybrid_ros.inference import Segmenter
from densehybrid_ros.networks import DenseHybrid, ModelCard, build_network, load_model, save_model, upsample
from densehybrid_ros.scores import SCORES

HEIGHT, WIDTH = 64, 96
FRAMES = 5


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(path, DenseHybrid(build_network("light", 19)), ModelCard("tiny", "light"))
    return path


def _save(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture)


def _write_folder(root: Path) -> Path:
    """Five frames with one bright anomaly each."""
    rng = np.random.default_rng(1)
    for index in range(FRAMES):
        image = rng.integers(0, 100, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        label = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        label[20:40, 10 + index * 10 : 30 + index * 10] = 1
        image[label == 1] += 150
        label[:10] = 255
        _save(root / "image" / f"{index}.png", image)
        _save(root / "label" / f"{index}.png", label)
    return root


def _write_track(root: Path) -> Path:
    """The same frames in the layout of SegmentMeIfYouCan."""
    _write_folder(root)
    (root / "image").rename(root / "images")
    (root / "label").rename(root / "labels_masks")
    for path in (root / "labels_masks").iterdir():
        path.rename(path.with_name(f"{path.stem}_labels_semantic.png"))
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write_folder(tmp_path_factory.mktemp("folder"))


def _evaluate(dataset: str, root: Path, model: Path, *options: object) -> int:
    words = ["evaluate", "--dataset", dataset, "--root", root, "--model", model, "--device", "cpu", *options]
    return main([str(word) for word in words])


def _figures(path: Path) -> dict:
    """The JSON without what differs from run to run."""
    content = json.loads(path.read_text())
    del content["seconds"]
    return content


def _reference(root: Path, segmenter: Segmenter) -> dict[str, tuple[float, float, float]]:
    """AP, FPR95 and AUROC by scikit-learn: of the segmenter's results, and of other scores from the model itself."""
    network = load_model(segmenter.model.path).network.to(memory_format=torch.channels_last)  # another rounds otherwise
    labels, scores = [], {name: [] for name in (*SCORES, "road_hazard")}
    for index in range(FRAMES):
        image = cv2.imread(str(root / "image" / f"{index}.png"))[:, :, ::-1].copy()
        label = cv2.imread(str(root / "label" / f"{index}.png"), cv2.IMREAD_UNCHANGED)
        with torch.inference_mode():
            images = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
            output = network(images)
            heads = (upsample(output.logits, label.shape), upsample(output.posterior, label.shape))
            made = segmenter(image, 0.0)
            maps = {name: function(*heads)[0].numpy() for name, function in SCORES.items()}
            maps["hybrid"] = made.anomaly_score
            ground = find_ground(made.semantic, segmenter.card.classes)
            maps["road_hazard"] = road_hazard(made.anomaly_score, ground, ROAD_PRIOR)
            for name, score in maps.items():
                scores[name].append(score[label != 255])
        labels.append(label[label != 255])
    truth = np.concatenate(labels)
    found = {}
    for name, parts in scores.items():
        values = np.concatenate(parts)
        fpr, tpr, _ = roc_curve(truth, values, drop_intermediate=False)
        found[name] = (
            average_precision_score(truth, values),
            fpr[np.argmax(tpr >= 0.95)],
            roc_auc_score(truth, values),
        )
    return found


def test_figures_are_those_of_scikit_learn(folder: Path, model_path: Path, tmp_path: Path, capsys) -> None:
    research.register()
    names = ",".join((*SCORES, "road_hazard"))
    assert _evaluate("folder", folder, model_path, "--json", tmp_path / "r.json", "--scores", names) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    for name, expected in _reference(folder, Segmenter(load_model(model_path), device="cpu")).items():
        pixel = result["pixel"][name]
        got = (pixel["average_precision"], pixel["fpr95"], pixel["auroc"])
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)
    assert result["frames"] == FRAMES
    printed = capsys.readouterr().out
    assert "score" in printed
    assert f"{100 * result['pixel']['hybrid']['average_precision']:.2f}" in printed


@pytest.mark.parametrize(("options", "how"), [((), {}), (("--size", "64x32"), {"size": (32, 64)})])
def test_hybrid_figures_are_those_of_a_drive(
    options: tuple[str, ...], how: dict[str, tuple[int, int]], folder: Path, model_path: Path, tmp_path: Path
) -> None:
    assert _evaluate("folder", folder, model_path, "--scores", "hybrid", *options, "--json", tmp_path / "r.json") == 0
    segmenter = Segmenter(load_model(model_path), device="cpu", input_policy="resize" if how else "exact", **how)
    result = json.loads((tmp_path / "r.json").read_text())
    pixel = result["pixel"]["hybrid"]
    got = (pixel["average_precision"], pixel["fpr95"], pixel["auroc"])
    np.testing.assert_allclose(got, _reference(folder, segmenter)["hybrid"], rtol=0, atol=1e-9)
    assert result["device"] == f"{segmenter.backend} {segmenter.precision} on CPU"


def test_frames_of_several_sizes_are_measured_quietly(model_path: Path, tmp_path: Path, capsys, caplog) -> None:
    root = _write_folder(tmp_path)
    for part in ("image", "label"):
        path = str(root / part / "1.png")
        assert cv2.imwrite(path, cv2.imread(path, cv2.IMREAD_UNCHANGED)[:48, :80])
    assert _evaluate("folder", root, model_path, "--input-policy", "resize", "--size", "64x32") == 0
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    captured = capsys.readouterr()
    assert "size" not in captured.err
    assert f"tiny, {FRAMES} frames in" in captured.out
    assert "on eager fp32 on CPU" in captured.out


@pytest.mark.gpu
@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:0"])
def test_a_gpu_by_each_of_its_names(device: str, folder: Path, model_path: Path, tmp_path: Path) -> None:
    assert _evaluate("folder", folder, model_path, "--device", device, "--json", tmp_path / "r.json") == 0
    expected = _reference(folder, Segmenter(load_model(model_path), device="cuda"))["hybrid"][0]
    result = json.loads((tmp_path / "r.json").read_text())
    # Two segmenters may run other block sizes, which add up in another order.
    assert result["pixel"]["hybrid"]["average_precision"] == pytest.approx(expected, abs=1e-3)


def test_table_has_the_published_rows_and_csv_agrees(model_path: Path, tmp_path: Path, capsys) -> None:
    root = _write_track(tmp_path)
    options = ("--scores", "hybrid", "--csv", tmp_path / "r.csv", "--json", tmp_path / "r.json")
    assert _evaluate("smiyc_obstacle", root, model_path, *options) == 0
    printed = capsys.readouterr().out
    assert "DenseHybrid" in printed
    assert "87.10" in printed
    assert "published rows are on the track's test frames" in printed
    rows = list(csv.DictReader((tmp_path / "r.csv").open()))
    assert [row["score"] for row in rows[:3]] == ["hybrid", "hybrid, SMIYC bins", "DenseHybrid"]
    pixel = json.loads((tmp_path / "r.json").read_text())["pixel"]["hybrid"]
    assert float(rows[0]["AP"]) == pytest.approx(100 * pixel["average_precision"], abs=1e-5)
    assert float(rows[1]["AP"]) == pytest.approx(float(rows[0]["AP"]), abs=1.0)
    assert float(rows[2]["AP"]) == 87.1
    assert {"sIoU", "PPV", "F1*"} <= rows[0].keys()


def test_components_at_a_given_threshold(model_path: Path, tmp_path: Path, capsys) -> None:
    root = _write_track(tmp_path)
    found = {}
    for threshold in ("-1000", "1000"):
        options = ("--scores", "hybrid", "--threshold", threshold, "--json", tmp_path / "r.json")
        assert _evaluate("smiyc_obstacle", root, model_path, *options) == 0
        assert f"of hybrid at the threshold {float(threshold):.4f}" in capsys.readouterr().out
        found[threshold] = json.loads((tmp_path / "r.json").read_text())["components"]["hybrid"]["predicted"]
    assert found["-1000"] == FRAMES  # every pixel of a frame is one component
    assert found["1000"] == 0
    assert _evaluate("smiyc_obstacle", root, model_path, "--threshold", "best") == 2
    assert "no threshold 'best' in its card" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        _evaluate("smiyc_obstacle", root, model_path, "--threshold", "nan")
    assert "'nan' is no threshold" in capsys.readouterr().err


def test_figures_at_several_thresholds_of_any_set(tmp_path: Path, capsys) -> None:
    torch.manual_seed(0)
    model = tmp_path / "named.safetensors"
    card = ModelCard("named", "light", thresholds={"mine": 2.0}, default_threshold="mine")
    save_model(model, DenseHybrid(build_network("light", 19)), card)
    root = _write_folder(tmp_path / "data")
    options = ("--scores", "hybrid", "--json", tmp_path / "r.json", "--threshold")
    assert _evaluate("folder", root, model, *options, "-1000,default,mine,1e3") == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["thresholds"] == [-1000.0, 2.0, 2.0, 1000.0]
    first, *_, last = result["operating_points"]
    assert (first["recall"], first["fpr"], last["recall"], last["fpr"]) == (1, 1, 0, 0)
    assert last["precision"] is None
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines() if line.startswith(("-1000", "1000.000"))]
    for name in ("image", "label"):
        (root / name).rename(tmp_path / name)
        (tmp_path / "val").mkdir(exist_ok=True)
        (tmp_path / name).rename(tmp_path / "val" / name)
    assert _evaluate("cityscapes_640", tmp_path, model, *options, "1000", "--report", tmp_path / "report") == 0
    (point,) = json.loads((tmp_path / "r.json").read_text())["operating_points"]
    assert (point["fpr"], point["recall"]) == (0, None)
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Confusion" in page
    assert "Most pixels of a wrong class" in page


def test_hazards_of_single_frames_are_those_of_the_node_s_stage(tmp_path: Path, capsys) -> None:
    torch.manual_seed(0)
    model, root = tmp_path / "named.safetensors", _write_folder(tmp_path / "data")
    network = DenseHybrid(build_network("light", 19))
    save_model(model, network, ModelCard("named", "light"))
    segmenter = Segmenter(load_model(model), device="cpu")
    images = [cv2.imread(str(path))[:, :, ::-1] for path in sorted((root / "image").iterdir())]
    middle = float(np.median([segmenter(image, 0.0).anomaly_score for image in images]))
    card = ModelCard("named", "light", thresholds={"mine": middle}, default_threshold="mine")
    save_model(model, network, card)
    options = ("--scores", "hybrid", "--hazards", "--min-area", "100")
    outputs = ("--json", tmp_path / "r.json", "--report", tmp_path / "report")
    assert _evaluate("folder", root, model, *options, *outputs, "--threshold", "1e3") == 0
    froc = json.loads((tmp_path / "r.json").read_text())["froc"]
    assert (froc["frames"], froc["obstacles"], froc["groups"]["200 to 499 px"]) == (FRAMES, FRAMES, FRAMES)
    assert froc["at"]["1000.0"]["recall"] == 0
    found, false, ignored = still_hazards(root, segmenter, middle)
    default = froc["at"]["default"]
    assert default["threshold"] == middle
    assert (default["recall"], default["false_hazards_per_frame"]) == (found / FRAMES, false / FRAMES)
    assert default["on_ignored_per_frame"] == ignored / FRAMES
    assert "at most 0.3 false" in capsys.readouterr().out
    assert "(FROC)" in (tmp_path / "report" / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--hazards", "--scores", "posterior"), "--hazards: is for the hybrid score; add it to --scores"),
        (("--ego-mask", "own.png"), "--ego-mask: is for --hazards; add it"),
        (("--hazards", "--ego-mask", "own.png"), "--ego-mask own.png: "),
    ],
)
def test_wrong_options_of_hazards_are_one_line(
    options: tuple[str, ...], message: str, folder: Path, model_path: Path, capsys
) -> None:
    assert _evaluate("folder", folder, model_path, *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_hazards_need_labelled_anomalies(model_path: Path, tmp_path: Path, capsys) -> None:
    root = write_small_frames(tmp_path)
    assert _evaluate("cityscapes_640", root, model_path, "--hazards") == 2
    assert "--hazards: needs anomalous and inlier pixels, but no pixel is an anomaly" in capsys.readouterr().err
    shutil.rmtree(root / "val" / "label")
    assert _evaluate("cityscapes_640", root, model_path, "--hazards") == 2
    assert f"{root / 'val' / 'label'}: no such folder" in capsys.readouterr().err


def test_several_models_by_one_command(folder: Path, model_path: Path, tmp_path: Path, capsys) -> None:
    torch.manual_seed(1)
    other = tmp_path / "second.safetensors"
    save_model(other, DenseHybrid(build_network("light", 19)), ModelCard("second", "light"))
    options = ("--scores", "hybrid", "--limit", "2", "--json", tmp_path / "r.json")
    assert _evaluate("folder", folder, f"{model_path},{other}", *options) == 0
    assert [item["model"] for item in json.loads((tmp_path / "r.json").read_text())["results"]] == ["tiny", "second"]
    assert _evaluate("folder", folder, model_path, "--model", other, *options) == 0
    assert [item["model"] for item in json.loads((tmp_path / "r.json").read_text())["results"]] == ["tiny", "second"]
    assert "folder: second, 2 frames" in capsys.readouterr().out


def test_several_data_sets_by_one_command(model_path: Path, tmp_path: Path, capsys) -> None:
    names = ["road_anomaly21_val", "road_obstacle21_val"]
    for name in names:
        _write_folder(tmp_path / name)
    options = ("--scores", "hybrid,posterior", "--csv", tmp_path / "r.csv", "--json", tmp_path / "r.json")
    assert _evaluate(",".join(names), tmp_path, model_path, *options) == 0
    results = json.loads((tmp_path / "r.json").read_text())["results"]
    assert [(result["dataset"], list(result["pixel"])) for result in results] == [
        (name, ["hybrid", "posterior"]) for name in names
    ]
    printed = capsys.readouterr().out
    assert all(f"{name}: tiny, {FRAMES} frames" in printed for name in names)
    tables = [list(csv.DictReader(part.splitlines())) for part in (tmp_path / "r.csv").read_text().split("\n\n")]
    assert [table[0]["dataset"] for table in tables] == names
    assert _evaluate("road_anomaly21_val,folder", tmp_path, model_path) == 2
    assert f"{tmp_path / 'folder'}: no such folder" in capsys.readouterr().err


def test_the_card_keeps_figures_by_set_and_score(model_path: Path, tmp_path: Path, capsys) -> None:
    model = tmp_path / "tiny.safetensors"
    save_model(model, load_model(model_path).network, ModelCard("tiny", "light", thresholds={"mine": 2.0}))
    for name in ("road_anomaly21_val", "road_obstacle21_val"):
        _write_folder(tmp_path / name)
        options = ("--scores", "hybrid,posterior", "--card", "--json", tmp_path / "r.json")
        assert _evaluate(name, tmp_path / name, model, *options) == 0
        assert f"tiny.yaml: figures of {name}" in capsys.readouterr().out
    card = load_model(model).card
    assert card.thresholds == {"mine": 2.0}
    assert list(card.details["figures"]) == ["road_anomaly21_val", "road_obstacle21_val"]
    entry = card.details["figures"]["road_obstacle21_val"]
    assert entry["command"].startswith("densehybrid evaluate --model tiny --dataset road_obstacle21_val")
    measured = json.loads((tmp_path / "r.json").read_text())["pixel"]["posterior"]
    assert entry["posterior"] == {
        "ap": round(100 * measured["average_precision"], 2),
        "fpr95": round(100 * measured["fpr95"], 2),
        "auroc": round(100 * measured["auroc"], 2),
    }


def test_closed_set(model_path: Path, tmp_path: Path, capsys) -> None:
    rng = np.random.default_rng(0)
    for index in range(2):
        _save(tmp_path / "val" / "image" / f"ulm_{index}.png", rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
        _save(tmp_path / "val" / "label" / f"ulm_{index}.png", rng.integers(0, 19, (64, 64), dtype=np.uint8))
    assert _evaluate("cityscapes_640", tmp_path, model_path, "--json", tmp_path / "r.json") == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert 0 <= result["mean_iou"] < 0.2
    assert len(result["class_iou"]) == 19
    segmenter = Segmenter(load_model(model_path), device="cpu")
    seen, labels = [], []
    for index in range(2):
        seen.append(segmenter(cv2.imread(str(tmp_path / f"val/image/ulm_{index}.png"))[:, :, ::-1], 0.0).semantic)
        labels.append(cv2.imread(str(tmp_path / f"val/label/ulm_{index}.png"), cv2.IMREAD_UNCHANGED))
    ious = jaccard_score(np.ravel(labels), np.ravel(seen), labels=range(19), average=None)
    assert result["mean_iou"] == pytest.approx(ious.mean(), abs=1e-12)
    assert result["pixel"] == {}
    assert "motorcycle" in capsys.readouterr().out


def test_street_hazards_calibrates_on_the_other_town(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = tmp_path / "towns.safetensors"
    save_model(model, DenseHybrid(build_network("light", 12)), ModelCard("towns", "light", STREET_HAZARDS))
    rng = np.random.default_rng(0)
    for town, count in (("t5", 1), ("t6", 2)):
        for index in range(count):
            folder = Path("test") / town / f"{index}.png"
            _save(tmp_path / "test" / "images" / folder, rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
            _save(tmp_path / "test" / "annotations" / folder, rng.integers(1, 15, (64, 64), dtype=np.uint8))
    assert _evaluate("street_hazards", tmp_path, model, "--scores", "hybrid", "--json", tmp_path / "r.json") == 0
    opened = json.loads((tmp_path / "r.json").read_text())["open_set"]["hybrid"]
    assert opened["frames"] == 3
    # Thresholds at 95 % TPR of random scores call nearly everything unknown.
    assert opened["open_mean_iou"] < opened["closed_mean_iou"]
    assert opened["gap"] == pytest.approx(opened["closed_mean_iou"] - opened["open_mean_iou"])


def test_bad_frames_are_left_out_and_counted(model_path: Path, tmp_path: Path, capsys) -> None:
    root = _write_folder(tmp_path)
    (root / "image" / "1.png").write_bytes(b"no picture")
    _save(root / "label" / "2.png", np.full((HEIGHT, WIDTH), 255, np.uint8))
    label = cv2.imread(str(root / "label" / "3.png"), cv2.IMREAD_UNCHANGED)
    label[0, 0] = 9
    _save(root / "label" / "3.png", label)
    assert _evaluate("folder", root, model_path, "--scores", "hybrid", "--json", tmp_path / "r.json") == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert (result["frames"], result["unlabelled"], len(result["left_out"])) == (2, 1, 2)
    captured = capsys.readouterr()
    assert "skipped: 1 frames without a labelled pixel" in captured.out
    assert "image/1.png: truncated or not a picture" in captured.err
    assert "label/3.png: label value 9" in captured.err


def test_nothing_left_to_evaluate_is_an_error(model_path: Path, tmp_path: Path, capsys) -> None:
    root = _write_folder(tmp_path)
    for path in (root / "label").iterdir():
        _save(path, np.full((HEIGHT, WIDTH), 255, np.uint8))
    assert _evaluate("folder", root, model_path) == 2
    assert "none of 5 frames has a labelled pixel" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "kind"), [((0, 255), "an anomaly"), ((0, 0), "an anomaly"), ((255, 1), "an inlier")]
)
def test_a_set_without_anomalies_or_inliers_is_an_error(
    model_path: Path, tmp_path: Path, capsys, values: tuple[int, int], kind: str
) -> None:
    root = _write_folder(tmp_path)
    for path in (root / "label").iterdir():
        label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        _save(path, np.where(label == 1, values[1], values[0]).astype(np.uint8))
    assert _evaluate("folder", root, model_path, "--scores", "hybrid") == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "densehybrid evaluate: " in line]
    assert f"{root / 'label'}: in 5 frames no pixel is {kind}; the labels hold {min(values)} (" in line
    assert line.endswith("save inliers as 0 and anomalies as 1; 255 means ignore")


def test_network_that_yields_nan_is_named(folder: Path, tmp_path: Path, capsys) -> None:
    network = DenseHybrid(build_network("light", 19))
    with torch.no_grad():
        for weights in network.posterior_head.parameters():
            weights.fill_(3e38)  # finite, as a file of weights is, until they are multiplied
    save_model(tmp_path / "nan.safetensors", network, ModelCard("nan", "light"), half=False)
    assert _evaluate("folder", folder, tmp_path / "nan.safetensors") == 2
    assert "the score of this frame is not finite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scores", "magic"], "--scores magic: unknown"),
        (["--scores", ","], "--scores ,: names none"),
        (["--bins", "9,3"], "--bins 9,3"),
        (["--device", "toaster"], "device 'toaster'"),
        (["--precision", "fp16"], "precision fp16: CPUs have no fp16 convolutions"),
        (["--input-policy", "crop"], "input_policy 'crop': unknown"),
        (["--input-policy", "exact", "--size", "64x32"], "--size: --input-policy exact leaves images their size"),
    ],
)
def test_wrong_usage_is_one_line(folder: Path, model_path: Path, options: list[str], message: str, capsys) -> None:
    assert _evaluate("folder", folder, model_path, *options) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert message in error[0]


@pytest.mark.parametrize("options", [["--size", "12"], ["--limit", "0"], ["--backend", "onnx"], ["--precision", "fp8"]])
def test_malformed_options_exit_with_2(folder: Path, model_path: Path, options: list[str], capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        _evaluate("folder", folder, model_path, *options)
    assert options[0] in capsys.readouterr().err


def test_another_input_size_still_scores_every_label_pixel(folder: Path, model_path: Path, tmp_path: Path) -> None:
    options = ("--scores", "hybrid", "--size", "64x32", "--limit", "2", "--json", tmp_path / "r.json")
    assert _evaluate("folder", folder, model_path, *options) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["size"] == "64x32"
    assert result["pixel"]["hybrid"]["positives"] == 2 * 20 * 20
    assert result["pixel"]["hybrid"]["negatives"] == 2 * (54 * 96 - 20 * 20)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_two_processes_give_the_figures_of_one(model_path: Path, tmp_path: Path) -> None:
    root = _write_folder(tmp_path / "data")
    options = ["--dataset", "road_obstacle21_val", "--root", root, "--model", model_path, "--device", "cpu"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in each of the two: convolutions add up in another order with more
    try:
        assert main(["evaluate", *map(str, options), "--json", str(tmp_path / "one.json")]) == 0
    finally:
        torch.set_num_threads(threads)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(_free_port()), "-m", "densehybrid_ros", "evaluate"]
    command += [*map(str, options), "--json", str(tmp_path / "two.json")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, timeout=240, env=environment, capture_output=True)
    assert _figures(tmp_path / "two.json") == _figures(tmp_path / "one.json")


def test_a_card_takes_no_figure_of_a_set_without_outliers(folder: Path, tmp_path: Path, capsys) -> None:
    path = tmp_path / "light.safetensors"
    save_model(path, DenseHybrid(build_network("light", 19)), ModelCard("light", "light"))
    before = path.with_suffix(".yaml").read_text()
    for label in (folder / "label").iterdir():
        cv2.imwrite(str(label), np.zeros_like(cv2.imread(str(label), cv2.IMREAD_UNCHANGED)))
    assert _evaluate("folder", folder, path, "--scores", "hybrid", "--card") == 2
    assert "in 5 frames no pixel is an anomaly" in capsys.readouterr().err
    assert path.with_suffix(".yaml").read_text() == before
