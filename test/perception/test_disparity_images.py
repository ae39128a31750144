# SPDX-License-Identifier: Apache-2.0
"""Disparity images of any vendor, matched by stamp."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from plain_messages import disparity_image, header

from densehybrid_ros.errors import InputError
from densehybrid_ros.perception.geometry import disparity_of, disparity_pixels, nanoseconds
from densehybrid_ros.perception.inputs import DisparityBuffer

PIXELS = np.array([[0.0, -1.0, np.nan, 7.0], [np.inf, -np.inf, 0.5, 2.0]] * 3, dtype=np.float32)
VALID = np.array([[0.0, 0.0, 0.0, 7.0], [0.0, 0.0, 0.5, 2.0]] * 3, dtype=np.float32)


def stamp(milliseconds: int) -> int:
    return nanoseconds(header(milliseconds).stamp)


def test_invalid_ones_become_zero() -> None:
    np.testing.assert_array_equal(disparity_pixels(disparity_image(PIXELS)), VALID)


def test_smallest_disparity_of_the_message_counts() -> None:
    message = disparity_image(PIXELS)
    message.min_disparity = 2.0
    np.testing.assert_array_equal(disparity_pixels(message), np.where(VALID >= 2.0, VALID, 0.0))
    message.min_disparity = float("nan")
    np.testing.assert_array_equal(disparity_pixels(message), VALID)


def test_padding_and_byte_order() -> None:
    message = disparity_image(PIXELS)
    padded = np.hstack([PIXELS.astype(">f4").view(np.uint8), np.full((6, 3), 77, np.uint8)])
    message.image.step, message.image.is_bigendian = padded.shape[1], 1
    message.image.data = np.ascontiguousarray(padded).ravel()
    np.testing.assert_array_equal(disparity_pixels(message), VALID)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"encoding": "16UC1"}, "encoding '16UC1'"),
        ({"height": 7}, "size disagrees with the data"),
        ({"step": 4}, "size disagrees with the data"),
        ({"width": 0}, "size disagrees with the data"),
    ],
)
def test_other_images_are_named(changes: dict[str, object], reason: str) -> None:
    message = disparity_image(PIXELS)
    for name, value in changes.items():
        setattr(message.image, name, value)
    with pytest.raises(InputError, match=reason):
        disparity_pixels(message)


def test_the_nearest_stamp_is_taken() -> None:
    buffer = DisparityBuffer()
    assert not buffer.is_used
    with pytest.raises(InputError, match="none has arrived"):
        buffer.at(stamp(0), 0.05, (6, 4))
    for milliseconds in (100, 300, 200):
        buffer.add(disparity_image(VALID + milliseconds, milliseconds))
    assert buffer.is_used
    found = buffer.at(stamp(190), 0.05, (6, 4))
    assert found.pixels.max() == 207.0
    assert (found.focal, found.baseline) == pytest.approx((353.0, 0.21))
    with pytest.raises(InputError, match=r"none within 0.05 s of the frame \(the nearest is off by -0.100 s\)"):
        buffer.at(stamp(400), 0.05, (6, 4))


@pytest.mark.parametrize(("focal", "baseline"), [(0.0, 0.2), (400.0, 0.0), (float("nan"), 0.2)])
def test_without_focal_length_or_baseline_there_is_no_distance(focal: float, baseline: float) -> None:
    with pytest.raises(InputError, match="tell no distance"):
        disparity_of(disparity_image(PIXELS, focal=focal, baseline=baseline), (6, 4))


def test_the_sign_of_the_baseline_does_not_matter() -> None:
    assert disparity_of(disparity_image(PIXELS, baseline=-0.21), (6, 4)).baseline == pytest.approx(0.21)


@pytest.mark.parametrize("bounds", [{"min_disparity": -64.0, "max_disparity": 0.0}, {"min_disparity": 0.0}, {}])
def test_disparities_below_zero_are_turned_round(bounds: dict[str, Any]) -> None:
    np.testing.assert_array_equal(disparity_pixels(disparity_image(-VALID, **bounds)), VALID)
    even = np.full((4, 6), -8.0)
    np.testing.assert_array_equal(disparity_pixels(disparity_image(even, **bounds)), -even)


@pytest.mark.parametrize(("mark", "lowest"), [(-1.0, 0.0), (-16.0, 0.0), (-5.0, -4.0), (0.0, 0.0), (np.nan, 0.0)])
def test_a_picture_without_a_valid_disparity_has_none(mark: float, lowest: float) -> None:
    found = disparity_pixels(disparity_image(np.full((4, 6), mark), min_disparity=lowest))
    assert not found.any()


def test_a_mark_below_zero_beside_disparities_above_stays_invalid() -> None:
    pixels = np.array([[-1.0, -1.0, -1.0, 9.0]] * 3)
    np.testing.assert_array_equal(disparity_pixels(disparity_image(pixels)), np.maximum(pixels, 0.0))


def test_half_the_resolution_is_enlarged_and_tells_the_same_distance() -> None:
    small = disparity_of(disparity_image(np.full((80, 160), 4.0), focal=176.5), (160, 320))
    assert small.pixels.shape == (160, 320)
    assert small.focal * small.baseline / small.pixels[0, 0] == pytest.approx(176.5 * 0.21 / 4.0)
    assert small.focal == pytest.approx(353.0)


def test_another_part_of_the_view_is_named() -> None:
    with pytest.raises(InputError, match="is 4x6, but the frame is 8x6"):
        disparity_of(disparity_image(PIXELS), (6, 8))
