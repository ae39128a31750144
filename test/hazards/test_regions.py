"""Connected regions of unknown pixels, and the polygon in which they count."""

from __future__ import annotations

import numpy as np
import pytest

from densehybrid_ros.hazards.regions import find_regions, polygon_mask, polygon_problem

WHOLE = (0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0)


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A bar of 12 pixels, a diagonal of 3, and one pixel alone."""
    unknown = np.zeros((20, 30), dtype=bool)
    unknown[2:5, 4:8] = True
    unknown[[10, 11, 12], [20, 21, 22]] = True
    unknown[18, 0] = True
    score = np.full(unknown.shape, -5.0, dtype=np.float32)
    score[3, 6] = 7.5
    score[4, 8] = 99.0  # inside the bounding box's neighbourhood, but not unknown
    return unknown, score


def test_regions_come_with_the_largest_first() -> None:
    regions = find_regions(*scene())
    assert [region.area for region in regions] == [12, 3, 1]
    largest = regions[0]
    assert (largest.left, largest.top, largest.width, largest.height) == (4, 2, 4, 3)
    assert largest.centroid == (5.5, 3.0)
    assert largest.peak_score == 7.5


def test_diagonal_neighbours_belong_together() -> None:
    assert find_regions(*scene())[1].width == 3


def test_peak_is_that_of_the_region_and_not_of_its_box() -> None:
    unknown = np.eye(6, dtype=bool)
    score = np.where(unknown, 1.0, 50.0).astype(np.float32)
    assert find_regions(unknown, score)[0].peak_score == 1.0


@pytest.mark.parametrize(("min_area", "count"), [(1, 3), (3, 2), (4, 1), (12, 1), (13, 0)])
def test_small_regions_are_left_out(min_area: int, count: int) -> None:
    assert len(find_regions(*scene(), min_area=min_area)) == count


def test_regions_are_cut_at_the_region_of_interest() -> None:
    unknown, score = scene()
    inside = polygon_mask((0.0, 0.0, 0.2, 0.0, 0.2, 1.0, 0.0, 1.0), 20, 30)  # columns 0 to 5
    assert [region.area for region in find_regions(unknown, score, inside=inside)] == [6, 1]


def test_no_unknown_pixel_no_region() -> None:
    assert find_regions(np.zeros((4, 5), dtype=bool), np.zeros((4, 5), dtype=np.float32)) == ()


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


def test_more_regions_than_sixteen_bits_can_count() -> None:
    unknown = np.zeros((600, 600), dtype=bool)
    unknown[::2, ::2] = True
    unknown[:, 500:] = True
    (largest,) = find_regions(unknown, np.zeros(unknown.shape, dtype=np.float32), min_area=2)
    assert largest.area == 600 * 100
    assert (largest.left, largest.width) == (500, 100)
