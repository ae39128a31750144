# SPDX-License-Identifier: Apache-2.0
"""The table of parameters, and the files that are generated from it."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from densehybrid_ros.errors import InputError
from densehybrid_ros.hazards import HazardSettings
from densehybrid_ros.inference import BACKENDS
from densehybrid_ros.perception.parameter_files import (
    parameter_page,
    parameter_yaml,
    read_settings,
)
from densehybrid_ros.perception.settings import PARAMETERS, Settings

CAMERAS = "/**: {ros__parameters: {cameras: []}}"
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "text"), [("config/perception.param.yaml", parameter_yaml()), ("docs/parameters.md", parameter_page())]
)
def test_written_files_are_current(name: str, text: str) -> None:
    written = (REPOSITORY / name).read_text(encoding="utf-8")
    assert written == text, "run python -m densehybrid_ros.perception.parameter_files --write"


def test_yaml_holds_every_default_with_its_type() -> None:
    assert "\n    # anomaly_threshold: " in parameter_yaml()
    assert read_settings(REPOSITORY / "config" / "perception.param.yaml") == Settings() == read_settings(None)
    content = yaml.safe_load(parameter_yaml())
    values = content["/**"]["ros__parameters"]
    expected = {name: row.default for name, row in PARAMETERS.items() if row.default is not None}
    assert list(values) == list(expected)
    for name, value in values.items():
        as_read = tuple(value) if isinstance(value, list) else value
        assert as_read == expected[name]
        assert type(as_read) is type(expected[name])
        PARAMETERS[name].check(value)


def test_backends_are_those_of_the_segmenter() -> None:
    assert PARAMETERS["backend"].choices == BACKENDS


def test_every_setting_of_the_hazard_stage_is_a_live_parameter() -> None:
    assert Settings().hazards == HazardSettings()
    for item in fields(HazardSettings):
        assert PARAMETERS[item.name].live
    other = replace(Settings(), trigger_count=2, roi=(0.0, 0.0, 1.0, 0.0, 1.0, 1.0), drivable_classes=("sidewalk",))
    expected = HazardSettings(trigger_count=2, roi=other.roi, drivable_classes=("sidewalk",))
    assert other.hazards == expected


@pytest.mark.parametrize("given", [{"max_gap": -1}, {"warn_distance": float("nan")}, {"trigger_count": 6}, {"roi": ()}])
def test_the_hazard_stage_gets_only_what_is_allowed(given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="parameter .*" + next(iter(given))):
        _ = Settings(**given).hazards


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
        ("backend", "onnx", "one of auto, eager"),
        ("warm_up_size", [1024], "no width and height"),
        ("warm_up_size", [0, 5], "no width and height"),
        ("input_size", [512, 1024], r"taller than wide.* did you mean \[1024, 512\]"),
        ("input_policy", "roi", "one of exact, resize, letterbox"),
        ("source_timeout", 0.0, "not in 0.1 to 3600"),
    ],
)
def test_bad_values_are_named(name: str, value: object, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        PARAMETERS[name].check(value)
    assert str(caught.value).startswith(f"parameter {name}: ")


def test_parameters_of_a_file_and_of_the_command_line_are_read_as_ros_does(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(
        "/**:\n  ros__parameters: {trigger_count: 2, camera_height: 1, unheard_of: 3, use_sim_time: true}\n"
        "/front/perception:\n  ros__parameters: {roi: [0, 0.4, 1, 0.4, 1, 1], trigger_window: 2}\n"
        "other_node:\n  ros__parameters: {trigger_count: 9}\n"
    )
    warnings: list[str] = []
    settings = read_settings(file, ["trigger_window:=4", "camera_pitch:=1e-2", "model:=ldn121"], warnings.append)
    assert (settings.trigger_count, settings.trigger_window, settings.model) == (2, 4, "ldn121")
    assert (settings.camera_height, settings.camera_pitch) == (1.0, 0.01)
    assert settings.roi == (0.0, 0.4, 1.0, 0.4, 1.0, 1.0)
    assert len(warnings) == 1
    assert "unheard_of" in warnings[0]


@pytest.mark.parametrize(
    ("content", "assignment", "reason"),
    [
        (None, "", "can't be read"),
        ("a: [", "", "not valid YAML"),
        ("other: {ros__parameters: {model: light}}", "", "no parameters of the node"),
        ("/**: {ros__parameters: {trigger_count: two}}", "", "parameter trigger_count: 'two' is no int"),
        ("/**: {ros__parameters: {warn_time: 1.0}}", "", "error_time: 2 exceeds warn_time 1; raise that as well"),
        ("/**: {ros__parameters: {trigger_count: 6}}", "", "parameter trigger_window 5 is below trigger_count 6"),
        (CAMERAS, "cameras:=[front, front]", "parameter cameras: .*give every camera a name of its own"),
        (CAMERAS, "cameras:=[front, '']", "parameter cameras: '' is no name of a camera"),
        (CAMERAS, "cameras:=[a/b]", "parameter cameras: 'a/b' is no name of a camera: use letters, digits and _"),
        (CAMERAS, "cameras:=front", "parameter cameras: 'front' is no str"),
        ("/**: {ros__parameters: {warn_time: 4.0}}", "model=light", "write NAME:=VALUE"),
        ("/**: {ros__parameters: {warn_time: 4.0}}", "trigger_cuont:=1", "did you mean 'trigger_count'"),
        ("/**: {ros__parameters: {warn_time: 4.0}}", "roi:=[0", "not valid YAML"),
    ],
)
def test_what_can_not_be_read_is_named(tmp_path: Path, content: str | None, assignment: str, reason: str) -> None:
    file = tmp_path / "own.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InputError, match=reason):
        read_settings(file, [assignment] if assignment else [])
