# SPDX-License-Identifier: Apache-2.0
"""What is known at a frame, and what is named where an input is missing or wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from plain_messages import (
    CAMERA,
    SIZE,
    camera_info,
    disparity_image,
    header,
    odometry,
    optical,
    transform,
    transforms,
)

from densehybrid_ros.perception.inputs import Inputs
from densehybrid_ros.perception.perception import Frame
from densehybrid_ros.perception.settings import Settings

IMAGE = np.zeros((*SIZE, 3), np.uint8)
MOUNTED = Settings(camera_height=CAMERA.mount_height, camera_pitch=CAMERA.pitch)
WITH_BASE = Settings(base_frame="base_link")


def at(inputs: Inputs, settings: Settings = WITH_BASE, milliseconds: int = 0, frame_id: str = "optical") -> Frame:
    return inputs.frame(IMAGE, header(milliseconds, frame_id), settings, now=100.0)


@pytest.fixture
def inputs() -> Inputs:
    found = Inputs()
    found.store_camera_info(camera_info())
    return found


def pose(height: float) -> Any:
    return transforms(transform("base_link", "optical", (1.5, 0.0, height), optical(CAMERA.pitch)))


def test_nothing_known_and_nothing_asked_for() -> None:
    frame = at(Inputs(), Settings())
    known = {"image": IMAGE, "stamp": 5.0, "frame_id": "optical"}
    assert vars(frame) == vars(Frame(**known))
    assert at(Inputs(), Settings(ego_speed=3.0)).ego_speed == 3.0


def test_missing_camera_info_is_named_where_the_mount_is_given() -> None:
    assert at(Inputs(), MOUNTED).problems == ("camera_info: none has arrived",)


def test_camera_and_mount(inputs: Inputs) -> None:
    known = at(inputs, MOUNTED)
    assert known.problems == ()
    assert known.placed_camera == replace(CAMERA, baseline=0.0, pitch=pytest.approx(CAMERA.pitch))
    nowhere = at(inputs, Settings())
    assert nowhere.placed_camera is None
    assert nowhere.problems[0].startswith("mount: no camera_height")
    low = at(inputs, Settings(camera_height=0.015))
    assert low.placed_camera is None
    assert "0.015 m" in low.problems[0]


def test_disparity_without_a_mount_still_gives_a_camera(inputs: Inputs) -> None:
    inputs.store_disparity(disparity_image(np.full(SIZE, 8.0), focal=2 * CAMERA.fx, baseline=0.2))
    known = at(inputs, Settings())
    assert known.problems == ()
    camera = known.placed_camera
    assert known.disparity is not None
    assert camera is not None
    assert camera.fx * camera.baseline == pytest.approx(2 * CAMERA.fx * 0.2)
    late = at(inputs, MOUNTED, milliseconds=1000)
    assert late.disparity is None
    assert late.placed_camera is not None  # the ground plane is left
    assert late.problems[0].startswith("disparity: none within 0.05 s of the frame")


def test_transforms_give_the_mount(inputs: Inputs) -> None:
    assert at(inputs).problems[0].startswith("tf: no transforms connect 'optical' with 'base_link'")
    inputs.store_transforms(pose(1.4))
    known = at(inputs)
    assert known.problems == ()
    assert known.mount is not None
    assert (known.mount.to_base.height, known.mount.to_base.pitch) == pytest.approx((1.4, CAMERA.pitch))
    assert known.mount.frame == "base_link"


def test_a_picture_that_does_not_name_its_frame_has_that_of_its_camera_info(inputs: Inputs) -> None:
    inputs.store_transforms(pose(1.4))
    assert at(inputs, frame_id="").mount is not None


def test_bad_transforms_are_named_and_the_parameters_count(inputs: Inputs) -> None:
    inputs.store_transforms(pose(float("nan")))
    known = at(inputs, replace(MOUNTED, base_frame="base_link"))
    assert "from 'optical' to 'base_link' has a number that is not finite" in known.problems[0]
    assert known.placed_camera is not None
    assert known.placed_camera.mount_height == CAMERA.mount_height


def test_odometry_outdates() -> None:
    inputs = Inputs()
    inputs.store_odometry(odometry(12.5), now=99.0)
    assert at(inputs).ego_speed == 12.5
    old = at(inputs, Settings(source_timeout=0.5, ego_speed=4.0))
    assert old.ego_speed == 4.0
    assert old.problems == ("odometry: nothing for 1.0 s",)
    inputs.store_odometry(odometry(float("nan")), now=100.0)
    assert at(inputs, Settings()).problems == ("odometry: the speed ahead is not finite",)


def test_a_picture_that_is_black_for_want_of_bits_is_named() -> None:
    dark = np.full((*SIZE, 3), 15, np.uint8)
    (problem,) = Inputs().frame(dark, header(), Settings(), 100.0, deep=True).problems
    assert problem.startswith("input_bits: the picture is nearly black (16 bits count; if the camera gives fewer")
    assert Inputs().frame(dark + np.uint8(1), header(), Settings(), 100.0, deep=True).problems == ()
    assert Inputs().frame(dark, header(), Settings(), 100.0).problems == ()


def test_texts_of_messages_are_cut() -> None:
    problem = at(Inputs(), frame_id="\n" + "x" * 10**6).problems[0]
    assert problem.startswith("tf: no transforms connect '?xxx")
    assert len(problem) < 300
