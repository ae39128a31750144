# SPDX-License-Identifier: Apache-2.0
"""The tables from other data sets' classes to those of Cityscapes."""

from __future__ import annotations

import pytest

from densehybrid_ros.datasets.label_mappings import (
    MAPILLARY_VISTAS,
    WILDDASH,
    WILDDASH_NAMES,
    mapillary_train_id,
    wilddash_train_id,
)
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES, VOID

NAMES = [item.name for item in CITYSCAPES_CLASSES]


def test_the_tables_name_classes_of_cityscapes_and_each_is_reached() -> None:
    for table in (MAPILLARY_VISTAS, WILDDASH):
        assert set(table.values()) - {""} == set(NAMES)


def test_wilddash_has_81_categories_and_its_table_no_other() -> None:
    assert len(set(WILDDASH_NAMES)) == 81
    assert set(WILDDASH) <= set(WILDDASH_NAMES)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ego vehicle", VOID),
        ("egovehicle", VOID),
        ("rectification border", VOID),
        ("train", 16),
        ("street-light", VOID),
        ("road-marking", 0),
        ("Pickup", 14),
        ("van", 13),
        ("comet", None),
    ],
)
def test_wilddash_names_of_all_releases(name: str, expected: int | None) -> None:
    assert wilddash_train_id(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("construction--flat--parking-aisle", "road"),
        ("construction--barrier--concrete-block", None),
        ("construction--structure--tunnel", "building"),
        ("human--person", "person"),
        ("human--person--person-group", "person"),
        ("marking-only--discrete--text", "road"),
        ("object--support--pole-group", "pole"),
        ("object--traffic-light", "traffic light"),
        ("object--traffic-light--cyclists", "traffic light"),
        ("object--traffic-sign--back", None),
        ("object--traffic-sign--temporary-front", "traffic sign"),
        ("object--vehicle--other-vehicle", None),
        ("void--ground", None),
    ],
)
def test_mapillarys_longest_beginning_counts(name: str, expected: str | None) -> None:
    assert mapillary_train_id(name) == (VOID if expected is None else NAMES.index(expected))


def test_an_unknown_name_is_told_from_void() -> None:
    assert mapillary_train_id("weather--fog") is None
