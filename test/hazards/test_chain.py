# SPDX-License-Identifier: Apache-2.0
"""From masks to hazards and an alert, frame by frame; how grave they are; and every kind of bad input."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from densehybrid_ros.confidence import Confidence
from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES, SemanticClass
from densehybrid_ros.hazards import HazardChain, HazardFrame, HazardSettings, Level, Source, State
from densehybrid_ros.hazards.hazard import hazard_level, time_to_reach

SHAPE = (256, 512)
CAMERA = Camera(512, 256, 565.0, 565.0, 255.5, 127.5, 0.2, 0.04, 1.22)
AT_ONCE = HazardSettings(trigger_count=1, trigger_window=1)
CONFIDENCE = Confidence(-1.0, 2.0)
ROAD, BUILDING = 0, 2
NEAR, FAR, FACADE = (300, 190, 40, 30), (240, 120, 12, 12), (100, 40, 30, 30)


class Scene:
    """A road below row 110, buildings above, and boxes of anomalous pixels with score 3, one pixel 5."""

    def __init__(self, *boxes: tuple[int, int, int, int]) -> None:
        self.semantic = np.full(SHAPE, BUILDING, dtype=np.uint8)
        self.semantic[110:] = ROAD
        self.score = np.full(SHAPE, -9.0, dtype=np.float32)
        for left, top, width, height in boxes:
            self.score[top : top + height, left : left + width] = 3.0
            self.score[top, left] = 5.0

    def see(
        self,
        chain: HazardChain | None = None,
        stamp: float = 0.0,
        settings: HazardSettings = AT_ONCE,
        camera: Camera | None = None,
        **more: Any,
    ) -> HazardFrame:
        """Runs a chain over the scene."""
        chain, unknown = chain or HazardChain(CITYSCAPES_CLASSES, CONFIDENCE), self.score > 0
        return chain.update(stamp, self.semantic, self.score, unknown, 0.0, settings, camera, **more)

    def columns(self, camera: Camera | None = None, **settings: Any) -> list[int]:
        """First columns of the hazards with these settings."""
        frame = self.see(settings=replace(AT_ONCE, **settings), camera=camera)
        return [hazard.region.left for hazard in frame.hazards]


@pytest.fixture
def stage() -> HazardChain:
    return HazardChain(CITYSCAPES_CLASSES, CONFIDENCE)


def test_a_hazard_with_all_that_is_known_of_it() -> None:
    frame = Scene(NEAR).see(None, 7.0, camera=CAMERA, ego_speed=5.0)
    (hazard,) = frame.hazards
    assert (hazard.id, hazard.state, hazard.age, hazard.missed, hazard.first_stamp) == (1, State.ACTIVE, 1, 0, 7.0)
    region = hazard.region
    assert (region.left, region.top, region.width, region.height, region.area) == (*NEAR, 1200)
    assert region.peak_score == 5.0
    assert region.mean_score == pytest.approx(3.0 + 2 / 1200)
    assert hazard.probability == pytest.approx(1 / (1 + math.exp(-(region.mean_score + 1) / 2)))
    assert hazard.source is Source.GROUND_PLANE
    assert hazard.distance == pytest.approx(CAMERA.ground_depth(219.5))
    assert hazard.distance is not None
    assert hazard.lateral == pytest.approx((319.5 - 255.5) * hazard.distance / 565)
    assert hazard.width == pytest.approx(40 * hazard.distance / 565)
    assert hazard.time_to_reach == pytest.approx(hazard.distance / 5.0)
    assert hazard.level is frame.level is Level.ERROR
    assert frame.summary == f"1 hazard, nearest {hazard.distance:.1f} m ahead, reached in {hazard.time_to_reach:.1f} s"
    assert (frame.stamp, frame.problems, frame.regions_left_out) == (7.0, (), 0)


def test_order_and_summary() -> None:
    assert Scene(FAR, FACADE, NEAR).columns(CAMERA) == [300, 240]  # the nearest first, the facade not at all
    frame = Scene(FAR, NEAR).see()  # the largest first, where no distance is known
    assert [hazard.region.left for hazard in frame.hazards] == [300, 240]
    assert (frame.level, frame.summary, frame.problems) == (Level.WARN, "2 hazards, distance unknown", ())
    frame = Scene().see(camera=CAMERA)
    assert (frame.hazards, frame.candidates, frame.level, frame.summary) == ((), (), Level.OK, "no hazard")


def test_drivable_surface_is_closed_over_what_stands_on_it_alone() -> None:
    scene = Scene(NEAR, FACADE)
    scene.semantic[scene.score > 0] = 13
    surface = scene.see().drivable
    assert surface is not None
    assert surface[110 // 2 :].all()
    assert not surface[: 108 // 2].any()
    assert scene.see(settings=replace(AT_ONCE, on_road_only=False)).drivable is None


def test_with_a_road_prior_the_score_away_from_the_ground_must_be_higher() -> None:
    scene = Scene(NEAR, (20, 80, 30, 33))  # on a facade, and onto the road by three rows

    def areas(**settings: Any) -> list[int]:
        return [hazard.region.area for hazard in scene.see(settings=replace(AT_ONCE, **settings)).hazards]

    assert areas() == areas(road_prior=20.0, on_road_only=False) == [1200, 990]
    near, beside = areas(road_prior=20.0)
    assert near == 1200
    assert 90 <= beside < 300


def test_settings_that_leave_regions_out() -> None:
    assert Scene(FACADE).columns(on_road_only=False) == [100]
    assert Scene(NEAR, FAR).columns(roi=(0.0, 0.0, 0.5, 0.0, 0.5, 1.0, 0.0, 1.0)) == [240]
    assert Scene(NEAR, FAR).columns(min_hazard_area=145) == [300]
    for half_width, columns in ((0.3, []), (0.6, [300])):  # it lies about 0.7 m to the right and is 0.4 m wide
        assert Scene(NEAR).columns(CAMERA, corridor_half_width=half_width) == columns
        assert Scene(NEAR).columns(corridor_half_width=half_width) == [300]  # what has no place counts
    boxes = [(20 + 60 * index, 180, 20 + index, 20) for index in range(7)]
    frame = Scene(*boxes).see(settings=replace(AT_ONCE, max_hazards=3))
    assert [hazard.region.width for hazard in frame.hazards] == [26, 25, 24]
    assert frame.regions_left_out == 4


def test_alert_comes_with_the_frame_that_completes_the_trigger_and_goes_after_the_release(stage: HazardChain) -> None:
    there, gone = Scene(NEAR), Scene()
    settings = HazardSettings(trigger_count=3, trigger_window=5, release_count=4)
    frames = [there.see(stage, 0.1 * index, settings) for index in range(4)]
    assert [frame.level for frame in frames] == [Level.OK, Level.OK, Level.WARN, Level.WARN]
    assert [len(frame.candidates) for frame in frames] == [1, 1, 0, 0]
    frames = [gone.see(stage, 0.4 + 0.1 * index, settings) for index in range(5)]
    assert [frame.level for frame in frames] == [Level.WARN, Level.WARN, Level.WARN, Level.OK, Level.OK]
    assert [[hazard.missed for hazard in frame.hazards] for frame in frames] == [[1], [2], [3], [], []]
    assert [len(frame.lost) for frame in frames] == [0, 0, 0, 1, 0]
    assert frames[3].lost[0].level is Level.OK


def test_settings_work_from_the_next_frame_on_and_reset_gives_new_ids(stage: HazardChain) -> None:
    scene, slow = Scene(NEAR), HazardSettings(trigger_count=3, trigger_window=5)
    assert scene.see(stage, 0.0, slow).hazards == ()
    assert len(scene.see(stage, 0.1, replace(slow, trigger_count=2)).hazards) == 1
    (hazard,) = scene.see(stage, 0.2, replace(slow, min_hazard_area=2000)).hazards
    assert (hazard.id, hazard.missed) == (1, 1)
    stage.reset()
    assert scene.see(stage, 0.3).hazards[0].id == 2


def test_frames_are_read_and_not_written(stage: HazardChain) -> None:
    scene = Scene(NEAR, FAR)
    unknown, disparity = scene.score > 0, np.full(SHAPE, 9.0, np.float32)
    for array in (scene.semantic, scene.score, unknown, disparity):
        array.flags.writeable = False
    frame = stage.update(0.0, scene.semantic, scene.score, unknown, 0.0, AT_ONCE, CAMERA, disparity, 3.0)
    assert {hazard.source for hazard in frame.hazards} == {Source.DISPARITY}
    assert scene.see(disparity=disparity).hazards[0].source is Source.NONE  # there is no camera


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"camera": replace(CAMERA, width=1024)}, "camera_info is for 1024x256"),
        ({"camera": replace(CAMERA, pitch=0.4)}, "horizon above the image"),
        ({"camera": CAMERA, "disparity": np.ones((9, 9), np.float32)}, "the disparity is 9x9"),
        ({"camera": CAMERA, "ego_speed": math.nan}, "ego speed is nan"),
        ({"camera": CAMERA, "ego_speed": math.inf}, "ego speed is inf"),
    ],
)
def test_bad_input_is_named_and_the_hazard_stays(stage: HazardChain, more: dict[str, Any], problem: str) -> None:
    for stamp in (0.0, 0.1, 0.2):
        frame = Scene(NEAR).see(stage, stamp, **more)
        assert [hazard.id for hazard in frame.hazards] == [1]
        assert frame.level >= Level.WARN
        assert len(frame.problems) == 1
        assert problem in frame.problems[0]


def test_what_stands_in_the_way_of_judging_is_named(stage: HazardChain) -> None:
    scene = Scene(NEAR)
    scene.see(stage, 50.0)
    assert "jumps back by 50" in scene.see(stage, 0.0).problems[0]
    trees = HazardChain((SemanticClass("tree", (0, 0, 0)),), CONFIDENCE)
    assert "no drivable class" in scene.see(trees).problems[0]
    scene.semantic[:] = BUILDING
    frame = scene.see(camera=CAMERA)
    assert len(frame.hazards) == 1
    assert "no road in sight" in frame.problems[0]


@pytest.mark.parametrize("camera", [CAMERA, None])
def test_a_frame_that_is_anomalous_all_over(stage: HazardChain, camera: Camera | None) -> None:
    for stamp in (0.0, 0.1):
        (hazard,) = Scene((0, 0, 512, 256)).see(stage, stamp, camera=camera).hazards
        assert (hazard.region.width, hazard.region.height, hazard.id) == (512, 256, 1)


@pytest.mark.parametrize("density", [0.01, 0.1, 0.3, 0.6])
def test_noise_hides_nothing_large_and_stays_bounded(stage: HazardChain, density: float) -> None:
    scene = Scene((280, 180, 60, 50))
    random = np.random.default_rng(0)
    settings = replace(AT_ONCE, max_hazards=10)
    for stamp in range(3):
        noisy = np.where(random.random(SHAPE) < density, np.float32(2.0), scene.score)
        frame = stage.update(0.1 * stamp, scene.semantic, noisy, noisy > 0, 0.0, settings, CAMERA)
        assert any(
            hazard.region.left < 310 < hazard.region.left + hazard.region.width
            and hazard.region.top < 205 < hazard.region.top + hazard.region.height
            for hazard in frame.hazards
        )
        assert len(frame.hazards) + len(frame.candidates) + len(frame.lost) <= 20


def test_scores_that_are_infinite_or_no_number() -> None:
    scene = Scene(NEAR)
    scene.score[195:200, 305:310] = math.nan
    scene.score[205, 320] = math.inf
    (hazard,) = scene.see(camera=CAMERA).hazards
    assert (hazard.region.peak_score, hazard.probability) == (math.inf, 1.0)


def test_arrays_of_different_frames_are_refused(stage: HazardChain) -> None:
    scene = Scene()
    with pytest.raises(ValueError, match="differ"):
        stage.update(0.0, scene.semantic[:9], scene.score, scene.score > 0, 0.0, AT_ONCE)
    with pytest.raises(ValueError, match="bool"):
        stage.update(0.0, scene.semantic, scene.score, np.full(SHAPE, 255, np.uint8), 0.0, AT_ONCE)


def test_levels_are_those_of_diagnostic_status() -> None:
    diagnostic_msgs = pytest.importorskip("diagnostic_msgs.msg")
    for level in Level:
        assert getattr(diagnostic_msgs.DiagnosticStatus, level.name) == bytes([level])


@pytest.mark.parametrize(
    ("distance", "speed", "level"),
    [
        (60.0, None, Level.OK),
        (50.0, None, Level.WARN),
        (15.0, None, Level.ERROR),
        (15.1, None, Level.WARN),
        (60.0, 10.0, Level.OK),  # 6 s
        (60.0, 15.0, Level.WARN),  # 4 s
        (60.0, 30.0, Level.ERROR),  # 2 s
        (60.0, 0.05, Level.OK),
        (60.0, -30.0, Level.OK),
        (5.0, 0.0, Level.ERROR),
        (None, 10.0, Level.WARN),
        (None, None, Level.WARN),
    ],
)
def test_level_by_distance_and_time(distance: float | None, speed: float | None, level: Level) -> None:
    settings = HazardSettings(warn_distance=50.0, error_distance=15.0, warn_time=4.0, error_time=2.0)
    assert hazard_level(distance, time_to_reach(distance, speed), settings) is level
