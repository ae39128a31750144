# SPDX-License-Identifier: Apache-2.0
"""Masks in COCO's forms. The packed texts were made by the format's description, independently of the reader."""

from __future__ import annotations

import numpy as np
import pytest

from densehybrid_ros.datasets.coco_masks import decode_counts, fill_polygons, parse_counts


def pack(runs: list[int]) -> str:
    """Packs run lengths as the COCO API does."""
    text = ""
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        more = True
        while more:
            group = value & 0x1F
            value >>= 5
            more = value != (-1 if group & 0x10 else 0)
            text += chr(48 + (group | (0x20 if more else 0)))
    return text


@pytest.mark.parametrize("runs", [[0, 120], [41, 4, 75], [1, 2, 3, 40, 5, 60, 9], [10000, 31, 15, 16, 17, 100000, 1]])
def test_packed_runs_come_back(runs: list[int]) -> None:
    assert parse_counts(pack(runs)).tolist() == runs
    assert parse_counts(pack(runs).encode()).tolist() == runs
    assert parse_counts(runs).tolist() == runs


def test_a_known_text_is_read() -> None:
    # 6, 1, 40, 4, 5, 4, 5, 4, 21: the example in the source of the COCO API's masks, a picture of 9 x 10.
    runs = [6, 1, 40, 4, 5, 4, 5, 4, 21]
    assert pack(runs) == "61X13mN000`0"
    assert parse_counts("61X13mN000`0").tolist() == runs


def test_runs_go_down_the_columns() -> None:
    mask = decode_counts(np.array([1, 2, 3]), (3, 2))
    assert mask.tolist() == [[0, 0], [255, 0], [255, 0]]


@pytest.mark.parametrize("counts", ["61X13mN000`", [3, -1]])
def test_malformed_runs_are_refused(counts: str | list[int]) -> None:
    with pytest.raises(ValueError, match=r"end within|negative"):
        parse_counts(counts)
    with pytest.raises(ValueError, match="runs cover 5 pixels of 6"):
        decode_counts(np.array([5]), (2, 3))


def test_polygons_are_filled_each_by_itself() -> None:
    square = np.array([[1, 1], [4, 1], [4, 4], [1, 4]], np.float32)
    mask = fill_polygons([square, square + np.array([5, 0]), square[:, ::-1]], (6, 12))
    assert (mask[1:4, 1:4] == 255).all()
    assert (mask[1:4, 6:9] == 255).all()
    assert mask[0, :5].max() == 0
    assert mask[:, 10:].max() == 0


# Areas and packed runs that pycocotools 2.0 gives in a picture of 100x80 and of 9x10: frPyObjects, merge, area.
CONVEX = [10.25, 10.5, 60.75, 12.1, 58.0, 40.3, 12.4, 38.9]
AREAS = [
    (1356, [CONVEX]),
    (2051, [CONVEX, [50, 30, 90, 35, 70, 70]]),  # two parts that overlap
    (71, [[5, 5, 90, 5.6, 90, 6.1, 5, 5.9]]),  # thinner than a pixel
    (57, [[3.2, 4.1, 3.9, 4.1, 3.9, 60.7, 3.2, 60.7]]),
    (197, [[0, 0, 100, 80, 100, 82, 0, 2]]),
    (1, [[20.5, 20.5, 22.3, 20.5, 21.4, 22.1]]),  # next to nothing
    (4960, [[-4.5, -3.2, 30.1, -8.8, 110.7, 50.2, 40.9, 90.4]]),  # beyond the picture
    (1070, [[50, 5, 80, 60, 10, 25, 90, 25, 20, 60]]),  # crosses itself
]


@pytest.mark.parametrize(("area", "polygons"), AREAS)
def test_polygons_cover_what_the_coco_api_covers(area: int, polygons: list[list[float]]) -> None:
    mask = fill_polygons([np.array(polygon).reshape(-1, 2) for polygon in polygons], (80, 100))
    assert np.count_nonzero(mask) == area


def test_polygons_cover_the_very_pixels_of_the_coco_api() -> None:
    mask = fill_polygons([np.array([[1.2, 1.1], [7.6, 2.3], [4.9, 8.8]])], (10, 9))
    np.testing.assert_array_equal(mask, decode_counts(parse_counts(";192O1N2NO1N2N:"), (10, 9)))
