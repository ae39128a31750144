# SPDX-License-Identifier: Apache-2.0
"""``densehybrid export``: what it refuses before any work; the file itself is tested in inference."""

from __future__ import annotations

from pathlib import Path

import pytest

from densehybrid_ros.cli.main import main
from densehybrid_ros.inference import onnx_export


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--opset", "11"], "--opset 11: is 18 at least"),
        (["--model", "nowhere"], "nowhere"),
    ],
)
def test_refusals_are_one_line_and_status_2(options: list[str], line: str, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: name)
    assert main(["export", "--output", str(tmp_path / "a.onnx"), *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert line in lines[0]


def test_a_size_and_any_size_contradict_each_other(tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["export", "--output", str(tmp_path / "a.onnx"), "--size", "64x32", "--dynamic"])
    assert stopped.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def test_missing_packages_are_named_with_the_command(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None if name == "onnxscript" else name)
    assert main(["export", "--output", str(tmp_path / "a.onnx")]) == 2
    assert capsys.readouterr().err == "densehybrid export: export needs onnxscript: pip install onnxscript\n"
