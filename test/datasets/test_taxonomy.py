# SPDX-License-Identifier: Apache-2.0
"""The classes' names, and how those of two models differ."""

from __future__ import annotations

from densehybrid_ros.datasets.taxonomy import (
    CITYSCAPES_CLASSES,
    UNKNOWN_CLASS,
    SemanticClass,
    class_difference,
    color_table,
)

ROAD, SKY = SemanticClass("road", (1, 2, 3)), SemanticClass("sky", (4, 5, 6))


def test_names_and_order_make_the_difference() -> None:
    assert class_difference((ROAD, SKY), (ROAD, SKY)) == ""
    assert class_difference((ROAD,), (SemanticClass("road", (9, 9, 9)),)) == "", "a palette is no class"
    assert class_difference((ROAD,), (ROAD, SKY)) == "has 1 classes, not 2"
    assert class_difference((SKY, ROAD), (ROAD, SKY)) == "calls class 0 'sky', not 'road'"


def test_the_table_ends_with_unknown_and_is_black_beyond() -> None:
    table = color_table((ROAD, SKY))
    assert [tuple(row) for row in table[:3]] == [ROAD.color, SKY.color, UNKNOWN_CLASS.color]
    assert not table[3:].any()
    assert len(CITYSCAPES_CLASSES) == 19
