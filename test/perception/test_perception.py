# SPDX-License-Identifier: Apache-2.0
"""A frame in, masks, hazards and alert out; what goes wrong in the hazard stage never reads as all clear."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.errors import InputError
from densehybrid_ros.hazards.hazard import Level
from densehybrid_ros.inference import FrameResult, Segmenter
from densehybrid_ros.networks import LoadedModel, ModelCard
from densehybrid_ros.perception.geometry import Disparity
from densehybrid_ros.perception.perception import Frame, Perceived, Perception
from densehybrid_ros.perception.settings import Settings

sys.path.insert(0, str(Path(__file__).parents[1] / "inference"))
from tiny_network import tiny_model

CAMERA = Camera(64, 32, 80.0, 80.0, 31.5, 7.5, baseline=0.0, pitch=0.0, mount_height=1.0)
AT_ONCE = Settings(trigger_count=1, min_hazard_area=4, foot_row_noise=0.5, anomaly_threshold=0.0)
IMAGE = np.zeros((32, 64, 3), np.uint8)


def drawn_masks(image: np.ndarray, threshold: float) -> FrameResult:
    """A road with one unknown object on it; a picture of 5 rows breaks the hazard stage."""
    semantic = np.zeros(image.shape[:2], np.uint8)
    score = np.full(image.shape[:2] if image.shape[0] != 5 else (4, 4), -3.0, np.float32)
    score[14:20, 28:36] = 3.0
    open_set = np.where(score > threshold, np.uint8(19), np.uint8(0))
    return FrameResult(semantic, score, open_set)


class DrawnSegmenter:
    """Masks as they are drawn, in the place of a model."""

    def __init__(self, threshold: float | None = None) -> None:
        self.threshold = threshold
        self.card = ModelCard("drawn", "none", thresholds={"low": -5.0, "high": 1.0}, default_threshold="high")

    def submit(self, image: np.ndarray, threshold: float, camera: int) -> Callable[[], FrameResult]:
        return partial(drawn_masks, image, threshold)


def perceive(settings: Settings = AT_ONCE, **known: Any) -> Perceived:
    segmenter: Any = DrawnSegmenter()
    return Perception(segmenter, settings)(Frame(IMAGE, **known))


def test_a_hazard_stands_where_its_foot_meets_the_road() -> None:
    perceived = perceive(camera=CAMERA, ego_speed=4.0, problems=("tf: gone",), frame_id="optical")
    assert perceived.hazards is not None
    (hazard,) = perceived.hazards.hazards
    assert hazard.distance == pytest.approx(1.0 / ((19.5 - 7.5) / 80.0))
    assert hazard.time_to_reach == pytest.approx(hazard.distance / 4.0)
    assert perceived.problems == ("tf: gone",)
    assert perceived.inference_seconds >= 0.0
    assert perceived.hazard_seconds > 0.0
    alert = perceived.alert
    assert alert.level is Level.ERROR
    assert alert.summary.values["problems"] == "tf: gone"
    (status,) = alert.hazards
    assert (status.values["distance_m"], status.values["optical_frame"]) == ("6.667", "optical")
    assert status.values["base_frame"] == "ground below the camera"
    disparity = Disparity(np.full((32, 64), 4.0, np.float32), focal=160.0, baseline=0.5)  # counts before the ground
    assert perceive(camera=CAMERA, disparity=disparity).alert.hazards[0].values["distance_m"] == "20.000"
    unknown = perceive(camera=replace(CAMERA, mount_height=0.0)).alert
    assert (unknown.level, unknown.hazards[0].values["distance_m"]) == (Level.WARN, "nan")


def test_a_calibration_that_cannot_be_is_named_and_hazards_count_beside_the_corridor_too() -> None:
    corridor = replace(AT_ONCE, corridor_half_width=0.5)
    aside = replace(CAMERA, cx=16.0)  # the object then stands 1.3 m off the axis
    assert perceive(corridor, camera=aside).alert.level is Level.OK
    perceived = perceive(corridor, camera=replace(aside, fx=5000.0, fy=5000.0))
    assert perceived.hazards is not None
    assert perceived.hazards.hazards[0].distance is None
    assert perceived.alert.level is Level.WARN
    assert "a view of 0.733 degrees" in perceived.alert.summary.values["problems"]


def test_frames_of_all_small_sizes_are_judged() -> None:
    card = ModelCard("tiny", "tiny", CITYSCAPES_CLASSES[:5])
    segmenter = Segmenter(LoadedModel(tiny_model(), card, Path("x")), "eager", "cpu", warn=lambda text: None)
    settings = Settings(trigger_count=1, min_hazard_area=1, anomaly_threshold=-100.0)
    for height in (1, 2, 3, 5, 8):
        for width in (1, 2, 4, 7, 9):
            camera = replace(CAMERA, width=width, height=height, fx=width, fy=width, cx=width / 2, cy=height / 2)
            image = np.full((height, width, 3), 99, np.uint8)
            perceived = Perception(segmenter, settings)(Frame(image, camera=camera))
            assert perceived.hazards is not None, perceived.problems
            assert [hazard.region.area for hazard in perceived.hazards.hazards] == [height * width]


@pytest.mark.parametrize(
    ("settings", "own", "threshold"),
    [
        (Settings(), None, 1.0),
        (Settings(), 2.5, 2.5),
        (Settings(threshold_name="low"), 2.5, -5.0),
        (Settings(threshold_name="low", anomaly_threshold=0.5), 2.5, 0.5),
    ],
)
def test_threshold_is_the_parameters_or_the_segmenters_or_the_cards(settings, own, threshold) -> None:
    segmenter: Any = DrawnSegmenter(own)
    perceived = Perception(segmenter, settings)(Frame(IMAGE))
    assert perceived.threshold == threshold
    assert bool((perceived.masks.open_set == 19).all()) == (threshold < -3.0)
    with pytest.raises(InputError, match="no threshold 'nowhere'"):
        perceive(Settings(threshold_name="nowhere"))


def test_tracks_go_on_until_they_are_reset() -> None:
    segmenter: Any = DrawnSegmenter()
    perception = Perception(segmenter, AT_ONCE)
    ids = []
    for seconds in (1, 2, 3, 4, 5):
        judged = perception(Frame(IMAGE, float(seconds)), judge=seconds != 4)
        ids.append(judged.hazards.hazards[0].id if judged.hazards else 0)
        if seconds == 2:
            perception.reset()
    assert ids == [1, 1, 2, 0, 3]


def test_a_failure_in_the_hazard_stage_is_no_all_clear() -> None:
    segmenter: Any = DrawnSegmenter()
    perception = Perception(segmenter, AT_ONCE)
    failed = perception(Frame(np.zeros((5, 64, 3), np.uint8), 1.0))
    assert failed.hazards is None
    assert failed.problems[0].startswith("hazards: ValueError: ")
    assert failed.alert.level is Level.STALE
    assert failed.alert.summary.message.startswith("hazards are unknown: hazards: ValueError: ")
    assert perception(Frame(IMAGE, 2.0)).hazards is not None
