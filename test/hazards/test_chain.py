# SPDX-License-Identifier: Apache-2.0
"""From masks to hazards and an alert, frame by frame; and every kind of bad input."""

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

SHAPE = (256, 512)
CAMERA = Camera(512, 256, 565.0, 565.0, 255.5, 127.5, 0.2, 0.04, 1.22)
AT_ONCE = HazardSettings(trigger_count=1, trigger_window=1)
CONFIDENCE = Confidence(-1.0, 2.0)
ROAD, BUILDING = 0, 2


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
        self, chain: HazardChain, stamp: float = 0.0, settings: HazardSettings = AT_ONCE, **more: Any
    ) -> HazardFrame:
        """Runs the chain over the scene."""
        return chain.update(stamp, self.semantic, self.score, self.score > 0, 0.0, settings, **more)


def chain() -> HazardChain:
    return HazardChain(CITYSCAPES_CLASSES, CONFIDENCE)


NEAR, FAR, FACADE = (300, 190, 40, 30), (240, 120, 12, 12), (100, 40, 30, 30)


def test_a_hazard_with_all_that_is_known_of_it() -> None:
    frame = Scene(NEAR).see(chain(), 7.0, camera=CAMERA, ego_speed=5.0)
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


def test_the_nearest_comes_first_and_the_facade_not_at_all() -> None:
    frame = Scene(FAR, FACADE, NEAR).see(chain(), camera=CAMERA)
    assert [hazard.region.left for hazard in frame.hazards] == [300, 240]


def test_without_a_camera_the_largest_comes_first_and_warns() -> None:
    frame = Scene(FAR, NEAR).see(chain())
    assert [hazard.region.left for hazard in frame.hazards] == [300, 240]
    assert {hazard.distance for hazard in frame.hazards} == {None}
    assert frame.level is Level.WARN
    assert frame.summary == "2 hazards, distance unknown"
    assert frame.problems == ()


def test_an_empty_frame() -> None:
    frame = Scene().see(chain(), camera=CAMERA)
    assert (frame.hazards, frame.candidates, frame.level, frame.summary) == ((), (), Level.OK, "no hazard")


def test_drivable_surface_is_closed_over_what_stands_on_it_alone() -> None:
    scene = Scene(NEAR, FACADE)
    scene.semantic[scene.score > 0] = 13
    surface = scene.see(chain()).drivable
    assert surface is not None
    assert surface[110 // 2 :].all()
    assert not surface[: 108 // 2].any()


def test_everything_is_a_hazard_off_the_road_too_if_asked() -> None:
    frame = Scene(FACADE).see(chain(), settings=replace(AT_ONCE, on_road_only=False))
    assert len(frame.hazards) == 1
    assert frame.drivable is None


def test_with_a_road_prior_the_score_away_from_the_ground_must_be_higher() -> None:
    beside = (20, 80, 30, 33)  # on a facade, and onto the road by three rows
    scene = Scene(NEAR, beside)
    plain = scene.see(chain())
    assert [hazard.region.area for hazard in plain.hazards] == [1200, 990]
    lowered = scene.see(chain(), settings=replace(AT_ONCE, road_prior=20.0))
    facade = lowered.hazards[1].region
    assert lowered.hazards[0].region == plain.hazards[0].region
    assert (facade.left, facade.width, facade.top + facade.height) == (20, 30, 113)
    assert facade.area < 300
    off = replace(AT_ONCE, road_prior=20.0, on_road_only=False)
    assert [hazard.region.area for hazard in Scene(NEAR, beside).see(chain(), settings=off).hazards] == [1200, 990]


def test_region_of_interest_and_smallest_area() -> None:
    left_half = (0.0, 0.0, 0.5, 0.0, 0.5, 1.0, 0.0, 1.0)
    assert [h.region.left for h in Scene(NEAR, FAR).see(chain(), settings=replace(AT_ONCE, roi=left_half)).hazards] == [
        240
    ]
    large = replace(AT_ONCE, min_hazard_area=145)
    assert [h.region.left for h in Scene(NEAR, FAR).see(chain(), settings=large).hazards] == [300]


def test_corridor_takes_what_reaches_into_it_and_what_has_no_place() -> None:
    scene = Scene(NEAR)  # about 0.7 m to the right, 0.4 m wide
    lateral = scene.see(chain(), camera=CAMERA).hazards[0].lateral
    assert lateral == pytest.approx(0.69, abs=0.1)
    for half_width, hazards in ((0.3, 0), (0.6, 1)):
        settings = replace(AT_ONCE, corridor_half_width=half_width)
        assert len(scene.see(chain(), settings=settings, camera=CAMERA).hazards) == hazards
        assert len(scene.see(chain(), settings=settings).hazards) == 1


def test_the_largest_are_judged_and_the_others_counted() -> None:
    boxes = [(20 + 60 * index, 180, 20 + index, 20) for index in range(7)]
    frame = Scene(*boxes).see(chain(), settings=replace(AT_ONCE, max_hazards=3))
    assert [hazard.region.width for hazard in frame.hazards] == [26, 25, 24]
    assert frame.regions_left_out == 4


def test_alert_comes_with_the_frame_that_completes_the_trigger_and_goes_after_the_release() -> None:
    stage, there, gone = chain(), Scene(NEAR), Scene()
    settings = HazardSettings(trigger_count=3, trigger_window=5, release_count=4)
    frames = [there.see(stage, 0.1 * index, settings) for index in range(4)]
    assert [frame.level for frame in frames] == [Level.OK, Level.OK, Level.WARN, Level.WARN]
    assert [len(frame.candidates) for frame in frames] == [1, 1, 0, 0]
    frames = [gone.see(stage, 0.4 + 0.1 * index, settings) for index in range(5)]
    assert [frame.level for frame in frames] == [Level.WARN, Level.WARN, Level.WARN, Level.OK, Level.OK]
    assert [[hazard.missed for hazard in frame.hazards] for frame in frames] == [[1], [2], [3], [], []]
    assert [len(frame.lost) for frame in frames] == [0, 0, 0, 1, 0]
    assert frames[3].lost[0].level is Level.OK


def test_settings_work_from_the_next_frame_on() -> None:
    stage, scene = chain(), Scene(NEAR)
    slow = HazardSettings(trigger_count=3, trigger_window=5)
    assert scene.see(stage, 0.0, slow).hazards == ()
    assert len(scene.see(stage, 0.1, replace(slow, trigger_count=2)).hazards) == 1
    assert scene.see(stage, 0.2, replace(slow, min_hazard_area=2000)).hazards[0].missed == 1


def test_reset_gives_new_ids() -> None:
    stage, scene = chain(), Scene(NEAR)
    assert scene.see(stage).hazards[0].id == 1
    stage.reset()
    assert scene.see(stage).hazards[0].id == 2


def test_frames_are_read_and_not_written() -> None:
    scene = Scene(NEAR, FAR)
    unknown, disparity = scene.score > 0, np.full(SHAPE, 9.0, np.float32)
    for array in (scene.semantic, scene.score, unknown, disparity):
        array.flags.writeable = False
    frame = chain().update(0.0, scene.semantic, scene.score, unknown, 0.0, AT_ONCE, CAMERA, disparity, 3.0)
    assert {hazard.source for hazard in frame.hazards} == {Source.DISPARITY}


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"camera": replace(CAMERA, width=1024)}, "camera_info is for 1024x256"),
        ({"camera": replace(CAMERA, fx=0.0)}, "fx = 0.0"),
        ({"camera": replace(CAMERA, mount_height=math.nan)}, "mounting height is nan"),
        ({"camera": replace(CAMERA, pitch=math.nan)}, "pitch is nan"),
        ({"camera": replace(CAMERA, pitch=0.4)}, "horizon above the image"),
        ({"camera": replace(CAMERA, pitch=-0.4)}, "horizon below the image"),
        ({"camera": CAMERA, "disparity": np.ones((9, 9), np.float32)}, "the disparity is 9x9"),
        ({"camera": CAMERA, "ego_speed": math.nan}, "ego speed is nan"),
        ({"camera": CAMERA, "ego_speed": math.inf}, "ego speed is inf"),
    ],
)
def test_bad_input_is_named_and_the_hazard_stays(more: dict[str, Any], problem: str) -> None:
    stage = chain()
    for stamp in (0.0, 0.1, 0.2):
        frame = Scene(NEAR).see(stage, stamp, **more)
        assert [hazard.id for hazard in frame.hazards] == [1]
        assert frame.level >= Level.WARN
        assert len(frame.problems) == 1
        assert problem in frame.problems[0]


