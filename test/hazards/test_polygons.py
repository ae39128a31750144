# SPDX-License-Identifier: Apache-2.0
"""The polygon in which regions count."""

from __future__ import annotations

import numpy as np
import pytest

from densehybrid_ros.hazards.polygon import polygon_mask, polygon_problem

WHOLE = (0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0)


def test_polygon_takes_the_pixels_whose_centre_is_inside() -> None:
    mask = polygon_mask((0.0, 0.0, 0.5, 0.0, 0.5, 1.0, 0.0, 1.0), 7, 10)
    assert mask is not None
    np.testing.assert_array_equal(mask, np.arange(10)[None, :].repeat(7, axis=0) < 5)
    triangle = polygon_mask((0.0, 1.0, 0.5, 0.0, 1.0, 1.0), 50, 50)
    assert triangle is not None
    assert triangle.mean() == pytest.approx(0.5, abs=0.02)
    np.testing.assert_array_equal(triangle, triangle[:, ::-1])
    assert not triangle.flags.writeable


def test_concave_polygon() -> None:
    """An L: the upper right quarter is outside."""
    mask = polygon_mask((0.0, 0.0, 0.5, 0.0, 0.5, 0.5, 1.0, 0.5, 1.0, 1.0, 0.0, 1.0), 8, 8)
    assert mask is not None
    expected = np.ones((8, 8), dtype=bool)
    expected[:4, 4:] = False
    np.testing.assert_array_equal(mask, expected)


def test_whole_image_needs_no_mask() -> None:
    assert polygon_mask(WHOLE, 5, 8) is None


@pytest.mark.parametrize(
    ("polygon", "problem"),
    [
        (WHOLE, None),
        ((0.0, 0.0, 1.0, 1.0), "3 corners"),
        ((0.0, 0.0, 1.0, 1.0, 0.5), "3 corners"),
        ((0.0, 0.0, 1.0, 1.0, 0.5, 1.1), "0..1"),
        ((0.0, 0.0, 1.0, 1.0, 0.5, float("nan")), "0..1"),
        ((0.0, 0.0, 0.5, 0.5, 1.0, 1.0), "no area"),
    ],
)
def test_what_is_wrong_with_a_polygon(polygon: tuple[float, ...], problem: str | None) -> None:
    found = polygon_problem(polygon)
    assert found is None if problem is None else found is not None and problem in found
