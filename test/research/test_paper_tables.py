# SPDX-License-Identifier: Apache-2.0
"""The tables of the paper: what is in them, and the command that prints them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from densehybrid_ros.cli.main import main
from densehybrid_ros.datasets.registry import EVALUATION_SETS
from densehybrid_ros.evaluation.curves import CurveMetrics
from densehybrid_ros.evaluation.distances import DEFAULT_EDGES
from densehybrid_ros.evaluation.protocols import AP, FPR95, MEAN_IOU, PROTOCOLS, published_groups
from densehybrid_ros.evaluation.results import EvaluationResult
from densehybrid_ros.evaluation.text_tables import WIDEST, format_groups
from densehybrid_ros.research.paper_tables import DASH, PAPER_TABLES, format_paper_table, header, table_rows
from densehybrid_ros.scores import SCORES


def write_road_anomaly(root: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        label = np.zeros((64, 64), np.uint8)
        label[20:40, 20:40] = 2
        (root / "frames" / f"{name}.labels").mkdir(parents=True)
        picture = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        assert cv2.imwrite(str(root / "frames" / f"{name}.png"), picture)
        assert cv2.imwrite(str(root / "frames" / f"{name}.labels" / "labels_semantic.png"), label)
    return root


def table(number: int, root: Path, model: Path, *options: object) -> int:
    words = ["evaluate", "--table", number, "--root", root, "--model", model, "--device", "cpu", *options]
    return main([str(word) for word in words])


def test_every_table_has_data_sets_and_published_rows() -> None:
    assert sorted(PAPER_TABLES) == [1, 2, 3, 4, 5, 6]
    for number, item in PAPER_TABLES.items():
        assert item.number == number
        for part in item.parts:
            assert {part.dataset, *part.folders} <= EVALUATION_SETS.keys()
            assert part.dataset in PROTOCOLS
        assert set(item.scores) <= SCORES.keys()
        if number != 6:
            assert len(header(item)) == len(set(header(item)))


PUBLISHED = {
    (1, "SynBoost"): [56.4, 61.9, 71.3, 3.2, 81.7, 4.6, 43.2, 15.8, 72.6, 18.8, 81.4],
    (2, "DenseHybrid"): [63.9, 43.2, 60.5, 6.0, 63.1, 4.2],
    (4, "OH"): [19.7, 56.2, 88.8, 66.6, None, 33.9, 32.7],
    (5, "hybrid, synthetic negatives"): [59.5, 10.4, 49.0, 10.3],
}


@pytest.mark.parametrize(("number", "method"), PUBLISHED)
def test_published_rows_are_the_papers(number: int, method: str) -> None:
    item = PAPER_TABLES[number]
    rows = {who: values for who, values, _ in table_rows(item, [EvaluationResult(item.parts[0].dataset, "m")])}
    assert rows[method] == PUBLISHED[number, method]


def test_each_figure_stands_in_its_column() -> None:
    obstacle = EvaluationResult("smiyc_obstacle", "m", pixel={"hybrid": CurveMetrics(0.5, 0.25)})
    closed = EvaluationResult("cityscapes", "m", mean_iou=0.75)
    who, figures, _ = table_rows(PAPER_TABLES[1], [obstacle, closed])[0]
    named = dict(zip(header(PAPER_TABLES[1]), figures, strict=True))
    assert who == "m hybrid"
    assert named.pop(f"Obstacle {AP}") == 50
    assert named.pop(f"Obstacle {FPR95}") == 25
    assert named.pop(f"CS val {MEAN_IOU}") == 75
    assert set(named.values()) == {None}


def test_rows_stand_in_the_papers_groups_and_order() -> None:
    counts = {}
    parts = [(f"method number {index}", ("AP", "FPR95")) for index in range(20)]  # too wide: they stand below
    text = format_groups("distance", parts, [("", [("5 to 10", ["12.34"] * 40)])])
    assert max(map(len, text.splitlines())) <= WIDEST
    assert (text.count("5 to 10"), text.count("12.34")) == (3, 40)
    for number, item in PAPER_TABLES.items():
        text = format_paper_table(item, [EvaluationResult(item.parts[0].dataset, "m")])
        assert DASH in text
        assert max(map(len, text.splitlines())) <= WIDEST
        for title, methods in published_groups(number):
            lines = text[text.index(f"paper, table {number}, {title}") :].splitlines()[1 : len(methods) + 1]
            assert [line.split("  ")[0] for line in lines] == list(methods)
        counts[number] = sum(len(methods) for _, methods in published_groups(number))
    assert counts == {1: 15, 2: 10, 3: 12, 4: 14, 5: 8, 6: 0}


def test_table_six_has_a_row_for_each_distance() -> None:
    bins = {"hybrid": [CurveMetrics(0.125, 0.5, 0.5)] * 9}
    result = EvaluationResult("lost_and_found", "m", edges=DEFAULT_EDGES, distances=bins)
    (row,) = (
        line for line in format_paper_table(PAPER_TABLES[6], [result]).splitlines() if line.startswith("45 to 50")
    )
    assert "12.50" in row
    assert row.endswith("82.10   6.30")


def test_the_command_prints_the_table_and_names_what_is_missing(model_path: Path, tmp_path: Path, capsys) -> None:
    write_road_anomaly(tmp_path / "data" / "road_anomaly")
    (tmp_path / "data" / "fishyscapes_lost_and_found").mkdir()  # without a usable frame
    options = ("--scores", "hybrid,max_logit", "--csv", tmp_path / "t.csv", "--json", tmp_path / "t.json")
    assert table(2, tmp_path / "data", model_path, *options, "--report", tmp_path / "report") == 0
    captured = capsys.readouterr()
    assert f"skipped: {tmp_path / 'data' / 'fishyscapes_static'}: no such folder" in captured.err
    assert "skipped: fishyscapes_lost_and_found:" in captured.err
    assert "table 2: RoadAnomaly and Fishyscapes val" in captured.out
    rows = {row["method"]: row for row in csv.DictReader((tmp_path / "t.csv").open())}
    content = json.loads((tmp_path / "t.json").read_text())
    assert (content["table"], len(content["skipped"]), len(content["results"])) == (2, 2, 1)
    pixel = content["results"][0]["pixel"]["hybrid"]
    assert float(rows["tiny hybrid"]["RoadAnomaly AP"]) == pytest.approx(100 * pixel["average_precision"], abs=1e-5)
    assert rows["tiny hybrid"]["FS L&F AP"] == ""
    assert float(rows["DenseHybrid"]["FS L&F AP"]) == 60.5
    assert (tmp_path / "report" / "report.html").is_file()


@pytest.mark.parametrize(("number", "named"), [(2, "road_anomaly"), (6, "lost_and_found")])
def test_no_set_at_all_is_an_error_of_one_line(
    number: int, named: str, model_path: Path, tmp_path: Path, capsys
) -> None:
    assert table(number, tmp_path, model_path) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert f"holds no data set of table {number}" in error
    assert str(tmp_path / named) in error
