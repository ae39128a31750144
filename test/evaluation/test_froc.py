# SPDX-License-Identifier: Apache-2.0
"""Hazards of single frames against labelled obstacles, on frames whose counts are seen by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from densehybrid_ros.confidence import Confidence
from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.datasets.evaluation_set import EvaluationFrame
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.evaluation.dense_scores import ScoredFrame
from densehybrid_ros.evaluation.froc import Froc, FrocAccumulator, FrocPoint, StillStage, judge_regions
from densehybrid_ros.evaluation.report import report_page
from densehybrid_ros.evaluation.results import EvaluationResult, format_result, froc_table, hazard_table
from densehybrid_ros.hazards import HazardChain, HazardSettings
from densehybrid_ros.hazards.ego_mask import EgoMask
from densehybrid_ros.hazards.regions import MaskedRegion, find_clusters, largest_regions

SHAPE = (100, 200)
CAMERA = Camera(200, 100, 200.0, 200.0, 99.5, 49.5, 0.5, 0.0, 1.2)
ROAD, SKY = 0, 10
STAGE = StillStage(HazardChain(CITYSCAPES_CLASSES, Confidence(0.0, 1.0)), HazardSettings(), named={"default": 3.5})
THRESHOLDS = (1.5, 2.5, 4.5, 5.5, 8.0)


def _frame() -> ScoredFrame:
    """Obstacles of 200 and 64 pixels, two false hazards, one on ignored pixels, one in the sky, a tiny obstacle."""
    score, labels = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.uint8)
    semantic, disparity = np.full(SHAPE, ROAD, np.uint8), np.full(SHAPE, 4.0, np.float32)
    semantic[:30] = SKY
    labels[:, 150:] = 255
    labels[40:50, 20:40] = labels[40:48, 60:68] = labels[80:87, 60:67] = 1
    disparity[40:50, 20:40], disparity[40:48, 60:68] = 10.0, 5.0  # at 10 and 20 m
    score[40:46, 20:40] = 5  # 60 % of the first
    score[40:48, 60:68] = 3
    score[60:70, 100:110] = 4
    score[80:90, 20:30] = 2
    score[60:70, 160:170] = 6
    score[2:12, 50:60] = 7
    frame = EvaluationFrame("f", np.zeros((*SHAPE, 3), np.uint8), labels, disparity=disparity, camera=CAMERA)
    return ScoredFrame(0, frame, {"hybrid": torch.from_numpy(score)}, torch.from_numpy(semantic))


def _clean(item: ScoredFrame) -> ScoredFrame:
    """The same frame without an anomaly label, of a set that has classes alone."""
    frame = replace(item.frame, anomaly=None, semantic=np.zeros(SHAPE, np.uint8))
    return replace(item, frame=frame, scores={"hybrid": torch.zeros(SHAPE)})


@pytest.fixture
def froc() -> Froc:
    accumulator = FrocAccumulator(STAGE, THRESHOLDS, (5.0, 15.0, 25.0))
    accumulator.update(_frame())
    accumulator.update(_clean(_frame()))
    return accumulator.compute()


def test_counts_by_hand(froc: Froc) -> None:
    assert (froc.frames, froc.obstacles, froc.problems) == (2, 2, {})
    areas = {"50 to 199 px": 1, "200 to 499 px": 1, "500 to 1999 px": 0, "2000 px and more": 0}
    assert froc.groups == areas | {"5 to 15 m": 1, "15 to 25 m": 1}
    assert froc.points == (
        FrocPoint(1.5, (1, 1, 0, 0, 1, 1), 2, 1, 2),
        FrocPoint(2.5, (1, 1, 0, 0, 1, 1), 1, 1, 2),
        FrocPoint(3.5, (0, 1, 0, 0, 1, 0), 1, 1, 1),
        FrocPoint(4.5, (0, 1, 0, 0, 1, 0), 0, 1, 1),
        FrocPoint(5.5, (0, 0, 0, 0, 0, 0), 0, 1, 0),
        FrocPoint(8.0, (0, 0, 0, 0, 0, 0), 0, 0, 0),
    )


def test_recall_at_a_rate_is_that_of_a_point_that_keeps_it(froc: Froc) -> None:
    found = {rate: (point.threshold, point.all_found) for rate in (0.1, 0.499, 0.5, 9) if (point := froc.best(rate))}
    assert found == {0.1: (4.5, 1), 0.499: (4.5, 1), 0.5: (2.5, 2), 9: (2.5, 2)}
    assert [(rate, point.threshold) for rate, point in froc.steps()] == [(0.0, 4.5), (0.5, 2.5)]
    broken = tuple(
        FrocPoint(value, (), false, 0, found) for value, false, found in ((1.0, 1, 9), (2.0, 4, 5), (3.0, 1, 2))
    )
    froc = Froc(1, 10, {}, broken, {}, {})  # a higher threshold breaks the rate
    assert [point.threshold for point in froc.at_most(1)] == [3.0]
    assert froc.best(0.5) is None
    assert [(rate, point.threshold) for rate, point in froc.steps()] == [(1.0, 3.0), (4.0, 1.0)]


def test_small_obstacles_do_not_count_and_a_mask_takes_hazards_away() -> None:
    own = np.zeros(SHAPE, dtype=bool)
    own[55:75] = True
    settings = HazardSettings(ego_mask=EgoMask("own.png", own))
    accumulator = FrocAccumulator(StillStage(STAGE.chain, settings, min_area=100), (3.5,))
    accumulator.update(_frame())
    result = accumulator.compute()
    assert result.groups == {"100 to 199 px": 0, "200 to 499 px": 1, "500 to 1999 px": 0, "2000 px and more": 0}
    assert result.points == (FrocPoint(3.5, (0, 1, 0, 0), 0, 0, 1),)


def test_what_the_hazard_stage_lacks_is_told() -> None:
    accumulator, item = FrocAccumulator(STAGE, THRESHOLDS), _frame()
    accumulator.update(replace(item, prediction=torch.full(SHAPE, SKY, dtype=torch.uint8)))
    accumulator.update(item)
    (problem,) = accumulator.compute().problems.items()
    assert problem == ("no road in sight: every region below the horizon counts", 1)
    assert f"hazards: {problem[0]} (1 frames)" in accumulator.compute().notes()


@pytest.mark.parametrize(
    ("anomalous", "ignored", "expected"),
    [(0, 0, (1, 0)), (9, 0, (1, 0)), (10, 0, (0, 0)), (0, 50, (1, 0)), (0, 51, (0, 1)), (4, 60, (0, 0))],
)
def test_a_hazard_is_true_false_or_on_ignored_pixels(anomalous: int, ignored: int, expected: tuple[int, int]) -> None:
    labels = np.zeros((10, 10), np.uint8)
    labels.ravel()[:anomalous] = 1
    labels.ravel()[100 - ignored :] = 255
    region = MaskedRegion(100, 0, 0, 10, 10, np.ones((10, 10), np.uint8), 1)
    assert judge_regions([region], labels)[1] == expected


def test_the_pixels_of_a_large_region_are_whole_again() -> None:
    unknown = np.zeros((400, 800), dtype=bool)
    rows, columns = np.mgrid[:400, :800]
    unknown[(rows - 200) ** 2 + ((columns - 400) / 2) ** 2 < 150**2] = True
    clusters = find_clusters(unknown, 50)
    (region,) = largest_regions(clusters, np.array([1]), unknown, 50, 50)[0]
    assert region.step > 1
    covered, _ = judge_regions([region], np.zeros(unknown.shape, np.uint8))
    assert np.count_nonzero(covered ^ unknown) < 0.03 * np.count_nonzero(unknown)


def test_tables_json_and_report_agree(froc: Froc) -> None:
    header, rows = hazard_table(froc)
    assert header[2:] == ["at most 0.1 false", "at most 0.3 false", "at most 1 false", "default"]
    assert [row[2:] for row in rows[:4]] == [
        ["4.50", "4.50", "2.50", "3.50"],
        ["0.000", "0.000", "0.500", "0.500"],
        ["0.500"] * 4,
        ["50.0", "50.0", "100.0", "50.0"],
    ]
    assert rows[5] == ["200 to 499 px", "1", *["100.0"] * 4]
    assert rows[6][1:] == ["0", *["-"] * 4]
    assert froc_table(froc)[1] == [["0.000", "50.0", "4.50"], ["0.500", "100.0", "2.50"]]
    result = EvaluationResult("folder", "tiny", frames=2, froc=froc)
    stored = json.loads(json.dumps(result.to_dict(), allow_nan=False))["froc"]
    assert stored["at"]["default"]["recall"] == 0.5
    assert stored["at"]["default"]["recall_by_group"]["500 to 1999 px"] is None
    assert len(stored["points"]) == 6
    page, text = report_page([result]), format_result(result)
    assert "Obstacles found over false hazards (FROC)" in page
    assert page.count("<circle") == 1  # the default threshold
    for row in rows:
        assert all(cell in text and f">{cell}<" in page for cell in row if cell)
