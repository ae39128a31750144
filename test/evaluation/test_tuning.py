# SPDX-License-Identifier: Apache-2.0
"""A sweep of a real small drive says at each setting exactly what a replay at that setting says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rendered_bag import write_drive

from densehybrid_ros.bags.reader import BagFrames
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.distances import DEFAULT_EDGES
from densehybrid_ros.evaluation.hazard_figures import Braking, HazardAccumulator, HazardFigures
from densehybrid_ros.evaluation.kept_drive import KeptDrive, sweep_thresholds
from densehybrid_ros.evaluation.replay import frame_truth, perceived_answers
from densehybrid_ros.evaluation.tuning import Grid, Setting, ThresholdSweep
from densehybrid_ros.hazards.ego_mask import EgoMask
from densehybrid_ros.inference import Segmenter
from densehybrid_ros.perception.perception import Perception, open_segmenter
from densehybrid_ros.perception.settings import Settings

GRID = Grid((-150.0, -100.0, 20.0), (8, 60), (1, 3))
SETTINGS = Settings(device="cpu", backend="eager", anomaly_threshold=-100.0, min_hazard_area=8, trigger_count=1)


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drive(tmp_path_factory.mktemp("bag") / "drive", 3)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return open_segmenter(SETTINGS, print)


def _replayed(bag: Path, segmenter: Segmenter, settings: Settings) -> HazardFigures:
    figures = HazardAccumulator(DEFAULT_EDGES, Braking())
    for answer in perceived_answers(BagFrames(bag), Perception(segmenter, settings), lambda *_: None):
        time, speed = answer.recorded.picture.time * 1e-9, answer.known.ego_speed
        figures.update(time, answer.alert, speed, frame_truth(answer)[0])
    return figures.compute()


def _kept(bag: Path, segmenter: Segmenter) -> KeptDrive:
    drive = KeptDrive([-100.0, *GRID.thresholds], False, 2, False)
    for answer in perceived_answers(BagFrames(bag), Perception(segmenter, SETTINGS), lambda *_: None):
        drive.add(answer)
    assert drive.thresholds(25) == GRID.thresholds
    return drive


def test_every_setting_is_that_of_a_replay(bag: Path, segmenter: Segmenter) -> None:
    drive, mask = _kept(bag, segmenter), np.zeros((128, 256), bool)
    mask[:, :128] = True
    raised = []
    compared = [Setting(-150.0, 8, 3), Setting(-100.0, 60, 1), Setting(20.0, 8, 1)]
    for ego_mask, keys in ((None, compared), (EgoMask("half", mask), [Setting(-100.0, 8, 1)])):
        sweep = ThresholdSweep(segmenter.card, SETTINGS, GRID, DEFAULT_EDGES, ego_mask=ego_mask)
        for frame in drive:
            sweep.update(frame)
        figures = sweep.compute()
        assert list(figures) == GRID.settings()
        for key in keys:
            threshold, area, trigger = key
            settings = replace(SETTINGS, anomaly_threshold=threshold, min_hazard_area=area, trigger_count=trigger)
            # A snapshot puts its hazard settings together once: here with the mask, as from a file.
            settings.__dict__["hazards"] = replace(settings.hazards, ego_mask=ego_mask)
            assert figures[key] == _replayed(bag, segmenter, settings)
        raised.append(sum(item.raised for item in figures.values()))
        assert len({item.raised for item in figures.values()}) > 1
    assert raised[0] > raised[1] > 0
    assert [kept.jpeg is not None for kept in drive.frames] == [True, False, True]


def test_a_drive_without_obstacles_has_false_alarms_alone(bag: Path, segmenter: Segmenter) -> None:
    drive = KeptDrive([-100.0], False, 1, True)
    for answer in perceived_answers(BagFrames(bag), Perception(segmenter, SETTINGS), lambda *_: None, 3):
        drive.add(answer)
    sweep = ThresholdSweep(segmenter.card, SETTINGS, Grid((-100.0,), (8,), (1,)), DEFAULT_EDGES)
    for frame in drive:
        sweep.update(frame)
    (figures,) = sweep.compute().values()
    assert figures.false_alarms == figures.raised > 0
    assert (figures.recall, figures.precision) == (None, 0.0)


def test_chosen_thresholds_rise_to_where_no_pixel_is_unknown() -> None:
    scores = np.random.default_rng(0).normal(0.0, 0.02, 10_000).astype(np.float32)
    floor = float(np.quantile(scores, 0.9))
    thresholds = sweep_thresholds(scores[scores > floor], floor, [0.031_25, -5.0], 25)
    assert list(thresholds) == sorted(set(thresholds))
    assert 15 <= len(thresholds) <= 26
    assert floor <= thresholds[0] < floor + 0.01
    assert 0.031_25 in thresholds
    assert -5.0 not in thresholds
    assert thresholds[-1] > scores.max()
    with pytest.raises(InputError, match="no score varies over the drive: name the thresholds with --thresholds"):
        sweep_thresholds(np.zeros(0, np.float32), 1.0, [], 25)
