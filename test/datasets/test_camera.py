# SPDX-License-Identifier: Apache-2.0
"""The camera and its JSON file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.errors import InputError

CAMERA = Camera(2048, 1024, 2262.5, 2265.3, 1096.9, 513.1, 0.2093, 0.038, 1.22)


def valid() -> dict[str, dict[str, float]]:
    return {
        "extrinsic": {"baseline": 0.21, "pitch": 0.04, "roll": 0.0, "x": 1.7, "y": 0.1, "yaw": 0.0, "z": 1.2},
        "intrinsic": {"fx": 2262.0, "fy": 2262.0, "u0": 1097.0, "v0": 513.0},
    }


def test_written_json_has_the_official_keys_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a_camera.json"
    CAMERA.to_cityscapes_json(path)
    found, wanted = (
        {section: set(keys) for section, keys in each.items()} for each in (json.loads(path.read_text()), valid())
    )
    assert found == wanted
    assert Camera.from_cityscapes_json(path) == CAMERA


@pytest.mark.parametrize(
    ("section", "key", "value", "named"),
    [
        ("intrinsic", "fx", None, "intrinsic.fx"),
        ("extrinsic", "baseline", None, "extrinsic.baseline"),
        ("intrinsic", "fy", -5.0, "intrinsic.fy"),
        ("extrinsic", "z", 0.0, "extrinsic.z"),
        ("extrinsic", "pitch", "steep", "extrinsic.pitch"),
        ("intrinsic", "u0", math.nan, "intrinsic.u0"),
        ("intrinsic", "v0", True, "intrinsic.v0"),
    ],
)
def test_bad_value_names_file_and_key(tmp_path: Path, section: str, key: str, value: Any, named: str) -> None:
    content: dict[str, dict[str, Any]] = valid()
    if value is None:
        del content[section][key]
    else:
        content[section][key] = value
    file = tmp_path / "bad_camera.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match=rf"^[^\n]*bad_camera\.json: [^\n]*{named}[^\n]*$"):
        Camera.from_cityscapes_json(file)


@pytest.mark.parametrize("text", [None, "", "{", "[1, 2]", '{"extrinsic": 3, "intrinsic": {}}', "\x00\xff"])
def test_bad_file_is_refused(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "bad_camera.json"
    if text is not None:
        file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match="bad_camera"):
        Camera.from_cityscapes_json(file)


def test_scaling_keeps_the_viewing_rays() -> None:
    half = CAMERA.scaled(1024, 512)
    # The corner of the picture, half a pixel outside the first pixel's centre, is the same ray.
    assert (-0.5 - half.cx) / half.fx == pytest.approx((-0.5 - CAMERA.cx) / CAMERA.fx)
    assert (511.5 - half.cy) / half.fy == pytest.approx((1023.5 - CAMERA.cy) / CAMERA.fy)
    assert half.scaled(2048, 1024).cx == pytest.approx(CAMERA.cx)


def test_ground_depth_of_the_horizon_and_below() -> None:
    level = Camera(200, 100, 100.0, 100.0, 99.5, 49.5, 0.2, 0.0, 1.5)
    assert level.ground_depth(49.5) == math.inf
    assert level.ground_depth(0) == math.inf
    assert level.ground_depth(64.5) == pytest.approx(10.0)
