# SPDX-License-Identifier: Apache-2.0
"""The report: self-contained, with every figure of the result in it."""

from __future__ import annotations

import csv
import json
import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from densehybrid_ros.datasets.evaluation_set import EvaluationFrame
from densehybrid_ros.datasets.taxonomy import SemanticClass
from densehybrid_ros.evaluation.dense_scores import ScoredFrame
from densehybrid_ros.evaluation.distances import DEFAULT_EDGES, DistanceBins
from densehybrid_ros.evaluation.gallery import FALSE_ALARM, MISS, WRONG_CLASS, Gallery, heat_map, paint_errors
from densehybrid_ros.evaluation.pixel_accumulator import PixelAccumulator
from densehybrid_ros.evaluation.report import report_page, write_report
from densehybrid_ros.evaluation.results import EvaluationResult, format_result
from densehybrid_ros.pages.charts import Axis, Series, line_chart, round_up


def _scored(index: int, false_alarms: int, misses: int) -> ScoredFrame:
    """A 20x40 frame whose left part is anomalous, with so many wrong pixels."""
    labels = np.zeros((20, 40), dtype=np.uint8)
    labels[:, :10] = 1
    labels[0] = 255
    score = (labels == 1).astype(np.float32)
    inlier, anomalous = np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)
    score.ravel()[inlier[:false_alarms]] = 1
    score.ravel()[anomalous[:misses]] = 0
    frame = EvaluationFrame(f"some/label/{index}.png", np.full((20, 40, 3), 128, np.uint8), anomaly=labels)
    tensor = torch.from_numpy(score)
    return ScoredFrame(index, frame, {"hybrid": tensor}, tensor.to(torch.uint8))


def _gallery(*errors: tuple[int, int], count: int = 2) -> Gallery:
    gallery = Gallery("hybrid", 0.5, count=count)
    for index, (false_alarms, misses) in enumerate(errors):
        gallery.add(_scored(index, false_alarms, misses))
    return gallery


@pytest.fixture
def result() -> EvaluationResult:
    rng = np.random.default_rng(0)
    labels = torch.from_numpy((rng.random(4000) < 0.1).astype(np.uint8))
    scores = torch.from_numpy(rng.standard_normal(4000).astype(np.float32)) + labels
    accumulator, bins = PixelAccumulator(), DistanceBins(["hybrid"], DEFAULT_EDGES)
    accumulator.update(scores, labels)
    bins.update({"hybrid": scores}, labels, torch.from_numpy(rng.uniform(0, 44, 4000).astype(np.float32)))
    return EvaluationResult(
        "lost_and_found",
        "a <model> & more",
        frames=3,
        left_out=["frame7.png: truncated"],
        pixel={"hybrid": accumulator.compute()},
        curves={"hybrid": accumulator.curve()},
        histograms={"hybrid": accumulator.histogram()},
        edges=DEFAULT_EDGES,
        distances=bins.compute(),
        distance_source="measured disparity",
        gallery=_gallery((5, 0), (0, 7), (9, 1)),
    )


def test_page_needs_no_network_and_holds_figures_charts_pictures_and_what_was_left_out(
    result: EvaluationResult,
) -> None:
    page = report_page([result])
    assert "<model>" not in page
    references = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(references) == 8  # two with false alarms, two with misses, and a heat map beside each
    assert all(reference.startswith("data:image/jpeg;base64,") for reference in references)
    assert "url(" not in page
    assert set(re.findall(r"https?://[^\"' <]+", page)) <= {"http://www.w3.org/2000/svg"}
    assert page.count("<svg") == page.count("</svg>") == 6
    figure = f"{100 * result.pixel['hybrid'].average_precision:.2f}"
    titles = ("Precision, recall and F1", "Score of known (blue) and unknown (orange) pixels")
    texts = ("a &lt;model&gt; &amp; more", "frame7.png: truncated", "DenseHybrid (paper, table 6)")
    for text in (figure, *titles, *texts):
        assert text in page