def test_disparity_without_a_camera_is_not_used() -> None:
    frame = Scene(NEAR).see(chain(), disparity=np.ones(SHAPE, np.float32))
    assert frame.hazards[0].source is Source.NONE


def test_bag_loop_is_named() -> None:
    stage, scene = chain(), Scene(NEAR)
    scene.see(stage, 50.0)
    frame = scene.see(stage, 0.0)
    assert "jumps back by 50" in frame.problems[0]
    assert [hazard.id for hazard in frame.hazards] == [2]


@pytest.mark.parametrize("camera", [CAMERA, None])
def test_a_frame_that_is_anomalous_all_over(camera: Camera | None) -> None:
    stage, scene = chain(), Scene((0, 0, 512, 256))
    for stamp in (0.0, 0.1):
        (hazard,) = scene.see(stage, stamp, camera=camera).hazards
        assert (hazard.region.width, hazard.region.height) == (512, 256)
        assert hazard.id == 1


def test_no_road_and_no_such_class_are_named() -> None:
    scene = Scene(NEAR)
    scene.semantic[:] = BUILDING
    frame = scene.see(chain(), camera=CAMERA)
    assert len(frame.hazards) == 1
    assert "no road in sight" in frame.problems[0]
    trees = HazardChain((SemanticClass("tree", (0, 0, 0)),), CONFIDENCE)
    assert "no drivable class" in scene.see(trees).problems[0]


@pytest.mark.parametrize("density", [0.01, 0.1, 0.3, 0.6])
def test_noise_hides_nothing_large_and_stays_bounded(density: float) -> None:
    scene, stage = Scene((280, 180, 60, 50)), chain()
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
    (hazard,) = scene.see(chain(), camera=CAMERA).hazards
    assert hazard.region.peak_score == math.inf
    assert hazard.probability == 1.0


def test_arrays_of_different_frames_are_refused() -> None:
    scene = Scene()
    with pytest.raises(ValueError, match="differ"):
        chain().update(0.0, scene.semantic[:9], scene.score, scene.score > 0, 0.0, AT_ONCE)
    with pytest.raises(ValueError, match="bool"):
        chain().update(0.0, scene.semantic, scene.score, np.full(SHAPE, 255, np.uint8), 0.0, AT_ONCE)
