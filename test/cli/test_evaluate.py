# SPDX-License-Identifier: Apache-2.0
"""``densehybrid evaluate`` on small data sets with a network of random weights."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from own_frames import write_own_frames
from sklearn.metrics import average_precision_score, jaccard_score, roc_auc_score, roc_curve
from small_frames import write_small_frames
from still_hazards import still_hazards

from densehybrid_ros import research
from densehybrid_ros.cli.main import main
from densehybrid_ros.datasets.pictures import write_picture
from densehybrid_ros.datasets.taxonomy import STREET_HAZARDS
from densehybrid_ros.evaluation.dense_scores import ROAD_PRIOR
from densehybrid_ros.hazards.road import find_ground, road_hazard
from densehybrid_ros.inference import INPUT_POLICIES, Segmenter
from densehybrid_ros.networks import DenseHybrid, ModelCard, build_network, load_model, save_model, upsample
from densehybrid_ros.scores import SCORES

HEIGHT, WIDTH = 64, 96
FRAMES = 5


def _write_folder(root: Path, images: str = "image/{}.png", labels: str = "label/{}.png") -> Path:
    """Five frames with one bright anomaly each."""
    rng = np.random.default_rng(1)
    for index in range(FRAMES):
        image = rng.integers(0, 100, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        label = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        label[20:40, 10 + index * 10 : 30 + index * 10] = 1
        image[label == 1] += 150
        label[:10] = 255
        write_picture(root / images.format(index), image)
        write_picture(root / labels.format(index), label)
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write_folder(tmp_path_factory.mktemp("folder"))


def _evaluate(dataset: str, root: Path, model: Path | str, *options: object) -> int:
    words = ["evaluate", "--dataset", dataset, "--root", root, "--model", model, "--device", "cpu", *options]
    return main([str(word) for word in words])


def _figures(place: Path, *arguments: object) -> dict[str, Any]:
    """The figures of ``_evaluate`` with these arguments; they stay in ``place``."""
    assert _evaluate(*arguments, "--json", place / "r.json") == 0  # type: ignore[arg-type]
    found: dict[str, Any] = json.loads((place / "r.json").read_text())
    return found


def _named(path: Path, model: Path, threshold: float) -> Path:
    """A copy of the model with a threshold in its card, the default."""
    card = ModelCard(path.stem, "light", thresholds={"mine": threshold}, default_threshold="mine")
    save_model(path, load_model(model).network, card, half=False)
    return path


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
        average_precision, auroc = average_precision_score(truth, values), roc_auc_score(truth, values)
        found[name] = average_precision, fpr[np.argmax(tpr >= 0.95)], auroc
    return found


@pytest.mark.parametrize(("options", "how"), [((), {}), (("--size", "64x32"), {"size": (32, 64)})])
def test_figures_are_those_of_scikit_learn_on_what_a_drive_has(
    options: tuple[str, ...], how: dict[str, tuple[int, int]], folder: Path, model_path: Path, tmp_path: Path, capsys
) -> None:
    research.register()
    names = "hybrid" if how else ",".join((*SCORES, "road_hazard"))
    result = _figures(tmp_path, "folder", folder, model_path, "--scores", names, *options)
    segmenter = Segmenter(load_model(model_path), device="cpu", input_policy="resize" if how else "exact", **how)
    expected = _reference(folder, segmenter)
    for name in names.split(","):
        pixel = result["pixel"][name]
        got = (pixel["average_precision"], pixel["fpr95"], pixel["auroc"])
        np.testing.assert_allclose(got, expected[name], rtol=0, atol=1e-9)
        assert (pixel["positives"], pixel["negatives"]) == (FRAMES * 20 * 20, FRAMES * (54 * 96 - 20 * 20))
    assert (result["frames"], result["size"]) == (FRAMES, "64x32" if how else None)
    assert result["device"] == f"{segmenter.backend} {segmenter.precision} on CPU"
    assert f"{100 * result['pixel']['hybrid']['average_precision']:.2f}" in capsys.readouterr().out


@pytest.mark.gpu
@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:0"])
def test_a_gpu_by_each_of_its_names(device: str, folder: Path, model_path: Path, tmp_path: Path) -> None:
    result = _figures(tmp_path, "folder", folder, model_path, "--device", device)
    expected = _reference(folder, Segmenter(load_model(model_path), device="cuda"))["hybrid"][0]
    # Two segmenters may run other block sizes, which add up in another order.
    assert result["pixel"]["hybrid"]["average_precision"] == pytest.approx(expected, abs=1e-3)


def test_table_has_the_published_rows_and_components_at_a_given_threshold(
    model_path: Path, tmp_path: Path, capsys
) -> None:
    root = _write_folder(tmp_path, "images/{}.png", "labels_masks/{}_labels_semantic.png")
    options = ("--scores", "hybrid", "--csv", tmp_path / "r.csv", "--threshold", "1000,-1000")
    result = _figures(tmp_path, "smiyc_obstacle", root, model_path, *options)
    printed = capsys.readouterr().out
    for text in ("DenseHybrid", "87.10", "published rows are on the track's test frames", "at the threshold 1000.0000"):
        assert text in printed
    rows = list(csv.DictReader((tmp_path / "r.csv").open()))
    assert [row["score"] for row in rows[:2]] == ["hybrid", "Image Resyn."]
    assert float(rows[1]["AP"]) == 37.7
    assert {"sIoU", "PPV", "F1*"} <= rows[0].keys()
    assert float(rows[0]["AP"]) == pytest.approx(100 * result["pixel"]["hybrid"]["average_precision"], abs=1e-5)
    assert result["components"]["hybrid"]["predicted"] == 0
    assert result["operating_points"][1]["components"]["predicted"] == FRAMES  # all pixels of a frame are one


def test_figures_at_several_thresholds_of_any_set(model_path: Path, tmp_path: Path, capsys) -> None:
    model = _named(tmp_path / "named.safetensors", model_path, 2.0)
    root = _write_folder(tmp_path, "val/image/{}.png", "val/label/{}.png")
    options = ("--scores", "hybrid", "--threshold")
    result = _figures(tmp_path, "folder", root / "val", model, *options, "-1000,default,mine,1e3")
    assert result["thresholds"] == [-1000.0, 2.0, 2.0, 1000.0]
    first, *_, last = result["operating_points"]
    assert (first["recall"], first["fpr"], last["recall"], last["fpr"]) == (1, 1, 0, 0)
    assert last["precision"] is None
    assert "\n-1000.000 " in capsys.readouterr().out
    result = _figures(tmp_path, "cityscapes_640", root, model, *options, "1000", "--report", tmp_path / "report")
    (point,) = result["operating_points"]
    assert (point["fpr"], point["recall"]) == (0, None)
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Confusion" in page
    assert "Most pixels of a wrong class" in page


def test_hazards_of_single_frames(folder: Path, model_path: Path, tmp_path: Path, capsys) -> None:
    model = _named(tmp_path / "named.safetensors", model_path, 2.0)
    options = ("--scores", "hybrid", "--hazards", "--min-area", "100", "--threshold", "1e3")
    froc = _figures(tmp_path, "folder", folder, model, *options, "--report", tmp_path / "report")["froc"]
    assert (froc["frames"], froc["obstacles"], froc["groups"]["200 to 499 px"]) == (FRAMES, FRAMES, FRAMES)
    assert froc["at"]["1000.0"]["recall"] == 0
    found, false, ignored = still_hazards(folder, Segmenter(load_model(model), device="cpu"), 2.0)
    default = froc["at"]["default"]
    rates = (default["recall"], default["false_hazards_per_frame"], default["on_ignored_per_frame"])
    assert rates == (found / FRAMES, false / FRAMES, ignored / FRAMES)
    assert "at most 0.3 false" in capsys.readouterr().out
    assert "(FROC)" in (tmp_path / "report" / "report.html").read_text()


def test_hazards_need_labelled_anomalies(model_path: Path, tmp_path: Path, capsys) -> None:
    root = write_small_frames(tmp_path)
    assert _evaluate("cityscapes_640", root, model_path, "--hazards") == 2
    assert "--hazards: needs anomalous and inlier pixels, but no pixel is an anomaly" in capsys.readouterr().err
    shutil.rmtree(root / "val" / "label")
    assert _evaluate("cityscapes_640", root, model_path, "--hazards") == 2
    assert f"{root / 'val' / 'label'}: no such folder" in capsys.readouterr().err


def test_several_models_and_data_sets_by_one_command(model_path: Path, tmp_path: Path, capsys) -> None:
    names = ["road_anomaly21_val", "road_obstacle21_val"]
    for name in names:
        _write_folder(tmp_path / name)
    first, second = (_named(tmp_path / f"{name}.safetensors", model_path, 2.0) for name in ("first", "second"))
    options = ("--scores", "hybrid,posterior", "--csv", tmp_path / "r.csv", "--card")
    results = _figures(tmp_path, ",".join(names), tmp_path, f"{first},{second}", *options)["results"]
    assert [(result["model"], result["dataset"]) for result in results] == [
        (model, name) for model in ("first", "second") for name in names
    ]
    printed = capsys.readouterr().out
    assert all(f"{name}: second, {FRAMES} frames" in printed for name in names)
    assert f"first.yaml: figures of {', '.join(names)}" in printed
    tables = [list(csv.DictReader(part.splitlines())) for part in (tmp_path / "r.csv").read_text().split("\n\n")]
    assert [table[0]["dataset"] for table in tables] == 2 * names
    assert _evaluate("folder", tmp_path / names[0], first, "--model", second, *options, "--limit", "2") == 0
    card = load_model(first).card
    assert card.thresholds == {"mine": 2.0}
    assert list(card.details["figures"]) == [*names, "folder"]
    entry = card.details["figures"]["road_obstacle21_val"]
    assert entry["command"].startswith("densehybrid evaluate --model first --dataset road_obstacle21_val")
    measured = results[1]["pixel"]["posterior"]
    figures = {"ap": "average_precision", "fpr95": "fpr95", "auroc": "auroc"}
    assert entry["posterior"] == {name: round(100 * measured[key], 2) for name, key in figures.items()}
    assert _evaluate("road_anomaly21_val,folder", tmp_path, model_path) == 2
    assert f"{tmp_path / 'folder'}: no such folder" in capsys.readouterr().err


def test_models_of_one_name_are_told_apart_by_their_files(folder: Path, model_path: Path, tmp_path: Path) -> None:
    for seed in ("one", "two"):
        (tmp_path / seed).mkdir()
    runs = [str(_named(tmp_path / seed / "run.safetensors", model_path, 2.0)) for seed in ("one", "two")]
    results = _figures(tmp_path, "folder", folder, ",".join(runs), "--scores", "hybrid")["results"]
    assert [result["model"] for result in results] == runs


def test_closed_set(model_path: Path, tmp_path: Path, capsys) -> None:
    root = write_small_frames(tmp_path)
    result = _figures(tmp_path, "cityscapes_640", root, model_path, "--scores", "hybrid")
    assert len(result["class_iou"]) == 19
    segmenter = Segmenter(load_model(model_path), device="cpu")
    images = [cv2.imread(str(path))[:, :, ::-1] for path in sorted((root / "val" / "image").iterdir())]
    seen = [segmenter(image, 0.0).semantic for image in images]
    labels = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted((root / "val" / "label").iterdir())]
    ious = jaccard_score(np.ravel(labels), np.ravel(seen), labels=np.union1d(labels, seen), average=None)
    assert result["mean_iou"] == pytest.approx(ious.mean(), abs=1e-12)
    assert result["pixel"] == {}
    assert "motorcycle" in capsys.readouterr().out


def test_of_own_frames_shared_classes_have_iou_and_unknown_numbers_ap(model_path: Path, tmp_path: Path, capsys) -> None:
    root = write_own_frames(tmp_path, count=2)
    found = _figures(tmp_path, "folder", root, model_path, "--scores", "hybrid")
    assert sorted(found["class_iou"]) == ["sky", "vegetation"]
    assert found["mean_iou"] == pytest.approx(np.mean(list(found["class_iou"].values())))
    assert found["frames"] == 2
    assert found["pixel"]["hybrid"]["average_precision"] > 0
    (root / "classes.yaml").write_text("classes: [{id: [0, 1, 2, 3, 9], name: water}]\n")
    assert _evaluate("folder", root, model_path) == 2
    assert "classes.yaml: the model knows none of its classes; it has road, " in capsys.readouterr().err


def test_street_hazards_calibrates_on_the_other_town(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = tmp_path / "towns.safetensors"
    save_model(model, DenseHybrid(build_network("light", 12)), ModelCard("towns", "light", STREET_HAZARDS))
    rng = np.random.default_rng(0)
    for town, count in (("t5", 1), ("t6", 2)):
        for index in range(count):
            folder = Path("test") / town / f"{index}.png"
            write_picture(tmp_path / "test" / "images" / folder, rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
            write_picture(tmp_path / "test" / "annotations" / folder, rng.integers(1, 15, (64, 64), dtype=np.uint8))
    opened = _figures(tmp_path, "street_hazards", tmp_path, model, "--scores", "hybrid")["open_set"]["hybrid"]
    assert opened["frames"] == 3
    # Thresholds at 95 % TPR of random scores call nearly everything unknown.
    assert opened["open_mean_iou"] < opened["closed_mean_iou"]
    assert opened["gap"] == pytest.approx(opened["closed_mean_iou"] - opened["open_mean_iou"])


def test_bad_frames_are_left_out_and_counted_and_sizes_may_differ_quietly(
    model_path: Path, tmp_path: Path, capsys, caplog
) -> None:
    root = _write_folder(tmp_path)
    for part in ("image", "label"):
        path = root / part / "0.png"
        write_picture(path, cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:48, :80])
    (root / "image" / "1.png").write_bytes(b"no picture")
    write_picture(root / "label" / "2.png", np.full((HEIGHT, WIDTH), 255, np.uint8))
    label = cv2.imread(str(root / "label" / "3.png"), cv2.IMREAD_UNCHANGED)
    label[0, 0] = 9
    write_picture(root / "label" / "3.png", label)
    options = ("--scores", "hybrid", "--input-policy", "resize", "--size", "64x32")
    result = _figures(tmp_path, "folder", root, model_path, *options)
    assert (result["frames"], result["unlabelled"], len(result["left_out"])) == (2, 1, 2)
    captured = capsys.readouterr()
    assert "skipped: 1 frames without a labelled pixel" in captured.out
    assert "image/1.png: truncated or not a picture" in captured.err
    assert "label/3.png: label value 9" in captured.err
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ((0, 0), "no pixel is an anomaly; the labels hold 0 ("),
        ((255, 1), "no pixel is an inlier; the labels hold 1 ("),
        ((255, 255), "none of 5 frames has a labelled pixel"),
    ],
)
def test_a_set_without_anomalies_or_inliers_is_an_error(
    model_path: Path, tmp_path: Path, capsys, values: tuple[int, int], problem: str
) -> None:
    model = _named(tmp_path / "tiny.safetensors", model_path, 2.0)
    before = model.with_suffix(".yaml").read_text()
    root = _write_folder(tmp_path)
    for path in (root / "label").iterdir():
        label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        write_picture(path, np.where(label == 1, values[1], values[0]).astype(np.uint8))
    assert _evaluate("folder", root, model, "--scores", "hybrid", "--card") == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "densehybrid evaluate: " in line]
    assert f"{root / 'label'}: " in line
    assert problem in line
    assert line.endswith("save inliers as 0 and anomalies as 1; 255 means ignore")
    assert model.with_suffix(".yaml").read_text() == before


def test_network_that_yields_nan_is_named(folder: Path, nan_model: Path, capsys) -> None:
    assert _evaluate("folder", folder, nan_model) == 2
    assert "the score of this frame is not finite" in capsys.readouterr().err


def test_scores_of_the_model_are_fitted_and_measured(folder: Path, model_path: Path, tmp_path: Path) -> None:
    training = write_small_frames(tmp_path) / "train"
    options = ("--fit-dataset", "cityscapes_640", "--fit-root", training, "--fit-frames", "3", "--limit", "2")
    names = "hybrid,sml,odin,mc_dropout,react,openmax,gdm"
    options += ("--input-policy", INPUT_POLICIES[-1], "--size", "96x96")  # frames lie in black there
    pixel = _figures(tmp_path, "folder", folder, model_path, "--scores", names, *options)["pixel"]
    assert list(pixel) == names.split(",")
    aurocs = [figures["auroc"] for figures in pixel.values()]
    assert all(0 < value < 1 for value in aurocs)
    assert len(set(aurocs)) == len(aurocs)
