"""The table of parameters, and the files that are generated from it."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml

from densehybrid_ros.errors import InputError
from densehybrid_ros.hazards import HazardSettings
from densehybrid_ros.inference import BACKENDS
from densehybrid_ros.perception.parameters import (
    PARAMETERS,
    TABLE_BEGIN,
    TABLE_END,
    Settings,
    insert_table,
    parameter_table,
    parameter_yaml,
)

REPOSITORY = Path(__file__).resolve().parents[2]


def test_yaml_file_is_current() -> None:
    written = (REPOSITORY / "config" / "perception.param.yaml").read_text(encoding="utf-8")
    assert written == parameter_yaml(), "run python -m densehybrid_ros.perception.parameters --write"


def test_readme_is_current() -> None:
    readme = REPOSITORY / "README.md"
    if not readme.is_file() or TABLE_BEGIN not in readme.read_text(encoding="utf-8"):
        pytest.skip("README.md has no table of parameters yet")
    text = readme.read_text(encoding="utf-8")
    assert text == insert_table(text), "run python -m densehybrid_ros.perception.parameters --write"


def test_yaml_holds_every_default_with_its_type() -> None:
    content = yaml.safe_load(parameter_yaml())
    values = content["/**"]["ros__parameters"]
    expected = {name: row.default for name, row in PARAMETERS.items() if row.default is not None}
    assert list(values) == list(expected)
    for name, value in values.items():
        as_read = tuple(value) if isinstance(value, list) else value
        assert as_read == expected[name]
        assert type(as_read) is type(expected[name])
        PARAMETERS[name].check(value)


def test_unset_parameters_are_in_the_yaml_as_comments() -> None:
    assert "\n    # anomaly_threshold: " in parameter_yaml()


def test_every_parameter_has_a_row_in_the_markdown_table() -> None:
    rows = parameter_table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == list(PARAMETERS)
    assert all(row.count("|") == 7 for row in rows)


def test_table_goes_between_the_markers() -> None:
    readme = f"before\n{TABLE_BEGIN}\nold\n{TABLE_END}\nafter\n"
    assert insert_table(readme) == f"before\n{TABLE_BEGIN}\n{parameter_table()}{TABLE_END}\nafter\n"
    with pytest.raises(InputError, match="needs the lines"):
        insert_table("no markers")


def test_backends_are_those_of_the_segmenter() -> None:
    assert PARAMETERS["backend"].choices == BACKENDS


def test_every_setting_of_the_hazard_stage_is_a_live_parameter() -> None:
    assert Settings().hazard_settings() == HazardSettings()
    for item in fields(HazardSettings):
        assert PARAMETERS[item.name].live
    other = replace(Settings(), trigger_count=2, roi=(0.0, 0.0, 1.0, 0.0, 1.0, 1.0), drivable_classes=("sidewalk",))
    expected = HazardSettings(trigger_count=2, roi=other.roi, drivable_classes=("sidewalk",))
    assert other.hazard_settings() == expected


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"error_distance": 51.0}, "parameter error_distance: 51 exceeds warn_distance 50; raise that as well"),
        ({"warn_time": 1.0}, "parameter error_time: 2 exceeds warn_time 1"),
        ({"trigger_count": 6}, "parameter trigger_window 5 is below trigger_count 6"),
    ],
)
def test_values_that_contradict_each_other_are_named(changes: dict[str, float], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        replace(Settings(), **changes).check()


def test_settings_are_the_defaults() -> None:
    assert Settings().min_hazard_area == PARAMETERS["min_hazard_area"].default


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("anomaly_threshold", 1, 1.0),
        ("anomaly_threshold", 1.5, 1.5),
        ("anomaly_threshold", True, True),
        ("min_hazard_area", 3, 3),
        ("roi", [0, 0, 1, 0.5, 1, 1], [0.0, 0.0, 1.0, 0.5, 1.0, 1.0]),
        ("model", "light", "light"),
    ],
)
def test_integers_become_floats_where_these_are_meant(name: str, value: object, expected: object) -> None:
    coerced = PARAMETERS[name].coerce(value)
    assert coerced == expected
    assert type(coerced) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("anomaly_threshold", True, "is no float"),
        ("anomaly_threshold", float("inf"), "not in -1000 to 1000"),
        ("min_hazard_area", 1.0, "is no int"),
        ("min_hazard_area", True, "is no int"),
        ("publish_overlay", 1, "is no bool"),
        ("roi", "0, 0", "is no float"),
        ("roi", [], "at least 3 corners"),
        ("drivable_classes", ["road", 1], "is no str"),
        ("drivable_classes", [], "at least one name"),
        ("backend", "openvino", "one of auto, eager"),
        ("warm_up_size", [1024], "no height and width"),
        ("warm_up_size", [0, 5], "no height and width"),
        ("source_timeout", 0.0, "not in 0.1 to 3600"),
    ],
)
def test_bad_values_are_named(name: str, value: object, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        PARAMETERS[name].check(value)
    assert str(caught.value).startswith(f"parameter {name}: ")
