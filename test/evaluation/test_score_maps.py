# SPDX-License-Identifier: Apache-2.0
"""Score maps of others: what is read, how maps find their frames, and the command that measures them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from densehybrid_ros.cli.main import main
from densehybrid_ros.datasets.pictures import write_picture
from densehybrid_ros.datasets.registry import open_evaluation_set
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.score_maps import ScoreMaps, read_score_map

SHAPE = (40, 60)


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Three frames with an obstacle each."""
    root = tmp_path / "data"
    for index in range(3):
        label = np.zeros(SHAPE, np.uint8)
        label[10:22, 5 + 10 * index : 17 + 10 * index] = 1
        label[:4] = 255
        write_picture(root / "image" / f"{index}.png", np.full((*SHAPE, 3), 90, np.uint8))
        write_picture(root / "label" / f"{index}.png", label)
    return root


def write_maps(root: Path, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Writes a map a frame, each in another format and folder; returns all judged labels and scores."""
    rng, labels, scores = np.random.default_rng(0), [], []
    for index, name in enumerate(("a/0.npy", "b/c/1.npz", "2.tiff")):
        label = cv2.imread(str(root / "label" / f"{index}.png"), cv2.IMREAD_UNCHANGED)
        score = (rng.standard_normal(SHAPE) + 2 * (label == 1)).astype(np.float32)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npy":
            np.save(path, score[None].astype(np.float64))
        elif path.suffix == ".npz":
            np.savez(path, score)
        else:
            assert cv2.imwrite(str(path), score)
        labels.append(label[label != 255])
        scores.append(score[label != 255])
    return np.concatenate(labels), np.concatenate(scores)


def evaluate(root: Path, maps: Path, *options: object) -> int:
    words = ["evaluate", "--dataset", "folder", "--root", root, "--score-maps", maps, *options]
    return main([str(word) for word in words])


def test_maps_of_any_format_make_the_same_tables(frames: Path, tmp_path: Path, capsys) -> None:
    truth, scores = write_maps(frames, tmp_path / "theirs")
    report = tmp_path / "report"
    options = ("--threshold", "1,-0.5", "--json", tmp_path / "r.json", "--report", report)
    assert evaluate(frames, tmp_path / "theirs", *options) == 0
    printed = capsys.readouterr().out
    assert "\ntheirs " in printed  # the row has the folder's name
    result = json.loads((tmp_path / "r.json").read_text())
    expected = average_precision_score(truth, scores)
    assert result["pixel"]["theirs"]["average_precision"] == pytest.approx(expected, abs=1e-9)
    assert result["thresholds"] == [1.0, -0.5]
    point = result["operating_points"][0]
    assert point["recall"] == pytest.approx((scores[truth == 1] > 1).mean())
    assert point["fpr"] == pytest.approx((scores[truth == 0] > 1).mean())
    assert point["precision"] == pytest.approx(truth[scores > 1].mean())
    assert "theirs by threshold" in (report / "report.html").read_text()
    assert evaluate(frames, tmp_path / "theirs", "--name", "Max logit", "--json", "-") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["model"] == "Max logit"
    assert "Max logit" in captured.err


def test_missing_and_wrong_maps_are_named(frames: Path, tmp_path: Path, capsys) -> None:
    maps = tmp_path / "maps"
    write_maps(frames, maps)
    np.save(maps / "a" / "0.npy", np.zeros((20, 30), np.float32))
    assert evaluate(frames, maps) == 0
    assert f"left out: {maps}/a/0.npy: is 30x20, but its frame is 60x40" in capsys.readouterr().err
    write_maps(frames, maps)
    (maps / "2.tiff").unlink()
    assert evaluate(frames, maps) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--score-maps {maps}: 1 of 3 frames have no map: 2; name maps as the frames" in line
    assert evaluate(frames, maps, "--limit", 1) == 0  # those that are not needed may be missing


def test_sixteen_bits_are_numbers_and_colours_are_none(tmp_path: Path) -> None:
    stored = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    write_picture(tmp_path / "a.png", stored)
    np.testing.assert_array_equal(read_score_map(tmp_path / "a.png"), stored.astype(np.float32))
    write_picture(tmp_path / "b.png", np.zeros((3, 4, 3), np.uint8))
    np.savez(tmp_path / "c.npz", one=stored, two=stored)
    (tmp_path / "d.npy").write_bytes(b"nothing")
    for name, message in (("b.png", "one number a pixel"), ("c.npz", "keep one"), ("d.npy", "is no NumPy array")):
        with pytest.raises(InputError, match=message):
            read_score_map(tmp_path / name)


def test_of_several_maps_of_a_name_the_folder_decides_and_nan_at_a_labelled_pixel_is_named(
    frames: Path, tmp_path: Path
) -> None:
    dataset = open_evaluation_set("folder", frames)
    values = np.zeros(SHAPE, np.float32)
    values[0] = np.nan  # where nothing is labelled
    for folder, value in (("other/image", 1.0), ("data/image", 2.0), ("zzz", 3.0)):
        (tmp_path / "maps" / folder).mkdir(parents=True)
        np.save(tmp_path / "maps" / folder / "0.npy", values + value)
    maps = ScoreMaps(tmp_path / "maps", "x", dataset, [0])
    assert float(maps(0, dataset[0]).scores["x"][30, 30]) == 2.0
    values[30] = np.nan
    np.save(tmp_path / "maps" / "data" / "image" / "0.npy", values)
    with pytest.raises(InputError, match=r"0\.npy: has NaN at labelled pixels"):
        maps(0, dataset[0])
