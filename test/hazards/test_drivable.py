"""Which regions lie on the drivable surface or reach onto it."""

from __future__ import annotations

import numpy as np
import pytest

from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES, SemanticClass
from densehybrid_ros.hazards.regions import (
    DrivableSurface,
    drivable_ids,
    drivable_surface,
    find_clusters,
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
    ids: tuple[int, ...] = (0,),
    horizon: float | None = 64.0,
) -> tuple[bool, DrivableSurface]:
    """Puts one anomalous box there, which the network takes for class ``own``; whether it is a hazard."""
    unknown = np.zeros((HEIGHT, WIDTH), dtype=bool)
    unknown[slice(*rows), slice(*columns)] = True
    if own is not None:
        semantic = np.where(unknown, np.uint8(own), semantic)
    surface = drivable_surface(semantic, ids, (*ids, SIDEWALK), find_clusters(unknown, 50), horizon)
    assert surface.reached.tolist()[0] is False
    return bool(surface.reached[1]), surface


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


def test_what_lies_flat_and_is_taken_for_road_is_on_it() -> None:
    assert look(street(), (90, 110), (120, 140), own=None)[0]


def test_surface_is_closed_over_the_hole_that_a_hazard_makes() -> None:
    _, surface = look(street(), (90, 110), (120, 140))
    step = HEIGHT // surface.surface.shape[0]
    assert surface.surface[100 // step, 130 // step]
    assert not surface.surface[100 // step, 20 // step]
    _, apart = look(street(), (34, 42), (100, 132))
    assert not apart.surface[38 // step, 120 // step]


@pytest.mark.parametrize(("rows", "hazard"), [((80, 120), True), ((60, 70), True), ((10, 40), False)])
def test_without_a_road_everything_below_the_horizon_counts(rows: tuple[int, int], hazard: bool) -> None:
    found, surface = look(np.full((HEIGHT, WIDTH), BUILDING, dtype=np.uint8), rows, (100, 140))
    assert found is hazard
    assert surface.problem == "no road in sight: every region below the horizon counts"
    found, surface = look(np.full((HEIGHT, WIDTH), BUILDING, dtype=np.uint8), rows, (100, 140), horizon=None)
    assert found
    assert surface.problem == "no road in sight: every region counts"


def test_without_a_drivable_class_everything_counts() -> None:
    found, surface = look(street(), (5, 20), (100, 140), ids=())
    assert found
    assert surface.problem is not None
    assert "no drivable class" in surface.problem


def test_region_that_fills_the_picture_counts() -> None:
    assert look(street(), (0, HEIGHT), (0, WIDTH), own=None)[0]


def test_drivable_classes_by_name() -> None:
    assert drivable_ids(CITYSCAPES_CLASSES, ("road",)) == (0,)
    assert drivable_ids(CITYSCAPES_CLASSES, ("road", "sidewalk")) == (0, 1)
    other = (SemanticClass("tree", (0, 0, 0)), SemanticClass("road", (1, 1, 1)))
    assert drivable_ids(other, ("road",)) == (1,)
    assert drivable_ids(other, ("water",)) == ()
    assert drivable_ids(CITYSCAPES_CLASSES, ("",)) == (0,)  # those that are marked
    assert drivable_ids(other, ("",)) == ()
    assert look(street(), (90, 110), (10, 30), ids=(ROAD, SIDEWALK))[0]


def test_misspelt_classes_are_found() -> None:
    assert unknown_classes(CITYSCAPES_CLASSES, ["road", "sidewlk"]) == ["sidewlk"]
    assert unknown_classes(CITYSCAPES_CLASSES, [""]) == []
    assert unknown_classes(CITYSCAPES_CLASSES, ["road"]) == []
