# SPDX-License-Identifier: Apache-2.0
"""Where a region stands, and what happens when camera or disparity are no good."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.hazards.hazard import Location, Source
from densehybrid_ros.hazards.location import Locator, horizon_row
from densehybrid_ros.hazards.regions import MaskedRegion
from densehybrid_ros.hazards.settings import HazardSettings

SHAPE = (200, 400)
CAMERA = Camera(400, 200, 450.0, 440.0, 199.5, 99.5, 0.2, 0.05, 1.3)
SETTINGS = HazardSettings()


def box_at(x: float, z: float, width: float = 0.6, height: float = 0.5) -> MaskedRegion:
    """The picture of an upright box whose foot stands on the road at x, z (optical frame)."""
    # The road plane in the optical frame: y cos(pitch) + z sin(pitch) = mount height.
    y = (CAMERA.mount_height - z * math.sin(CAMERA.pitch)) / math.cos(CAMERA.pitch)
    left, right = (CAMERA.cx + CAMERA.fx * (x + side * width / 2) / z for side in (-1, 1))
    bottom, top = (CAMERA.cy + CAMERA.fy * value / z for value in (y, y - height))
    columns, rows = round(right) - round(left), round(bottom + 0.5) - round(top + 0.5)
    mask = np.ones((rows, columns), dtype=np.uint8)
    return MaskedRegion(mask.size, round(left + 0.5), round(top + 0.5), columns, rows, mask, 1)


def locate(region: MaskedRegion, camera: Camera | None = CAMERA, disparity: np.ndarray | None = None) -> Location:
    (found,) = Locator(SHAPE, SETTINGS, camera, disparity).locate([region])
    return found


@pytest.mark.parametrize(("x", "z"), [(0.0, 6.0), (1.5, 10.0), (-2.0, 12.0)])
def test_ground_plane(x: float, z: float) -> None:
    found = locate(box_at(x, z))
    assert found.source is Source.GROUND_PLANE
    assert found.position is not None
    assert found.distance is not None
    assert found.distance_std is not None
    assert abs(found.distance - z) < found.distance_std
    assert found.lateral == pytest.approx(x, abs=0.1)
    assert found.width == pytest.approx(0.6, abs=0.1)
    assert found.position == (found.lateral, pytest.approx(1.3 - 0.05 * z, abs=0.1), found.distance)


def test_ground_plane_uncertainty_is_what_moving_foot_and_pitch_does() -> None:
    region = box_at(0.0, 10.0)
    found = locate(region)
    assert found.distance is not None
    lower = replace(region, top=region.top + 2)
    by_row = abs((locate(lower).distance or 0) - found.distance)
    by_pitch = abs((locate(region, replace(CAMERA, pitch=CAMERA.pitch + 0.005)).distance or 0) - found.distance)
    assert found.distance_std == pytest.approx(math.hypot(by_row, by_pitch), rel=0.1)


def test_disparity_comes_first() -> None:
    region = box_at(1.0, 8.0)
    disparity = np.zeros(SHAPE, dtype=np.float32)
    inside = region.crop(disparity)
    inside[:] = CAMERA.fx * CAMERA.baseline / 7.0  # nearer than the ground plane says
    inside[::2] = np.nan
    inside[0] = 1000.0  # outliers
    found = locate(region, disparity=disparity)
    assert found.source is Source.DISPARITY
    assert found.distance == pytest.approx(7.0, abs=0.01)
    # A quarter of a pixel of 12.86.
    assert found.distance_std == pytest.approx(7.0 * 0.25 / (450 * 0.2 / 7.0), rel=0.01)


def test_disparity_that_spreads_is_less_certain() -> None:
    region = box_at(1.0, 8.0)
    flat = np.full(SHAPE, 11.0, dtype=np.float32)
    mixed = flat + np.random.default_rng(0).normal(0, 2, SHAPE).astype(np.float32)
    certain, uncertain = locate(region, disparity=flat), locate(region, disparity=mixed)
    assert (uncertain.distance_std or 0) > 3 * (certain.distance_std or 0) > 0


@pytest.mark.parametrize("invalid", [0.0, -1.0, np.nan, np.inf])
def test_without_valid_disparity_the_ground_plane_answers(invalid: float) -> None:
    disparity = np.full(SHAPE, invalid, dtype=np.float32)
    assert locate(box_at(0.0, 8.0), disparity=disparity).source is Source.GROUND_PLANE
    assert locate(box_at(0.0, 8.0), None, disparity) == Location()  # nothing is known without a camera


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"width": 800}, "800x200, the image is 400x200"),
        ({"fx": 0.0}, "fx = 0.0"),
        ({"fy": math.nan}, "fy = nan"),
        ({"cx": math.nan}, "cx = nan"),
        ({"cx": 1500.0}, "cx = 1500, far from the middle of 400 pixels"),
        ({"cy": 199.0}, "cy = 199, far from the middle of 200 pixels"),
        ({"fx": 5000.0, "fy": 5000.0}, "a view of 4.58 degrees"),
        ({"fx": 10.0, "fy": 10.0}, "a view of 174 degrees"),
        ({"fy": 1200.0}, "fx = 450, but fy = 1200"),
        ({"fx": 1e308, "fy": 1e308}, "fx = 1e+308"),
        ({"mount_height": 0.0}, "mounting height is 0.0"),
        ({"mount_height": 80.0}, "mounting height is 80.0"),
        ({"mount_height": math.nan}, "mounting height is nan"),
        ({"pitch": 0.6}, "pitch is 0.6"),
        ({"pitch": math.nan}, "pitch is nan"),
        ({"fx": 1000.0, "fy": 1000.0, "pitch": 0.3}, "horizon far above the image"),
        ({"pitch": -0.5}, "horizon below the image"),
    ],
)
def test_bad_camera_is_named_and_not_used(change: dict[str, float], problem: str) -> None:
    locator = Locator(SHAPE, SETTINGS, replace(CAMERA, **change))
    assert locator.locate([box_at(0.0, 8.0)]) == [Location()]
    assert len(locator.problems) == 1
    assert problem in locator.problems[0]
    assert locator.horizon is None


@pytest.mark.parametrize(
    ("camera", "disparity", "source", "problems"),
    [
        ({"pitch": 0.4}, None, Source.GROUND_PLANE, ["horizon above the image"]),
        ({}, (100, 200), Source.GROUND_PLANE, ["the disparity is 200x100, the image 400x200"]),
        ({"baseline": 0.0}, SHAPE, Source.GROUND_PLANE, ["baseline is 0.0"]),
        ({"baseline": math.nan}, SHAPE, Source.GROUND_PLANE, ["baseline is nan"]),
        ({"mount_height": 80.0}, SHAPE, Source.DISPARITY, ["mounting height is 80.0"]),
        ({"mount_height": 0.0}, SHAPE, Source.DISPARITY, []),  # not known, and nobody says that it is
    ],
)
def test_what_is_bad_is_named_and_the_rest_is_used(
    camera: dict[str, float], disparity: tuple[int, int] | None, source: Source, problems: list[str]
) -> None:
    image = None if disparity is None else np.full(disparity, 9.0, np.float32)
    locator = Locator(SHAPE, SETTINGS, replace(CAMERA, **camera), image)
    (found,) = locator.locate([box_at(0.0, 8.0)])
    assert found.source is source
    assert len(locator.problems) == len(problems)
    assert all(map(str.__contains__, locator.problems, problems))


def test_places_that_are_not_known() -> None:
    locator = Locator(SHAPE, SETTINGS, CAMERA)
    floating = replace(box_at(0.0, 8.0), top=20)
    assert locator.locate([floating, floating]) == [Location(), Location()]
    assert locator.problems == ["a region's foot lies above the horizon: its distance is unknown"]
    just_below = replace(box_at(0.0, 8.0), top=70, height=9, mask=np.ones((9, 20), np.uint8))
    assert horizon_row(CAMERA) < 78.5
    assert locate(just_below) == Location()  # as uncertain as it is far