def test_closed_set_has_its_confusion_and_worst_pictures(result: EvaluationResult) -> None:
    result.class_iou, result.confusion = {"road": 0.75, "a & b": math.nan}, [[3, 1], [0, 0]]
    gallery = Gallery("hybrid", math.nan, (SemanticClass("road", (128, 64, 128)), SemanticClass("b", (1, 2, 3))))
    labels = np.zeros((20, 40), dtype=np.uint8)
    labels[0] = 255
    frame = EvaluationFrame("some/label/7.png", np.full((20, 40, 3), 128, np.uint8), semantic=labels)
    wrong = torch.zeros(20, 40, dtype=torch.uint8)
    wrong[:3, :10] = 1
    gallery.add(ScoredFrame(7, frame, {"hybrid": torch.zeros(20, 40)}, wrong))
    (picture,) = gallery.pictures[WRONG_CLASS]
    assert (picture.pixels, picture.share, picture.name) == (20, 20 / 760, "label/7.png")
    result.gallery = gallery
    page = report_page([result])
    assert "road called a &amp; b: 25.00 %" in page
    assert "Most pixels of a wrong class" in page
    assert "nan" not in page


def test_heat_is_dark_where_the_score_is_low() -> None:
    heat = heat_map(np.linspace(-50, 50, 400, dtype=np.float32).reshape(10, 40)).astype(int).sum(axis=2)
    assert heat[0, 0] < 50 < 600 < heat[-1, -1]
    assert heat_map(np.full((4, 4), np.inf, np.float32)).shape == (4, 4, 3)


def test_histogram_counts_every_pixel_and_its_ends_take_the_outermost(result: EvaluationResult) -> None:
    spread = result.histograms["hybrid"]
    assert sum(spread.known) == pytest.approx(1)
    assert sum(spread.unknown) == pytest.approx(1)
    middle = spread.low + (spread.high - spread.low) * (np.arange(len(spread.known)) + 0.5) / len(spread.known)
    assert np.dot(middle, spread.unknown) - np.dot(middle, spread.known) == pytest.approx(1, abs=0.2)


def test_files_hold_the_same_figures_and_undefined_ones_are_missing(result: EvaluationResult, tmp_path: Path) -> None:
    assert math.isnan(result.distances["hybrid"][-1].average_precision)  # nothing lies beyond 44 m
    write_report(tmp_path, [result])
    stored = json.loads((tmp_path / "report.json").read_text())[0]
    assert stored["distances"]["hybrid"][-1]["average_precision"] is None
    rows = list(csv.DictReader((tmp_path / "report.csv").open()))
    assert rows[-1]["distance"] == "45-50"
    assert rows[-1]["AP"] == ""
    line = next(text for text in format_result(result).splitlines() if text.startswith("hybrid"))
    assert line.split()[1:4] == [f"{float(rows[0][name]):.2f}" for name in ("AP", "FPR95", "AUROC")]
    assert "nan" not in (tmp_path / "report.html").read_text()
    assert "nan" not in format_result(result)


def test_chart_is_well_formed_and_breaks_at_nan() -> None:
    axis = Axis("x & y", 0, 1)
    chart = line_chart("t", axis, axis, [Series("s<1>", [0, 0.2, 0.4, 0.6], [0, 1, math.nan, 1], dots=True)])
    root = ElementTree.fromstring(chart)
    path = next(node for node in root.iter() if node.tag.endswith("path"))
    assert path.attrib["d"].count("M") == 2
    assert sum(node.tag.endswith("circle") for node in root.iter()) == 3
    axis = Axis("fpr", 1e-4, 1.0, log=True)
    assert (axis.position(0.0), axis.position(1e-2)) == (0.0, pytest.approx(0.5))
    assert axis.tick_values() == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    assert [round_up(value) for value in (9.9, 10.0, 0.1, 2.3, 61.0)] == pytest.approx([10, 10, 0.1, 2.5, 100])


def test_gallery_keeps_the_worst_of_each_kind() -> None:
    errors = [(5, 0), (50, 2), (0, 9), (20, 1)]
    gallery = _gallery(*errors)
    assert [(item.index, item.pixels) for item in gallery.pictures[FALSE_ALARM]] == [(1, 50), (3, 20)]
    assert [(item.index, item.pixels) for item in gallery.pictures[MISS]] == [(2, 9), (1, 2)]
    picture = gallery.pictures[MISS][0]
    assert picture.name == "label/2.png"
    assert picture.share == 9 / 190
    assert cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (20, 40, 3)


def test_errors_are_painted_in_their_colours() -> None:
    labels = np.array([[1, 1, 0, 0, 255]], dtype=np.uint8)
    found = np.array([[True, False, True, False, True]])
    hit, missed, false, right, outside = paint_errors(np.full((1, 5, 3), 100, np.uint8), labels, found)[0].astype(int)
    assert hit[1] > hit[0]
    assert min(missed[:2]) > 150
    assert false[0] > 2 * false[1]
    assert (right.tolist(), outside.tolist()) == ([100] * 3, [45] * 3)
