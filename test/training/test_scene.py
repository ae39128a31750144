"""What a crop shows: ground, sizes by perspective, colours, and the way from frame to crop."""

from __future__ import annotations

import numpy as np
import pytest

from densehybrid_ros.datasets.training_frames import Overview
from densehybrid_ros.training.crops import Crop, Photometry
from densehybrid_ros.training.scene import CAMERA_HEIGHT, HORIZON, Scene

FRAME = (400, 800)


def scene(crop: Crop, road_from: int = 60) -> Scene:
    """A frame that is road (0) from an overview's row on, red there and blue above."""
    labels = np.full((100, 200), 10, np.uint8)
    labels[road_from:] = 0
    colors = np.zeros((100, 200, 3), np.uint8)
    colors[road_from:, :, 0], colors[:road_from, :, 2] = 255, 255
    return Scene((200, 200), crop, FRAME, Overview(colors, labels), stretch=2.0)


def crop_of(rows: slice, columns: slice, flip: bool = False) -> Crop:
    return Crop(rows, columns, (200, 200), (0, 0), flip, Photometry())


def test_negatives_stand_on_the_ground_and_shrink_with_distance() -> None:
    shown = scene(crop_of(slice(200, 400), slice(100, 300)))
    rng = np.random.default_rng(0)
    points = [shown.draw_ground((0,), rng) for _ in range(300)]
    for point in points:
        assert 240 - 200 <= point.row < 200
        assert 0 <= point.column < 200
        frame_row = point.row + 200
        assert point.pixels_per_metre == pytest.approx((frame_row - HORIZON * 400) / CAMERA_HEIGHT)
    # Far rows are drawn more often than their share of the pixels.
    assert np.mean([point.row < 120 for point in points]) > 0.55


def test_an_enlarged_crop_enlarges_what_stands_in_it() -> None:
    shown = scene(crop_of(slice(300, 400), slice(100, 200)))
    assert shown.detail == (2.0, 4.0)
    point = shown.draw_ground((0,), np.random.default_rng(0))
    frame_row = point.row / 2 + 300
    assert point.pixels_per_metre == pytest.approx(2 * (frame_row - HORIZON * 400) / CAMERA_HEIGHT)


def test_without_road_or_without_a_frame_nothing_stands_anywhere() -> None:
    rng = np.random.default_rng(0)
    assert scene(crop_of(slice(0, 200), slice(0, 200))).draw_ground((0,), rng) is None
    assert Scene((200, 200)).draw_ground((0,), rng) is None
    assert Scene((200, 200)).detail == (1.0, 1.0)


@pytest.mark.parametrize("flip", [False, True])
def test_a_place_of_the_frame_is_found_in_the_crop(flip: bool) -> None:
    shown = scene(crop_of(slice(200, 300), slice(100, 200), flip))
    row, column = shown.to_crop(250.0, 125.0)
    assert row == 100
    assert column == (149 if flip else 50)


def test_colours_around_a_place_are_the_frames() -> None:
    shown = scene(crop_of(slice(200, 400), slice(100, 300)))
    below, above = shown.colors(150, 100, 10), shown.colors(10, 100, 5)
    np.testing.assert_array_equal(below.mean(0), [1, 0, 0])
    np.testing.assert_array_equal(above.mean(0), [0, 0, 1])
    assert Scene((200, 200)).colors(0, 0, 5) is None
