# SPDX-License-Identifier: Apache-2.0
"""The classes' names, and how those of two models differ."""

from __future__ import annotations

import pytest

from densehybrid_ros.datasets.taxonomy import (
    CITYSCAPES_CLASSES,
    UNKNOWN_CLASS,
    SemanticClass,
    class_difference,
    color_table,
)

ROAD, SKY = SemanticClass("road", (1, 2, 3)), SemanticClass("sky", (4, 5, 6))


@pytest.mark.parametrize(
    ("found", "wanted", "words"),
    [
        ((ROAD, SKY), (ROAD, SKY), ""),
        ((ROAD,), (SemanticClass("road", (9, 9, 9)),), ""),  # a palette is no class
        ((ROAD,), (ROAD, SKY), "has 1 classes, not 2"),
        ((SKY, ROAD), (ROAD, SKY), "calls class 0 'sky', not 'road'"),
    ],
)
def test_names_and_order_make_the_difference(
    found: tuple[SemanticClass, ...], wanted: tuple[SemanticClass, ...], words: str
) -> None:
    assert class_difference(found, wanted) == words


def test_the_table_ends_with_unknown_and_is_black_beyond() -> None:
    table = color_table((ROAD, SKY))
    assert [tuple(row) for row in table[:3]] == [ROAD.color, SKY.color, UNKNOWN_CLASS.color]
    assert not table[3:].any()
    assert len(CITYSCAPES_CLASSES) == 19
