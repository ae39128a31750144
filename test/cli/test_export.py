# SPDX-License-Identifier: Apache-2.0
"""``densehybrid export``: what it lacks is named before any work; the file itself is tested in inference."""

from __future__ import annotations

from pathlib import Path

from densehybrid_ros.cli.main import main
from densehybrid_ros.inference import onnx_export


def test_missing_packages_are_named_with_the_command(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None if name == "onnxscript" else name)
    assert main(["export", "--output", str(tmp_path / "a.onnx")]) == 2
    assert capsys.readouterr().err == "densehybrid export: export needs onnxscript: pip install onnxscript\n"
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: name)
    assert main(["export", "--output", str(tmp_path / "a.onnx"), "--model", "nowhere"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "nowhere" in line
