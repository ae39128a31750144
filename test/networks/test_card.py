# SPDX-License-Identifier: Apache-2.0
"""Model cards: each entry is meaningful or refused in one line that names it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from densehybrid_ros.confidence import REGION_FEATURES, Confidence, RegionClassifier
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES, SemanticClass
from densehybrid_ros.errors import InputError
from densehybrid_ros.networks import ModelCard, read_card, shipped_models, write_card

CARD = ModelCard(
    "toy",
    "light",
    CITYSCAPES_CLASSES[:2],
    thresholds={"inlier_q95": -4.5},
    default_threshold="inlier_q95",
    fitted_confidence=Confidence(-5.0, 2.0),
    region_classifier=RegionClassifier(-7.5, -1.25, dict.fromkeys(REGION_FEATURES, (0.5, 2.5, -0.5))),
    details={"terms": "none", "training": [], "figures": {}, "calibration": {}},
    sha256="0" * 64,
)
NAN, INF = float("nan"), float("inf")
WRONG: list[Any] = [NAN, INF, -INF, 1e300, "", [], {}, None, "a text", -5, 2.5, True, 10**400]
NUMBERS = ("input", "thresholds", "confidence", "regions")
OPTIONAL = {
    ("thresholds",), ("default_threshold",), ("confidence",), ("sha256",), ("terms",), ("training",),
    ("figures",), ("calibration",), ("input", "colors"), ("input", "scaling"), ("regions",),
}  # fmt: skip


def places(value: Any, place: tuple = ()) -> Iterator[tuple]:
    """All entries of a card, at any depth."""
    if isinstance(value, (dict, list)):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*place, key)
            yield from places(part, (*place, key))


SAME_AS_THE_FIRST = {("regions", "features", name) for name in list(REGION_FEATURES)[1:]}
PLACES = [place for place in places(CARD.to_dict()) if place[:3] not in SAME_AS_THE_FIRST]


def changed(place: tuple, value: Any = None, delete: bool = False) -> Any:
    content = copy.deepcopy(CARD.to_dict())
    block = content
    for key in place[:-1]:
        block = block[key]
    if delete:
        del block[place[-1]]
    else:
        block[place[-1]] = value
    return content


def read(path: Path, content: Any) -> ModelCard | str:
    """The card, or the one line in which it is refused."""
    path.write_text(yaml.safe_dump(content))
    try:
        card = read_card(path)
    except InputError as error:
        refusal = str(error)
    else:
        write_card(path, card)
        assert read_card(path) == card
        return card
    assert refusal.startswith(f"{path}: ")
    assert len(refusal.splitlines()) == 1
    return refusal.removeprefix(f"{path}: ")


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)))
def test_an_entry_that_is_missing_or_another_is_meaningful_or_refused(place: tuple, tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    gone = read(path, changed(place, delete=True))
    if place in OPTIONAL - {("thresholds",)}:
        assert isinstance(gone, ModelCard)
    elif place[0] != "classes" or isinstance(place[-1], str):  # one class fewer is a card of another model
        assert isinstance(gone, str)
        assert str(place[-1]) in gone or "is missing" in gone or "is no mean" in gone or "default_threshold" in gone
    for value in WRONG:
        found = read(path, changed(place, value))
        if isinstance(found, ModelCard):
            fine = place == ("terms",) or (value is None and place in OPTIONAL) or value == {} or place[0] == "classes"
            assert fine or is_plain(place, value) or (place[-1] in ("name", "architecture") and value == "a text")
        else:
            assert str(place[0]) in found


def is_plain(place: tuple, value: Any) -> bool:
    """Whether a number may stand where it does: finite, of its kind, and within what a score can be."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or place[0] not in NUMBERS:
        return value == [] and place == ("training",)
    if place[-1] in ("midpoint", "inlier_q95", "floor", "bias", "rim", 0, 2):
        return value in (-5, 2.5)
    return place[-1] in ("softness", "scale", "frame", 1) and value == 2.5


NO_YAML = ["a: [", "a: 2024-13-45", f"a: {'1' * 5000}", "[" * 500, "a: \x00", "? [a]\n: b"]


@pytest.mark.parametrize("text", NO_YAML, ids=range(len(NO_YAML)))
def test_what_is_no_yaml_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match="not valid YAML") as caught:
        read_card(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (
            ("score_level",),
            {},
            "score_level: is gone; retrain the model, or delete the entry and run densehybrid calibrate",
        ),
        (("regions", "features"), {"car": [0, 1, 1]}, "regions.features.foot_row: is missing"),
        (("input", "colors"), "BGR", "input.colors: 'BGR' is unknown; there is only 'RGB'"),
        (("classes", 1, "name"), "road", "classes[1].name: 'road' is there twice"),
        (("default_threshold",), "other", "default_threshold: 'other' is not among thresholds"),
        (("sha256",), "abc", "sha256: 'abc' is no digest of 64 hexadecimal digits, in quotes"),
        (("name",), "a\nb", "name: 'a\\nb' is no text of one line"),
    ],
)
def test_what_is_wrong_is_named(place: tuple, value: Any, message: str, tmp_path: Path) -> None:
    assert read(tmp_path / "card.yaml", changed(place, value)) == message


def test_numbers_without_a_point_and_sizes_of_older_cards_are_read(tmp_path: Path) -> None:
    content = changed(("input",), {"size": [512, 1024]})
    content["confidence"]["scale"] = "2e0"  # a text to YAML
    card = read(tmp_path / "card.yaml", content)
    assert isinstance(card, ModelCard)
    assert card.input_size == (512, 1024)
    assert card.fitted_confidence == CARD.fitted_confidence
    written = yaml.safe_load((tmp_path / "card.yaml").read_text())["input"]
    assert (written["height"], written["width"]) == card.input_size


@pytest.mark.parametrize("names", [("road",), ("track",), (), ("road", "track")])
def test_drivable_classes_are_kept_and_road_alone_needs_no_word(names: tuple[str, ...], tmp_path: Path) -> None:
    classes = tuple(SemanticClass(name, (1, 2, 3), name in names) for name in ("road", "track", "sky"))
    write_card(tmp_path / "a.yaml", ModelCard("a", "light", classes))
    assert read_card(tmp_path / "a.yaml").classes == classes
    assert ("drivable" in (tmp_path / "a.yaml").read_text()) == (names != ("road",))


def test_a_threshold_is_a_name_the_default_or_a_number() -> None:
    assert [CARD.threshold(what) for what in ("inlier_q95", "default", "", None, -60, 1.5)] == [-4.5] * 4 + [-60, 1.5]
    with pytest.raises(InputError, match=r"outlier_tpr95.*inlier_q95"):
        CARD.threshold("outlier_tpr95")


def test_shipped_cards_are_as_the_writer_leaves_them_and_carry_a_digest(tmp_path: Path) -> None:
    for name, path in shipped_models().items():
        card = path.with_suffix(".yaml")
        write_card(tmp_path / card.name, read_card(card))
        assert (tmp_path / card.name).read_text() == card.read_text(), name
        assert read_card(card).sha256 is not None, name
