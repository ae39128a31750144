# SPDX-License-Identifier: Apache-2.0
"""Regions by blocks, beside those that labelling every pixel of the frame finds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from densehybrid_ros.hazards.hazard import Region
from densehybrid_ros.hazards.regions import MaskedRegion, find_clusters, largest_regions


def regions_of(unknown: np.ndarray, min_area: int = 50, most: int = 50) -> tuple[list[MaskedRegion], int]:
    clusters = find_clusters(unknown, min_area)
    return largest_regions(clusters, np.arange(1, len(clusters.pixels)), unknown, min_area, most)


def blobs(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Ellipses of 10 to 22 pixels across, at least 24 apart."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    unknown = np.zeros((height, width), dtype=bool)
    for row in range(14, height - 12, 48):
        for column in range(14, width - 12, 48):
            tall, wide, down, across = random.uniform(5, 11, 4)
            unknown |= ((rows - row - down + 8) / tall) ** 2 + ((columns - column - across + 8) / wide) ** 2 <= 1
    return unknown


def labelled_regions(unknown: np.ndarray, score: np.ndarray, min_area: int) -> list[Region]:
    """SciPy's labelling of every pixel, described region by region."""
    numbers, count = ndimage.label(unknown, structure=np.ones((3, 3)))
    regions = []
    for number in range(1, count + 1):
        rows, columns = np.nonzero(numbers == number)
        if len(rows) >= min_area:
            left, top = int(columns.min()), int(rows.min())
            box = (left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top)
            values = score[rows, columns]
            centroid = (float(columns.mean()), float(rows.mean()))
            regions.append(Region(len(rows), *box, centroid, float(values.max()), float(values.mean())))
    return regions


def key(region: Region | MaskedRegion) -> tuple[int, int, int, int, int]:
    return region.area, region.left, region.top, region.width, region.height


@pytest.mark.parametrize(("height", "width"), [(192, 384), (100, 515), (130, 1030), (257, 1024)])
def test_same_regions_as_labelling_the_whole_frame(height: int, width: int) -> None:
    unknown = blobs(height, width)
    score = np.random.default_rng(1).standard_normal(unknown.shape).astype(np.float32)
    expected = labelled_regions(unknown, score, min_area=50)
    found, left_out = regions_of(unknown, most=200)
    assert left_out == 0
    assert len(expected) > 5
    assert len(found) == len(expected)
    described = [region.describe(score) for region in found]
    for other in expected:
        own = min(described, key=lambda region: math.dist(region.centroid, other.centroid))
        assert key(own) == key(other)
        assert own.centroid == pytest.approx(other.centroid, abs=0.5)
        assert own.mean_score == pytest.approx(other.mean_score, abs=1e-5)
        assert own.peak_score == other.peak_score


def test_the_largest_are_kept_and_the_others_counted() -> None:
    unknown = np.zeros((200, 400), dtype=bool)
    for index in range(6):
        unknown[20 : 32 + index, 10 + 60 * index : 22 + 60 * index] = True
    found, left_out = regions_of(unknown, most=2)
    assert [region.height for region in found] == [17, 16]
    assert left_out == 4


def test_speckle_hides_no_region_and_is_none() -> None:
    random = np.random.default_rng(0)
    unknown = random.random((256, 1024)) < 0.02
    assert regions_of(unknown) == ([], 0)
    unknown[100:130, 500:540] = True
    (region,), _ = regions_of(unknown)
    assert (region.left, region.top) == (pytest.approx(500, abs=3), pytest.approx(100, abs=3))


@pytest.mark.parametrize("gap", [1, 2, 7, 30])
def test_neighbours_stay_apart(gap: int) -> None:
    unknown = np.zeros((64, 1600), dtype=bool)
    unknown[8:24, 100:116] = True
    unknown[8:24, 116 + gap : 132 + gap] = True
    found, _ = regions_of(unknown)
    assert sorted(region.left for region in found) == [100, 116 + gap]
    assert [region.area for region in found] == [256, 256]


def test_a_region_takes_no_pixels_of_its_neighbour() -> None:
    """A bar within the bounding box of an L."""
    unknown = np.zeros((128, 1024), dtype=bool)
    unknown[0:100, 400:410] = True
    unknown[90:100, 400:520] = True
    unknown[10:40, 450:480] = True
    assert [region.area for region in regions_of(unknown)[0]] == [100 * 10 + 10 * 110, 900]


def test_large_regions_are_seen_in_steps() -> None:
    unknown = np.zeros((512, 1024), dtype=bool)
    unknown[101:400, 201:900] = True
    unknown[450:470, 40:60] = True
    large, small = regions_of(unknown)[0]
    assert large.step > 1
    assert large.crop(unknown).shape == large.mask.shape
    assert large.area == pytest.approx(299 * 699, rel=0.03)
    assert (large.left, large.top) == (pytest.approx(201, abs=8), pytest.approx(101, abs=8))
    centroid = large.describe(np.zeros(unknown.shape, np.float32)).centroid
    assert centroid == (pytest.approx(550, abs=8), pytest.approx(250, abs=8))
    assert (small.area, small.step) == (400, 1)
    # An L of 606 x 606 pixels, which is no multiple of the step, with a square in its box.
    unknown = np.zeros((640, 640), dtype=bool)
    unknown[10:616, 10:110] = unknown[516:616, 10:616] = unknown[100:200, 300:400] = True
    large, small = regions_of(unknown)[0]
    assert (large.step, large.area) == (8, pytest.approx(606 * 100 + 506 * 100, rel=0.03))
    assert (small.left, small.top, small.area) == (300, 100, pytest.approx(10000, rel=0.02))


def test_all_anomalous_and_nothing_anomalous() -> None:
    (region,), left_out = regions_of(np.ones((256, 512), dtype=bool))
    assert (region.left, region.top, region.width, region.height) == (0, 0, 512, 256)
    assert left_out == 0
    assert regions_of(np.zeros((256, 512), dtype=bool)) == ([], 0)


def test_dense_noise_is_bounded() -> None:
    unknown = np.random.default_rng(0).random((512, 1024)) < 0.5
    found, left_out = regions_of(unknown, min_area=1, most=10)
    assert len(found) <= 10
    assert left_out >= 0


def test_a_region_holds_its_own_pixels_alone_where_another_lies_in_its_box() -> None:
    unknown = np.zeros((64, 160), bool)
    unknown[10:40, 100:106] = unknown[34:40, 100:150] = True
    unknown[10:20, 108:122] = True  # so near that both are of one cluster
    score = np.where(unknown, np.float32(2), np.float32(-50))
    score[10:20, 108:122] = 9.0
    corner, patch = (region for region in regions_of(unknown)[0])
    assert (key(corner), key(patch)) == ((444, 100, 10, 50, 30), (140, 108, 10, 14, 10))
    assert [region.describe(score).mean_score for region in (corner, patch)] == [2.0, 9.0]
    marked = np.zeros_like(unknown)
    for region in (corner, patch):
        box, mask = region.unfolded()
        assert not marked[box][mask].any()
        marked[box] |= mask
    np.testing.assert_array_equal(marked, unknown)
