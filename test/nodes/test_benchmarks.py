"""The benchmarks of the node, small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from densehybrid_ros.cli.main import main
from densehybrid_ros.nodes.outputs import OUTPUTS

pytestmark = pytest.mark.ros


def test_messages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "messages.json"
    assert main(["benchmark", "messages", "--size", "64x32", "--repeats", "3", "--json", str(path)]) == 0
    figures = json.loads(path.read_text())
    assert [row["name"] for row in figures["outputs"]] == list(OUTPUTS)
    sizes = {row["name"]: row["bytes"] for row in figures["outputs"]}
    for name, bytes_a_pixel in (("semantic", 1), ("open_set", 1), ("anomaly_score", 4), ("overlay", 3)):
        assert 0 <= sizes[name] - 64 * 32 * bytes_a_pixel < 100
    assert figures["together"]["bytes"] == sum(sizes.values())
    assert all(row[key] > 0 for row in figures["outputs"] for key in ("fill_ms", "publish_ms", "cpu_ms"))
    printed = capsys.readouterr().out
    assert all(name in printed for name in (*OUTPUTS, "together", "without a subscriber"))


def test_memory(tmp_path: Path, seeded_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "memory.json"
    arguments = ["--frames", "10", "--warm-up", "2", "--size", "64x32", "--model", str(seeded_model)]
    assert main(["benchmark", "memory", *arguments, "--json", str(path)]) == 0
    samples = json.loads(path.read_text())["samples"]
    assert [sample["frames"] for sample in samples] == list(range(11))
    assert all(50 < sample["rss_mib"] < 5000 for sample in samples)
    assert "MiB over 10 frames" in capsys.readouterr().out


def test_what_the_child_complains_about_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "memory", "--frames", "1", "--model", "nobody"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("densehybrid")]
    assert "model 'nobody'" in line
