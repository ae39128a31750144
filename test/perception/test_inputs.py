# SPDX-License-Identifier: Apache-2.0
"""What is known at a frame, and what is named where an input is missing or wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from plain_messages import CAMERA, SIZE, camera_info, disparity_image, header, odometry, optical, transform, transforms

from densehybrid_ros.errors import InputError
from densehybrid_ros.hazards.hazard import HazardFrame, Level
from densehybrid_ros.perception.alert import hazard_alert
from densehybrid_ros.perception.geometry import disparity_of, disparity_pixels
from densehybrid_ros.perception.images import StillPicture
from densehybrid_ros.perception.inputs import Inputs
from densehybrid_ros.perception.perception import Frame
from densehybrid_ros.perception.settings import Settings

IMAGE = np.zeros((*SIZE, 3), np.uint8)
MOUNTED = Settings(camera_height=CAMERA.mount_height, camera_pitch=CAMERA.pitch)
WITH_BASE = Settings(base_frame="base_link")
PIXELS = np.array([[0.0, -1.0, np.nan, 7.0], [np.inf, -np.inf, 0.5, 2.0]] * 3, dtype=np.float32)
VALID = np.array([[0.0, 0.0, 0.0, 7.0], [0.0, 0.0, 0.5, 2.0]] * 3, dtype=np.float32)
SAME, PLAIN = "camera frozen: the same picture", "camera frozen: pictures of one colour"


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
    assert vars(at(Inputs(), Settings())) == vars(Frame(image=IMAGE, stamp=5.0, frame_id="optical"))
    assert at(Inputs(), Settings(ego_speed=3.0)).ego_speed == 3.0
    assert at(Inputs(), MOUNTED).problems == ("camera_info: none has arrived",)


def test_camera_and_mount(inputs: Inputs) -> None:
    known = at(inputs, MOUNTED)
    assert known.problems == ()
    assert known.placed_camera == replace(CAMERA, baseline=0.0, pitch=pytest.approx(CAMERA.pitch))
    for settings, problem in ((Settings(), "mount: no camera_height"), (Settings(camera_height=0.015), "mount: ")):
        nowhere = at(inputs, settings)
        assert nowhere.placed_camera is None
        assert nowhere.problems[0].startswith(problem)


def test_disparity_without_a_mount_still_gives_a_camera(inputs: Inputs) -> None:
    inputs.store_disparity(disparity_image(np.full(SIZE, 8.0), focal=2 * CAMERA.fx, baseline=0.2))
    known = at(inputs, Settings())
    assert known.problems == ()
    assert known.disparity is not None
    assert known.placed_camera is not None
    assert known.placed_camera.fx * known.placed_camera.baseline == pytest.approx(2 * CAMERA.fx * 0.2)
    for milliseconds in (100, 300, 200):
        inputs.store_disparity(disparity_image(np.full(SIZE, milliseconds / 10), milliseconds))
    nearest = at(inputs, Settings(), milliseconds=190).disparity
    assert nearest is not None
    assert nearest.pixels.max() == 20.0
    late = at(inputs, MOUNTED, milliseconds=400)
    assert late.disparity is None
    assert late.placed_camera is not None  # the ground plane is left
    assert late.problems == ("disparity: none within 0.05 s of the frame (the nearest is off by -0.100 s)",)


def test_transforms_give_the_mount(inputs: Inputs) -> None:
    assert at(inputs).problems[0].startswith("tf: no transforms connect 'optical' with 'base_link'")
    inputs.store_transforms(pose(1.4))
    for frame_id in ("optical", ""):  # one that is not named is that of the camera_info
        known = at(inputs, frame_id=frame_id)
        assert known.problems == ()
        assert known.mount is not None
        assert (known.mount.to_base.height, known.mount.to_base.pitch) == pytest.approx((1.4, CAMERA.pitch))
    inputs.store_transforms(pose(float("nan")))
    known = at(inputs, replace(MOUNTED, base_frame="base_link"))
    assert "from 'optical' to 'base_link' has a number that is not finite" in known.problems[0]
    assert known.placed_camera is not None
    assert known.placed_camera.mount_height == CAMERA.mount_height  # the parameters count


def test_odometry_outdates() -> None:
    inputs = Inputs()
    inputs.store_odometry(odometry(12.5), now=99.0)
    assert at(inputs).ego_speed == 12.5
    old = at(inputs, Settings(source_timeout=0.5, ego_speed=4.0))
    assert (old.ego_speed, old.problems) == (4.0, ("odometry: nothing for 1.0 s",))
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


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (64, 96, 3), dtype=np.uint8)


def grey(value: int) -> np.ndarray:
    return np.full((64, 96, 3), value, np.uint8)


@pytest.mark.parametrize(
    ("pictures", "problems"),
    [
        ([noise(0), noise(1), noise(2), noise(3)], [None] * 4),
        ([noise(0)] * 4, [None, None, f"{SAME} for 2.0 s", f"{SAME} for 3.0 s"]),
        ([noise(0), noise(0), noise(0), noise(1)], [None, None, f"{SAME} for 2.0 s", None]),
        ([noise(0), grey(1), grey(2), grey(3), noise(0)], [None, None, None, f"{PLAIN} for 2.0 s", None]),
        ([noise(0), noise(0)[:, ::-1], noise(0), noise(0)[:32]], [None] * 4),
    ],
)
def test_a_camera_that_stays_frozen_is_named(pictures: list[np.ndarray], problems: list[str | None]) -> None:
    still = StillPicture()
    assert [still.problem(picture, second, 2.0) for second, picture in enumerate(pictures)] == problems


def test_the_alert_of_a_frozen_camera_is_a_warning() -> None:
    inputs = Inputs()
    first, last = (inputs.frame(noise(0), header(), Settings(source_timeout=2.0), now) for now in (7.0, 9.5))
    clear = HazardFrame(5.0, (), (), (), Level.OK, "no hazard", (), 0)
    alerts = [hazard_alert(clear, frame.problems, "optical", None, None, -3.0, (64, 96)) for frame in (first, last)]
    assert [(alert.level, alert.summary.message) for alert in alerts] == [
        (Level.OK, "no hazard"),
        (Level.WARN, f"{SAME} for 2.5 s; no hazard"),
    ]
    assert alerts[1].summary.values["problems"] == f"{SAME} for 2.5 s"


def test_invalid_disparities_become_zero() -> None:
    message = disparity_image(PIXELS)
    for lowest, expected in ((0.5, VALID), (2.0, np.where(VALID >= 2.0, VALID, 0.0)), (float("nan"), VALID)):
        message.min_disparity = lowest
        np.testing.assert_array_equal(disparity_pixels(message), expected)
    padded = np.hstack([PIXELS.astype(">f4").view(np.uint8), np.full((6, 3), 77, np.uint8)])
    message.image.step, message.image.is_bigendian = padded.shape[1], 1
    message.image.data = np.ascontiguousarray(padded).ravel()
    np.testing.assert_array_equal(disparity_pixels(message), VALID)


@pytest.mark.parametrize(("name", "value", "reason"), [("encoding", "16UC1", "'16UC1'"), ("step", 4, "size disagrees")])
def test_what_is_no_disparity_image_is_named(name: str, value: Any, reason: str) -> None:
    message = disparity_image(PIXELS)
    setattr(message.image, name, value)
    with pytest.raises(InputError, match=reason):
        disparity_pixels(message)


@pytest.mark.parametrize(("focal", "baseline"), [(0.0, 0.2), (400.0, 0.0), (float("nan"), 0.2)])
def test_without_focal_length_or_baseline_there_is_no_distance(focal: float, baseline: float) -> None:
    with pytest.raises(InputError, match="tell no distance"):
        disparity_of(disparity_image(PIXELS, focal=focal, baseline=baseline), (6, 4))
    assert disparity_of(disparity_image(PIXELS, baseline=-0.21), (6, 4)).baseline == pytest.approx(0.21)


@pytest.mark.parametrize("bounds", [{"min_disparity": -64.0, "max_disparity": 0.0}, {"min_disparity": 0.0}, {}])
def test_disparities_below_zero_are_turned_round(bounds: dict[str, Any]) -> None:
    for pixels in (VALID, np.full((4, 6), 8.0)):
        np.testing.assert_array_equal(disparity_pixels(disparity_image(-pixels, **bounds)), pixels)
    mixed = np.array([[-1.0, -1.0, -1.0, 9.0]] * 3)
    np.testing.assert_array_equal(disparity_pixels(disparity_image(mixed)), np.maximum(mixed, 0.0))


@pytest.mark.parametrize(("mark", "lowest"), [(-1.0, 0.0), (-16.0, 0.0), (-5.0, -4.0), (0.0, 0.0), (np.nan, 0.0)])
def test_a_picture_without_a_valid_disparity_has_none(mark: float, lowest: float) -> None:
    assert not disparity_pixels(disparity_image(np.full((4, 6), mark), min_disparity=lowest)).any()


def test_half_the_resolution_is_enlarged_and_tells_the_same_distance() -> None:
    small = disparity_of(disparity_image(np.full((80, 160), 4.0), focal=176.5), (160, 320))
    assert small.pixels.shape == (160, 320)
    assert small.focal * small.baseline / small.pixels[0, 0] == pytest.approx(176.5 * 0.21 / 4.0)
    with pytest.raises(InputError, match="is 4x6, but the frame is 8x6"):
        disparity_of(disparity_image(PIXELS), (6, 8))
