"""Disparity images are matched by stamp and read whatever their form."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from hazard_peer import disparity_image
from std_msgs.msg import Header

from densehybrid_ros.errors import InputError
from densehybrid_ros.nodes.messages import fill_data
from densehybrid_ros.perception.disparity import DisparityBuffer, disparity_pixels

pytestmark = pytest.mark.ros

PIXELS = np.array([[0.0, -1.0, np.nan, 7.0], [np.inf, -np.inf, 0.5, 2.0]] * 3, dtype=np.float32)
VALID = np.array([[0.0, 0.0, 0.0, 7.0], [0.0, 0.0, 0.5, 2.0]] * 3, dtype=np.float32)


def at(milliseconds: int) -> Header:
    header = Header()
    header.stamp.sec, header.stamp.nanosec = 5, milliseconds * 10**6
    return header


def nanoseconds(milliseconds: int) -> int:
    return 5 * 10**9 + milliseconds * 10**6


def test_invalid_ones_become_zero() -> None:
    np.testing.assert_array_equal(disparity_pixels(disparity_image(PIXELS, at(0))), VALID)


def test_smallest_disparity_of_the_message_counts() -> None:
    message = disparity_image(PIXELS, at(0))
    message.min_disparity = 2.0
    np.testing.assert_array_equal(disparity_pixels(message), np.where(VALID >= 2.0, VALID, 0.0))
    message.min_disparity = float("nan")
    np.testing.assert_array_equal(disparity_pixels(message), VALID)


def test_padding_and_byte_order() -> None:
    message = disparity_image(PIXELS, at(0))
    padded = np.hstack([PIXELS.astype(">f4").view(np.uint8), np.full((6, 3), 77, np.uint8)])
    message.image.step, message.image.is_bigendian = padded.shape[1], 1
    message.image.data = type(message.image.data)("B")
    fill_data(message.image, np.ascontiguousarray(padded))
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
    message = disparity_image(PIXELS, at(0))
    for name, value in changes.items():
        setattr(message.image, name, value)
    with pytest.raises(InputError, match=reason):
        disparity_pixels(message)


def test_the_nearest_stamp_is_taken() -> None:
    buffer = DisparityBuffer()
    assert not buffer.is_used
    with pytest.raises(InputError, match="none has arrived"):
        buffer.at(nanoseconds(0), 0.05, (6, 4))
    for milliseconds in (100, 300, 200):
        buffer.add(disparity_image(VALID + milliseconds, at(milliseconds)))
    assert buffer.is_used
    found = buffer.at(nanoseconds(190), 0.05, (6, 4))
    assert found.pixels.max() == 207.0
    assert found.offset == pytest.approx(0.01)
    assert (found.focal, found.baseline) == pytest.approx((353.0, 0.21))
    with pytest.raises(InputError, match=r"none within 0.05 s of the frame; the nearest is off by -0.100 s"):
        buffer.at(nanoseconds(400), 0.05, (6, 4))


@pytest.mark.parametrize(
    ("focal", "baseline", "reason"),
    [(0.0, 0.2, "tell no distance"), (400.0, 0.0, "tell no distance"), (float("nan"), 0.2, "tell no distance")],
)
def test_without_focal_length_or_baseline_there_is_no_distance(focal: float, baseline: float, reason: str) -> None:
    buffer = DisparityBuffer()
    buffer.add(disparity_image(PIXELS, at(0), focal, baseline))
    with pytest.raises(InputError, match=reason):
        buffer.at(nanoseconds(0), 0.05, (6, 4))


def test_another_size_is_named() -> None:
    buffer = DisparityBuffer()
    buffer.add(disparity_image(PIXELS, at(0)))
    with pytest.raises(InputError, match="is 4x6, but the frame is 8x12"):
        buffer.at(nanoseconds(0), 0.05, (12, 8))
