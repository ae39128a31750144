# SPDX-License-Identifier: Apache-2.0
"""Which hazard is which region."""

from __future__ import annotations

import math

from densehybrid_ros.hazards.hazard import Location, Region, Source
from densehybrid_ros.hazards.tracks import Sight, associate, box_of

WIDTH = 1000


def sight(column: float, row: float = 300.0, size: float = 40.0, place: tuple[float, float] | None = None) -> Sight:
    """A square box; ``place`` is its lateral offset and its distance in metres."""
    box = (column, row, math.log(size), math.log(size))
    if place is None:
        return Sight(box, Location())
    return Sight(box, Location((place[0], 1.2, place[1]), place[1], place[0], 0.5, 0.2, Source.DISPARITY))


def test_box_of_a_region_has_its_middle_at_pixel_centres() -> None:
    column, row, width, height = box_of(Region(8, 10, 20, 4, 2, (0.0, 0.0), 0.0))
    assert (column, row, round(math.exp(width)), round(math.exp(height))) == (11.5, 20.5, 4, 2)


def test_the_sum_of_all_costs_counts_and_not_the_first_best() -> None:
    """The first track overlaps both, the second only one of them."""
    assert associate([sight(100), sight(130)], [sight(122), sight(85)], WIDTH) == {0: 1, 1: 0}


def test_what_is_apart_in_image_and_on_the_ground_does_not_match() -> None:
    assert associate([sight(100)], [sight(300)], WIDTH) == {}
    assert associate([sight(100, place=(-3.0, 20.0))], [sight(300, place=(3.0, 20.0))], WIDTH) == {}
    assert associate([], [sight(300)], WIDTH) == associate([sight(300)], [], WIDTH) == {}


def test_what_is_apart_in_the_image_alone_matches_on_the_ground() -> None:
    """A kick of the camera's pitch moves all boxes and no place."""
    assert associate([sight(100, 300, place=(-1.0, 20.0))], [sight(100, 420, place=(-1.0, 20.5))], WIDTH) == {0: 0}


def test_of_equal_boxes_the_ground_decides() -> None:
    tracks = [sight(100, place=(0.0, 10.0)), sight(100, place=(0.0, 30.0))]
    seen = [sight(100, place=(0.0, 29.5)), sight(100, place=(0.0, 9.5))]
    assert associate(tracks, seen, WIDTH) == {0: 1, 1: 0}


def test_a_place_known_on_one_side_only_leaves_it_to_the_image() -> None:
    assert associate([sight(100, place=(0.0, 10.0))], [sight(104)], WIDTH) == {0: 0}
