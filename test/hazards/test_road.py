# SPDX-License-Identifier: Apache-2.0
"""The ground, which regions lie on it or reach onto it, and the road in the score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES, SemanticClass
from densehybrid_ros.hazards.regions import find_clusters
from densehybrid_ros.hazards.road import (
    REACH,
    Ground,
    class_table,
    find_ground,
    hazard_mask,
    reaching,
    road_hazard,
    unknown_classes,
)

HEIGHT, WIDTH = 128, 256
ROAD, SIDEWALK, BUILDING, SKY = 0, 1, 2, 10


def street() -> np.ndarray:
    """Sky over buildings; below row 64 a road of columns 64 to 191 between sidewalks."""
    semantic = np.full((HEIGHT, WIDTH), SIDEWALK, dtype=np.uint8)
    semantic[:30] = SKY
    semantic[30:64] = BUILDING
    semantic[64:, 64:192] = ROAD
    return semantic


def look(
    semantic: np.ndarray,
    rows: tuple[int, int],
    columns: tuple[int, int],
    own: int | None = 13,
    names: tuple[str, ...] = ("",),
    horizon: float | None = 64.0,
) -> tuple[bool, Ground]:
    """Puts one anomalous box there, which the network takes for class ``own``; whether it is a hazard."""
    unknown = np.zeros((HEIGHT, WIDTH), dtype=bool)
    unknown[slice(*rows), slice(*columns)] = True
    if own is not None:
        semantic = np.where(unknown, np.uint8(own), semantic)
    ground = find_ground(semantic, CITYSCAPES_CLASSES, names, horizon)
    reached = reaching(find_clusters(unknown, 50), ground)
    assert reached.tolist()[0] is False
    return bool(reached[1]), ground


@pytest.mark.parametrize(
    ("rows", "columns", "hazard"),
    [
        ((90, 110), (120, 140), True),  # in the middle of the road
        ((40, 110), (110, 150), True),  # stands on it and towers over the horizon
        ((100, 128), (110, 150), True),  # cut by the lower border
        ((90, 100), (40, 74), True),  # from the sidewalk onto it
        ((90, 100), (40, 62), True),  # to its very edge
        ((90, 110), (10, 30), True),  # on the sidewalk, which may be a road that was taken for one
        ((40, 55), (100, 140), True),  # its lower part is not marked: the gap is less than half its size
        ((30, 40), (100, 110), False),  # as high above the road, and small
        ((34, 42), (100, 132), False),  # on a facade
        ((5, 20), (100, 140), False),  # in the sky
        ((80, 128), (60, 196), True),  # hides the whole width of the road up to the bumper; road beyond
    ],
)
def test_on_or_reaching_onto(rows: tuple[int, int], columns: tuple[int, int], hazard: bool) -> None:
    assert look(street(), rows, columns)[0] is hazard


def test_what_is_taken_for_road_is_on_it() -> None:
    assert look(street(), (90, 110), (120, 140), own=None)[0]
    assert look(street(), (0, HEIGHT), (0, WIDTH), own=None)[0]  # it fills the picture


def test_ground_is_closed_over_gaps_and_filled_where_a_hazard_stands() -> None:
    ground = find_ground(street(), CITYSCAPES_CLASSES)
    np.testing.assert_array_equal(ground.surface, np.repeat(np.arange(64) >= 32, WIDTH // 2).reshape(64, 128))
    for rows, columns in (((90, 110), (120, 140)), ((40, 110), (110, 150)), ((100, 128), (110, 150))):
        found = look(street(), rows, columns)[1]
        assert not found.surface[rows[1] // 2 - 5, columns[0] // 2 + 5]
        np.testing.assert_array_equal(found.prior(50.0), ground.prior(50.0))
    gap = street()
    gap[80:84] = BUILDING  # all across, so that nothing fills it
    assert find_ground(gap, CITYSCAPES_CLASSES).surface[32:].all()
    gap[80:100] = BUILDING
    assert not find_ground(gap, CITYSCAPES_CLASSES).surface[45].any()


@pytest.mark.parametrize(("rows", "hazard"), [((80, 120), True), ((60, 70), True), ((10, 40), False)])
def test_without_a_road_everything_below_the_horizon_counts(rows: tuple[int, int], hazard: bool) -> None:
    found, ground = look(np.full((HEIGHT, WIDTH), BUILDING, dtype=np.uint8), rows, (100, 140))
    assert found is hazard
    assert ground.problem == "no road in sight: every region below the horizon counts"
    found, ground = look(np.full((HEIGHT, WIDTH), BUILDING, dtype=np.uint8), rows, (100, 140), horizon=None)
    assert found
    assert ground.problem == "no road in sight: every region counts"
    assert not ground.prior(50.0).any()


def test_score_is_lowered_the_more_the_farther_the_ground_is() -> None:
    score = np.full((HEIGHT, WIDTH), 3.0, np.float32)
    lowered = road_hazard(score, find_ground(street(), CITYSCAPES_CLASSES), 50.0)
    assert (lowered[64:] == 3.0).all()
    assert (lowered[: int(64 - REACH * WIDTH) - 2] == -47.0).all()
    column = lowered[:, 100]
    assert (np.diff(column) >= 0).all()
    assert column[62] == pytest.approx(3.0 - 50.0 * 2 / (REACH * WIDTH), abs=0.5)  # the block beside the ground


@pytest.mark.parametrize("shape", [(1024, 2048), (135, 1545), (90, 770), (31, 63), (1, 1)])
def test_mask_of_hazards_is_where_the_lowered_score_exceeds_the_threshold(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(shape[0])
    semantic = np.full(shape, BUILDING, np.uint8)
    semantic[3 * shape[0] // 5 :] = ROAD
    score = random.normal(0.0, 20.0, shape).astype(np.float32)
    unknown = score > 5.0
    given = unknown.copy()
    for array in (score, unknown):
        array.flags.writeable = False
    ground = find_ground(semantic, CITYSCAPES_CLASSES)
    made = hazard_mask(unknown, score, 5.0, ground, 25.0)
    lowered = road_hazard(score, ground, 25.0)
    decided = np.abs(lowered - 5.0) > 1e-4  # both round
    np.testing.assert_array_equal(made[decided], (lowered > 5.0)[decided])
    np.testing.assert_array_equal(unknown, given)
    assert made.sum() < given.sum() or shape[0] == 1


def test_classes_by_name() -> None:
    def ids(classes: Sequence[SemanticClass], *names: str) -> list[int]:
        return np.flatnonzero(class_table(classes, names)).tolist()

    other = (SemanticClass("tree", (0, 0, 0)), SemanticClass("road", (1, 1, 1)))
    assert ids(CITYSCAPES_CLASSES, "road", "sidewalk") == [0, 1]
    assert (ids(other, "road"), ids(other, "water")) == ([1], [])
    assert (ids(CITYSCAPES_CLASSES, ""), ids(other, "")) == ([0], [])  # those that are marked
    found, ground = look(street(), (5, 20), (100, 140), names=("water",))
    assert found
    assert ground.problem == "the model has no drivable class: every region counts"
    assert unknown_classes(CITYSCAPES_CLASSES, ["road", "sidewlk", ""]) == ["sidewlk"]
